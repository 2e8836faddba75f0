"""Delay, least length and condition of an opening: what is decided, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from wa_relay.model import Call
from wa_relay.policy import CustomerFacts, OpeningText, Rules, Skip, Wait, Write, plan_opening, unmet_condition

BOGOTA = ZoneInfo("America/Bogota")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=BOGOTA).timestamp()
HOUR = 3600.0
CALL = Call("conv_1", "+573138539155", "agent_1", "completed", "push", NOW, client_name="Ana")


def plan(opening: OpeningText, call: Call = CALL, now: float = NOW, **more: Any) -> Skip | Write | Wait:
    reported_at = more.pop("reported_at", None)
    rules = Rules(timezone=BOGOTA, openings={"completed": opening}, **more)
    return plan_opening(call, CustomerFacts(), rules, fence=0.0, backend_pushes=False, now=now, reported_at=reported_at)


def test_a_delay_counts_from_the_end_of_the_call() -> None:
    call = replace(CALL, ended_at=NOW - 100.0)
    assert plan(OpeningText("Hola", delay=600.0), call) == Write(NOW + 500.0, NOW + 500.0 + 24 * HOUR)
    assert plan(OpeningText("Hola", delay=60.0), call) == Write(NOW, NOW - 40.0 + 24 * HOUR)


def test_a_clock_ahead_of_ours_delays_nothing() -> None:
    assert plan(OpeningText("Hola"), replace(CALL, ended_at=NOW + 200.0)) == Write(NOW, NOW + 24 * HOUR)


def test_quiet_hours_come_after_the_delay_and_expiry_counts_from_the_first_permitted_moment() -> None:
    morning = datetime(2026, 11, 26, 8, 0, tzinfo=BOGOTA).timestamp()
    planned = plan(OpeningText("Hola", delay=10 * HOUR), quiet=(time(21), time(8)))
    assert planned == Write(morning, morning + 24 * HOUR)


def test_a_call_is_too_old_when_its_opening_would_have_expired() -> None:
    call = replace(CALL, ended_at=NOW - 30 * HOUR)
    assert plan(OpeningText("Hola"), call) == Skip("too_old")
    assert isinstance(plan(OpeningText("Hola", delay=7 * HOUR), call), Write)
    assert plan(OpeningText("Hola", delay=6 * HOUR), call) == Skip("too_old")


@pytest.mark.parametrize(
    ("opening", "facts", "planned"),
    [
        (OpeningText("Hola", min_call=20.0), {"seconds": 19.0}, Skip("too_short")),
        (OpeningText("Hola", min_call=20.0), {"seconds": 20.0}, Write(NOW, NOW + 24 * HOUR)),
        (OpeningText("Hola", min_call=20.0), {}, Wait(NOW + 600.0)),
        (OpeningText("Hola", when={"interest": ("yes",)}), {}, Wait(NOW + 600.0)),
        (OpeningText("Hola", when={"interest": ("yes",)}), {"collected": {"interest": "no"}}, Skip("condition")),
        (OpeningText("Hola", when={"interest": ("yes",)}), {"collected": {}}, Skip("condition")),
        (
            OpeningText("Hola", when={"interest": ("yes", "maybe")}),
            {"collected": {"interest": "MAYBE"}},
            Write(NOW, NOW + 24 * HOUR),
        ),
        (OpeningText("Hola", min_call=20.0, when={"a": ("b",)}), {"collected": {"a": "b"}}, Wait(NOW + 600.0)),
        (OpeningText("Hola", min_call=20.0, when={"a": ("b",)}), {"seconds": 5.0}, Skip("too_short")),
        (OpeningText("Hola"), {}, Write(NOW, NOW + 24 * HOUR)),
    ],
)
def test_length_and_collected_values_decide_when_they_are_known(
    opening: OpeningText, facts: dict[str, Any], planned: object
) -> None:
    assert plan(opening, replace(CALL, **facts)) == planned


def test_after_ten_minutes_an_unknown_length_passes_and_unknown_values_do_not() -> None:
    for opening, planned in (
        (OpeningText("Hola", min_call=20.0), Write(NOW + 600.0, NOW + 24 * HOUR)),
        (OpeningText("Hola", when={"interest": ("yes",)}), Skip("condition")),
    ):
        assert plan(opening, now=NOW + 599.0, reported_at=NOW) == Wait(NOW + 600.0)
        assert plan(opening, now=NOW + 600.0, reported_at=NOW) == planned


@pytest.mark.parametrize(
    ("wanted", "collected", "matches"),
    [
        ("Sí", "sí ", True),
        ("SÍ", "sí", True),
        ("si", "sí", False),
        (3, 3, True),
        (3, 3.0, True),
        (3, "3", False),
        ("3", 3, False),
        (True, True, True),
        (True, False, False),
        (True, 1, False),
        (1, True, False),
        ("true", True, False),
    ],
)
def test_texts_are_compared_without_case_and_other_values_as_written(
    wanted: Any, collected: Any, matches: bool
) -> None:
    unmet = unmet_condition(OpeningText("Hola", when={"x": (wanted,)}), 60.0, {"x": collected}, final=False)
    assert (unmet is None) is matches


def test_every_key_must_match() -> None:
    opening = OpeningText("Hola", when={"interest": ("yes",), "age": (30,)})
    assert unmet_condition(opening, None, {"interest": "yes", "age": 30}, final=False) is None
    assert unmet_condition(opening, None, {"interest": "yes", "age": 31}, final=False) == "condition"
    assert unmet_condition(opening, None, {"interest": "yes"}, final=False) == "condition"
