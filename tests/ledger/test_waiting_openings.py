"""Openings that wait for facts about their call, for their delay and for quiet hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from itertools import pairwise
from typing import Any

import pytest

from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import call_details, calls, claims, inbox, waiting_openings, wanted_details
from wa_relay.ledger.store import Ledger
from wa_relay.model import CallDetails
from wa_relay.policy import OpeningText

LONG_CALLS = {"completed": OpeningText("Hola {client_name}", min_call=20.0)}
INTERESTED = {"completed": OpeningText("Hola {client_name}", when={"interest": ("yes",)})}
LATER = {"completed": OpeningText("Hola {client_name}", delay=3600.0)}

Make = Callable[..., Ledger]


def details(seconds: float | None = None, collected: dict[str, Any] | None = None, final: bool = True) -> CallDetails:
    return CallDetails("Le interesa.", "Cliente: sí", {}, seconds, collected, final)


def opening(ledger: Ledger) -> tuple[str, str | None] | None:
    row = ledger.one("select status, reason from conversation_messages where kind = 'opening'")
    return None if row is None else (row[0], row[1])


@pytest.mark.parametrize(
    ("openings", "found", "skipped"),
    [
        (LONG_CALLS, details(seconds=19.0), "too_short"),
        (LONG_CALLS, details(seconds=20.0), None),
        (INTERESTED, details(60.0, {"interest": "no"}), "condition"),
        (INTERESTED, details(60.0, {"interest": "Yes"}), None),
    ],
)
def test_a_pushed_call_waits_until_its_conversation_says_how_long_it_was_and_what_it_collected(
    make_ledger: Make, openings: Any, found: CallDetails, skipped: str | None
) -> None:
    ledger = make_ledger(openings=openings)
    state = calls.record_call(ledger, call(), NOW)
    assert (state.message_id, state.skipped) == (None, None)
    decided = call_details.save_details(ledger, state.call_id, found, NOW + 5.0)
    assert decided is not None
    assert decided.skipped == skipped
    assert calls.call_state(ledger, "conv_1").skipped == skipped
    assert opening(ledger) == (None if skipped else ("queued", None))


def test_a_call_that_is_still_analysed_waits_on(make_ledger: Make) -> None:
    ledger = make_ledger(openings=INTERESTED)
    state = calls.record_call(ledger, call(), NOW)
    assert call_details.save_details(ledger, state.call_id, details(54.0, None, final=False), NOW + 5.0) is None
    assert call_details.save_details(ledger, state.call_id, details(54.0, {"interest": "yes"}), NOW + 9.0)
    assert opening(ledger) == ("queued", None)


@pytest.mark.parametrize(
    ("openings", "skipped", "queued"), [(LONG_CALLS, None, ("queued", None)), (INTERESTED, "condition", None)]
)
def test_after_ten_minutes_a_call_is_decided_without_them(
    make_ledger: Make, openings: Any, skipped: str | None, queued: object
) -> None:
    ledger = make_ledger(openings=openings)
    calls.record_call(ledger, call(), NOW)
    assert waiting_openings.decide_overdue(ledger, 10, NOW + 599.0) == []
    (decided,) = waiting_openings.decide_overdue(ledger, 10, NOW + 600.0)
    assert (decided.skipped, opening(ledger)) == (skipped, queued)
    assert waiting_openings.decide_overdue(ledger, 10, NOW + 700.0) == []


def test_details_are_asked_for_every_half_minute_while_a_call_waits_for_them(make_ledger: Make) -> None:
    ledger = make_ledger(openings=INTERESTED)
    calls.record_call(ledger, call(), NOW)
    asked = [second for second in range(600) if wanted_details.due_details(ledger, 5, NOW + second)]
    assert asked[:4] == [0, 5, 15, 35]
    assert max(later - earlier for earlier, later in pairwise(asked)) <= 30


def test_a_second_report_with_the_facts_decides_a_waiting_call(make_ledger: Make) -> None:
    ledger = make_ledger(openings=LONG_CALLS)
    calls.record_call(ledger, call(), NOW)
    calls.record_call(ledger, call(source="poll", seconds=54.0, collected={}), NOW + 3.0)
    assert opening(ledger) == ("queued", None)


def test_a_customer_who_writes_before_the_facts_are_known_gets_no_opening(make_ledger: Make) -> None:
    ledger = make_ledger(openings=LONG_CALLS)
    state = calls.record_call(ledger, call(), NOW)
    inbox.record_inbound(ledger, written(), NOW + 2.0)
    call_details.save_details(ledger, state.call_id, details(seconds=54.0), NOW + 5.0)
    assert opening(ledger) == ("failed", "conversation_started")


@pytest.mark.parametrize("rules", [{"openings": LATER}, {"quiet": (time(5), time(8))}], ids=["delay", "quiet_hours"])
def test_an_opening_that_waits_when_the_customer_writes_is_cancelled(make_ledger: Make, rules: Any) -> None:
    ledger = make_ledger(**rules)
    calls.record_call(ledger, call(), NOW)
    received = inbox.record_inbound(ledger, written(), NOW + 2.0)
    assert opening(ledger) == ("failed", "conversation_started")
    assert received.effect == "turn"


def test_an_opening_that_is_due_is_not_cancelled_by_a_message(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    inbox.record_inbound(ledger, written(), NOW + 2.0)
    assert opening(ledger) == ("queued", None)


def test_a_message_from_before_the_end_of_the_call_cancels_nothing(make_ledger: Make) -> None:
    ledger = make_ledger(openings=LATER)
    calls.record_call(ledger, call("conv_0", ended_at=NOW - 1800.0), NOW - 1700.0)
    calls.record_call(ledger, call(), NOW)
    inbox.record_inbound(ledger, written(written_at=NOW - 600.0), NOW + 2.0)
    rows = ledger.all("select reason from conversation_messages where kind = 'opening' order by id")
    assert [row["reason"] for row in rows] == ["conversation_started", None]


def test_a_delayed_opening_is_sent_after_its_delay(make_ledger: Make) -> None:
    ledger = make_ledger(openings=LATER)
    calls.record_call(ledger, call(), NOW)
    assert claims.claim_messages(ledger, 5, NOW + 3599.0).jobs == ()
    assert len(claims.claim_messages(ledger, 5, NOW + 3600.0).jobs) == 1


@pytest.mark.parametrize(("before", "after"), [(3600.0, 600.0), (600.0, 3600.0), (3600.0, 0.0)])
def test_waiting_openings_follow_the_configuration_of_the_latest_start(
    make_ledger: Make, before: float, after: float
) -> None:
    ledger = make_ledger(openings={"completed": OpeningText("Hola", delay=before)})
    calls.record_call(ledger, call(), NOW)
    ledger = make_ledger(NOW + 10.0, openings={"completed": OpeningText("Hola", delay=after)})
    waiting_openings.replan(ledger, NOW + 10.0)
    due = max(NOW + 10.0, NOW + after)
    assert claims.claim_messages(ledger, 5, due - 0.1).jobs == ()
    assert len(claims.claim_messages(ledger, 5, due).jobs) == 1
    row = ledger.one("select not_after from conversation_messages")
    assert row is not None
    assert row["not_after"] == NOW + after + 86400.0


def test_a_named_report_does_not_shorten_the_delay(make_ledger: Make) -> None:
    ledger = make_ledger(openings={"completed": OpeningText("Hola {client_name}", delay=15.0)})
    calls.record_call(ledger, call("other", phone="+573001112233"), NOW - 1.0)
    calls.record_call(ledger, call(source="poll", client_name=None), NOW)
    calls.record_call(ledger, call(), NOW + 1.0)
    rows = ledger.all("select due_at from conversation_messages where content like '%Ana%' order by id desc")
    assert rows[0]["due_at"] == NOW + 15.0
