"""The decisions: which customers get a message, when, and what follows a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wa_relay import policy
from wa_relay.model import Call, Listed
from wa_relay.policy import Circuit, CustomerFacts, OpeningText, Rules, Skip, Write

NOW = 1_764_000_000.0
BOGOTA, NEW_YORK = ZoneInfo("America/Bogota"), ZoneInfo("America/New_York")
RULES = Rules(timezone=BOGOTA, openings={"completed": OpeningText("Hola {client_name}, gracias.")})
CALL = Call("conv_1", "+573138539155", "agent_1", "completed", "push", NOW - 60, client_name="Ana")
STRANGER = CustomerFacts()


def plan(
    call: Call = CALL,
    customer: CustomerFacts = STRANGER,
    rules: Rules = RULES,
    fence: float = 0.0,
    pushes: bool = False,
) -> Skip | Write | policy.Wait:
    return policy.plan_opening(call, customer, rules, fence=fence, backend_pushes=pushes, now=NOW)


def test_a_finished_call_is_followed_at_once_and_until_it_is_too_old() -> None:
    assert plan() == Write(due_at=NOW, not_after=NOW - 60 + 86400)


@pytest.mark.parametrize("outcome", ["voicemail", "failed", "cancelled", "no_answer"])
def test_an_outcome_without_an_opening_is_not_followed(outcome: str) -> None:
    assert plan(replace(CALL, outcome=outcome)) == Skip("outcome_not_followed")
    followed = replace(RULES, openings={outcome: OpeningText(content_sid="HX1")})
    assert isinstance(plan(replace(CALL, outcome=outcome), rules=followed), Write)


def test_an_opening_without_body_and_template_does_not_exist() -> None:
    assert plan(rules=replace(RULES, openings={"completed": OpeningText()})) == Skip("outcome_not_followed")


@pytest.mark.parametrize(
    ("ended_at", "written"),
    [(NOW, True), (NOW - 86399, True), (NOW - 86400, False), (NOW - 90000, False), (None, False), (NOW + 300, True)],
)
def test_a_call_of_the_greatest_age_is_too_old_and_one_whose_end_is_not_known_too(
    ended_at: float | None, written: bool
) -> None:
    assert plan(replace(CALL, ended_at=ended_at)) == (
        Write(NOW, min(NOW, ended_at or 0) + 86400) if written else Skip("too_old")
    )


@pytest.mark.parametrize("source", ["push", "poll", "webhook"])
def test_a_call_that_ended_before_the_fence_is_history_from_any_source(source: Any) -> None:
    call = replace(CALL, source=source)
    assert plan(call, fence=NOW - 59) == Skip("too_old")
    assert isinstance(plan(call, fence=NOW - 60), Write)
    assert isinstance(plan(call, fence=NOW - 59.1), Write)  # ends come in whole seconds


def test_a_customer_who_has_opted_out_is_not_written_to() -> None:
    assert plan(customer=CustomerFacts(opted_out=True)) == Skip("opted_out")


@pytest.mark.parametrize(("ago", "skipped"), [(0, True), (3599, True), (3600, False), (None, False)])
def test_there_is_at_most_one_opening_in_the_gap(ago: float | None, skipped: bool) -> None:
    customer = CustomerFacts(last_opening_at=None if ago is None else NOW - ago)
    gap = replace(RULES, min_gap=3600.0)
    assert (plan(customer=customer, rules=gap) == Skip("recent_opening")) is skipped
    assert isinstance(plan(customer=customer), Write)


@pytest.mark.parametrize(
    ("source", "pushes", "name", "variables", "waits"),
    [
        ("poll", True, None, {}, True),
        ("poll", True, " ", {}, True),
        ("webhook", True, None, {}, False),
        ("poll", False, None, {}, False),
        ("poll", True, "Ana", {}, False),
        ("poll", True, None, {"nombre": "Ana"}, False),
        ("push", True, None, {}, False),
    ],
)
def test_a_call_without_a_name_waits_for_the_backend_that_knows_it(
    source: Any, pushes: bool, name: str | None, variables: Mapping[str, str], waits: bool
) -> None:
    call = replace(CALL, source=source, client_name=name, variables=variables)
    assert plan(call, pushes=pushes) == Write(NOW + (20 if waits else 0), NOW - 60 + 86400)


def test_an_opening_in_quiet_hours_is_due_when_they_end() -> None:
    local = datetime.fromtimestamp(NOW, BOGOTA)
    quiet = replace(RULES, quiet=((local - timedelta(hours=1)).time(), (local + timedelta(hours=2)).time()))
    assert plan(rules=quiet) == Write(NOW + 7200, NOW + 7200 + 86400)


def test_the_name_is_the_reports_own_else_the_first_variable_that_has_one() -> None:
    variables = {"name": "Tercera", "customer_name": "Segunda", "nombre": "Cuarta"}
    assert policy.client_name("Ana", variables) == "Ana"
    assert policy.client_name(None, variables) == "Segunda"
    assert policy.client_name("", {**variables, "client_name": "Primera", "customer_name": 7}) == "Primera"
    assert policy.client_name("\u200b", {"nombre": " Ana\nGarcía\x07 "}) == "Ana García"
    assert policy.client_name(None, {"name": 42, "nombre": True}) == ""


def test_the_calls_own_facts_stand_over_its_variables() -> None:
    variables = {"agent_name": "variable", "batch_name": "variable", "ciudad": "Cali"}
    values = policy.opening_values(
        replace(RULES, default_name="cliente"), variables, name=None, agent_name="Leo", batch_name=None, group_name=None
    )
    assert values == {
        "agent_name": "Leo",
        "batch_name": "variable",
        "ciudad": "Cali",
        "client_name": "cliente",
        "group_name": "",
    }


BOTH = OpeningText("Hola {client_name}, gracias", "HX1", {"1": "{client_name}", "2": "fijo"})


def test_inside_the_window_the_body_is_sent_and_outside_it_the_template() -> None:
    inside = policy.render_opening(BOTH, {"client_name": "Ana"}, window_open=True)
    assert (inside.body, inside.content_sid) == ("Hola Ana, gracias", None)
    outside = policy.render_opening(BOTH, {"client_name": "Ana"}, window_open=False)
    assert (outside.body, outside.content_sid, outside.content_variables) == (None, "HX1", {"1": "Ana", "2": "fijo"})
    assert outside.content == "Hola Ana, gracias"


def test_with_no_template_the_body_is_tried_and_with_no_body_the_template_is_sent() -> None:
    only_body, only_template = replace(BOTH, content_sid=""), replace(BOTH, body="")
    assert policy.render_opening(only_body, {}, window_open=False).body == "Hola, gracias"
    sent = policy.render_opening(only_template, {"client_name": "Ana"}, window_open=True)
    assert (sent.body, sent.content_sid) == (None, "HX1")
    assert "HX1" in sent.content


def test_a_template_variable_that_comes_out_empty_is_named() -> None:
    assert policy.render_opening(BOTH, {}, window_open=False).empty_variable == "1"
    assert policy.render_opening(BOTH, {"client_name": "\u200b \n"}, window_open=False).empty_variable == "1"
    assert policy.render_opening(BOTH, {}, window_open=True).empty_variable is None
    assert policy.render_opening(BOTH, {"client_name": "Ana"}, window_open=False).empty_variable is None


def at(zone: ZoneInfo, *clock: int, fold: int = 0) -> float:
    return datetime(*clock, tzinfo=zone, fold=fold).timestamp()  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("clock", "ends"),
    [
        ((2026, 11, 25, 20, 59), (2026, 11, 25, 20, 59)),
        ((2026, 11, 25, 21, 0), (2026, 11, 26, 8, 0)),
        ((2026, 11, 25, 23, 59), (2026, 11, 26, 8, 0)),
        ((2026, 11, 26, 0, 0), (2026, 11, 26, 8, 0)),
        ((2026, 11, 26, 7, 59), (2026, 11, 26, 8, 0)),
        ((2026, 11, 26, 8, 0), (2026, 11, 26, 8, 0)),
    ],
)
def test_quiet_hours_reach_over_midnight(clock: tuple[int, ...], ends: tuple[int, ...]) -> None:
    rules = replace(RULES, quiet=(time(21), time(8)))
    assert policy.opens_at(at(BOGOTA, *clock), rules) == at(BOGOTA, *ends)


def test_without_quiet_hours_every_moment_will_do() -> None:
    assert policy.opens_at(NOW + 0.25, RULES) == NOW + 0.25


def test_an_hour_that_comes_twice_is_quiet_both_times() -> None:
    rules = replace(RULES, timezone=NEW_YORK, quiet=(time(22), time(1, 30)))
    second = at(NEW_YORK, 2026, 11, 1, 1, 10, fold=1)
    assert policy.opens_at(second, rules) == at(NEW_YORK, 2026, 11, 1, 1, 30, fold=1)


@given(
    st.sampled_from((datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))),
    st.integers(-24 * 60, 48 * 60),
    st.times(),
    st.times(),
)
def test_the_moment_after_is_never_quiet_never_past_and_never_a_day_late(
    day: datetime, minutes: int, start: time, end: time
) -> None:
    if start == end:
        return
    moment = day.timestamp() + minutes * 60
    found = policy.opens_at(moment, replace(RULES, timezone=NEW_YORK, quiet=(start, end)))

    def quiet(one: float) -> bool:
        clock = datetime.fromtimestamp(one, NEW_YORK).time()
        return start <= clock < end if start < end else not end <= clock < start

    assert moment <= found <= moment + 25 * 3600
    assert not quiet(found)
    if not quiet(moment):
        assert found == moment


@pytest.mark.parametrize(
    ("since_first", "due_in"), [(0.0, 2.0), (5.0, 2.0), (13.0, 2.0), (14.0, 1.0), (15.0, 0.0), (99.0, 0.0)]
)
def test_a_burst_is_never_held_back_over_15_seconds(since_first: float, due_in: float) -> None:
    assert policy.turn_due(NOW - since_first, NOW, RULES) == NOW + due_in


@given(st.integers(0, 100_000), st.one_of(st.none(), st.floats(0, 1e12)))
def test_a_retry_waits_as_long_as_was_asked_for_else_a_random_share_of_a_doubling_span(
    attempt: int, asked: float | None
) -> None:
    delay = policy.retry_delay(attempt, asked, base=2.0, cap=120.0)
    assert (
        delay == min(max(asked, 1.0), 3600.0)
        if asked is not None
        else 0 <= delay <= min(120.0, 2.0 * 2 ** min(attempt, 20))
    )


def test_retries_spread() -> None:
    delays = {policy.retry_delay(9, None, base=2.0, cap=120.0) for _ in range(50)}
    assert len(delays) > 40
    assert max(delays) > 60 > min(delays)


def test_an_unclear_send_is_looked_up_at_once_with_growing_pauses_and_hourly_for_a_day() -> None:
    times: list[float] = []
    while (due := policy.next_lookup(NOW, len(times), RULES)) is not None:
        times.append(due - NOW)
    assert times[0] == 0.0
    assert times == sorted(times)
    assert all(
        0.8 * wanted <= shown <= 1.2 * wanted for wanted, shown in zip(policy.LOOKUPS[1:], times[1:7], strict=True)
    )
    assert {round(after - before) for before, after in pairwise(times[7:])} == {3600}
    assert 82_000 < times[-1] <= 86_400
    faster = policy.next_lookup(NOW, 3, replace(RULES, divisor=100.0))
    assert faster is not None
    assert 0.36 - 1e-6 <= faster - NOW <= 0.54 + 1e-6


def test_a_receipt_that_did_not_come_is_asked_for_three_times() -> None:
    polls = [policy.next_receipt_poll(NOW, number, RULES) for number in range(4)]
    assert polls == [NOW + 900, NOW + 3600, NOW + 43200, None]


def test_a_held_account_is_tried_again_after_growing_pauses() -> None:
    assert [policy.probe_pause("account", failures) for failures in (1, 2, 3, 4, 5, 6, 50)] == [
        2,
        5,
        10,
        20,
        30,
        60,
        60,
    ]


def test_a_persons_bucket_fills_by_one_in_six_seconds_up_to_ten() -> None:
    assert policy.refill(0.0, NOW, NOW + 6) == 1.0
    assert policy.refill(3.0, NOW, NOW + 3) == 3.5
    assert policy.refill(9.0, NOW, NOW + 3600) == 10.0
    assert policy.refill(4.0, NOW, NOW - 3600) == 4.0


SENT = Listed("SM1", "outbound-api", "+573138539155", "+14155238886", "Hola", "queued", NOW)


@pytest.mark.parametrize(
    ("change", "matches"),
    [
        ({}, True),
        ({"created_at": NOW - 5}, True),
        ({"created_at": NOW - 5.1}, False),
        ({"created_at": NOW + 590}, True),
        ({"created_at": NOW + 600}, False),
        ({"created_at": None}, False),
        ({"direction": "inbound"}, False),
        ({"direction": "outbound-reply"}, False),
        ({"to": "+573138539156"}, False),
        ({"body": "Hola "}, False),
        ({"status": "failed"}, True),
    ],
)
def test_an_unclear_send_is_recognised_by_person_time_and_text(change: dict[str, Any], matches: bool) -> None:
    listed = replace(SENT, **change)
    found = policy.match_unclear([listed], RULES, phone="+573138539155", body="Hola", attempted_at=NOW)
    assert found == ([listed] if matches else [])


def test_a_template_is_recognised_without_its_text() -> None:
    listed = [SENT, replace(SENT, sid="SM2", body="")]
    assert policy.match_unclear(listed, RULES, phone="+573138539155", body=None, attempted_at=NOW) == listed


ORDER = ("queued", "sending", "uncertain", "sent", "delivered", "read")
STATUSES = (*policy.RANK, "failed", "undelivered", "canceled", "partially_delivered", "received", "", "new")


@given(st.lists(st.sampled_from(STATUSES), max_size=30), st.sampled_from(ORDER))
def test_receipts_only_move_a_message_up_in_whatever_order_they_come(receipts: list[str], known: str) -> None:
    for receipt in receipts:
        moved = policy.receipt_moves(receipt, known)
        if moved is None:
            continue
        if known == "failed":
            raise AssertionError("a failure is final")
        if moved == "failed":
            assert known not in ("delivered", "read")
        else:
            assert ORDER.index(moved) > ORDER.index(known)
        known = moved
    assert policy.receipt_moves("sent", known) in (None, "sent")


@pytest.mark.parametrize(
    ("status", "known", "moved"),
    [
        ("delivered", "sent", "delivered"),
        ("read", "sent", "read"),
        ("read", "uncertain", "read"),
        ("delivered", "read", None),
        ("delivered", "delivered", None),
        ("queued", "sending", "sent"),
        ("sent", "uncertain", "sent"),
        ("undelivered", "sent", "failed"),
        ("failed", "uncertain", "failed"),
        ("failed", "delivered", None),
        ("undelivered", "read", None),
        ("read", "failed", None),
        ("something", "sent", None),
    ],
)
def test_a_receipt_moves_a_message_only_up(status: str, known: str, moved: str | None) -> None:
    assert policy.receipt_moves(status, known) == moved


def test_a_circuit_opens_after_five_failures_and_lets_one_try_through_every_half_minute() -> None:
    circuit = Circuit()
    for second in range(4):
        circuit.failed(NOW + second)
    assert circuit.allows(NOW + 4)
    circuit.failed(NOW + 4)
    assert not circuit.allows(NOW + 33.9)
    assert circuit.allows(NOW + 34)
    circuit.tried(NOW + 34)
    assert not circuit.allows(NOW + 34)
    assert not circuit.allows(NOW + 63.9)
    circuit.failed(NOW + 64)
    assert not circuit.allows(NOW + 93.9)
    circuit.succeeded()
    assert circuit.allows(NOW + 65)
    circuit.failed(NOW + 66)
    assert circuit.allows(NOW + 66)


def test_a_try_through_a_closed_circuit_does_not_close_it() -> None:
    circuit = Circuit()
    circuit.tried(NOW)
    assert circuit.allows(NOW)


def test_a_clock_that_is_set_back_does_not_keep_a_circuit_open() -> None:
    circuit = Circuit()
    for _ in range(5):
        circuit.failed(NOW)
    assert not circuit.allows(NOW + 1)
    assert circuit.allows(NOW - 3600.0)
