"""Holds: what receipts and refusals keep back, how it is probed, and what ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import calls, claims, holds, inbox, operator_decisions, outbox, receipts, send_results, turns
from wa_relay.ledger.outbox import Proof
from wa_relay.ledger.queue_health import queue_health
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Receipt, SendRefused
from wa_relay.policy import OpeningText


def _sid(number: int) -> str:
    return f"SM{number:032x}"


def _sent(ledger: Ledger, count: int, first: int = 1, now: float = NOW) -> list[int]:
    """Openings to that many customers that Twilio has accepted; returns their message ids."""
    found = []
    for number in range(first, first + count):
        state = calls.record_call(ledger, call(f"conv_{number}", phone=f"+57313853{number:04}", ended_at=now), now)
        found.append(state.message_id or 0)
    for job in claims.claim_messages(ledger, count, now).jobs:
        message_id = job.outgoing.message_id or 0
        send_results.finish_send(ledger, message_id, Accepted(_sid(message_id)), now)
    return found


def _receipt(ledger: Ledger, message_id: int, status: str, code: str | None, now: float) -> receipts.Noted:
    return receipts.record_receipt(ledger, Receipt(_sid(message_id), status, message_id, code), now)


def _subjects(ledger: Ledger) -> list[str]:
    return [hold.subject for hold in holds.all_holds(ledger)]


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    return make_ledger(burst_limit=0)


@pytest.mark.parametrize("code", ["63051", "20003", "63112", "21703"])
def test_three_codes_of_the_account_in_a_row_by_receipts_hold_everything(ledger: Ledger, code: str) -> None:
    sent = _sent(ledger, 3)
    alarms = [_receipt(ledger, each, "undelivered", code, NOW + 5).alarm for each in sent]
    assert [alarm is not None for alarm in alarms] == [False, False, True]
    assert queue_health(ledger, NOW + 6).paused == "account"
    calls.record_call(ledger, call("conv_9", phone="+573000000009"), NOW + 6)
    assert claims.claim_messages(ledger, 5, NOW + 500).jobs == ()
    # A message that failed by a receipt stays failed.
    rows = ledger.all("select status from conversation_messages where id <= 3")
    assert {row["status"] for row in rows} == {"failed"}


@pytest.mark.parametrize("code", ["20404", "63024", "99999", None])
def test_other_codes_hold_nothing_when_receipts_bring_them(ledger: Ledger, code: str | None) -> None:
    for each in _sent(ledger, 4):
        _receipt(ledger, each, "undelivered", code, NOW + 5)
    assert _subjects(ledger) == []


def test_a_receipt_of_another_message_that_says_sent_ends_the_row(ledger: Ledger) -> None:
    one, two, good, three, four, five = _sent(ledger, 6)
    for each in (one, two):
        _receipt(ledger, each, "undelivered", "63051", NOW + 5)
    _receipt(ledger, good, "sent", None, NOW + 6)
    for each in (three, four):
        _receipt(ledger, each, "undelivered", "63051", NOW + 7)
    assert _subjects(ledger) == []
    _receipt(ledger, five, "undelivered", "63051", NOW + 8)
    assert _subjects(ledger) == ["sender"]


def test_a_message_that_was_sent_and_failed_then_ends_no_row(ledger: Ledger) -> None:
    one, two, three = _sent(ledger, 3)
    _receipt(ledger, one, "undelivered", "63051", NOW + 5)
    for each in (two, three):
        _receipt(ledger, each, "sent", None, NOW + 6)
        _receipt(ledger, each, "undelivered", "63051", NOW + 7)
    assert _subjects(ledger) == ["sender"]


def test_probes_go_out_one_at_a_time_with_growing_pauses_until_one_of_them_is_reported_sent(ledger: Ledger) -> None:
    for each in _sent(ledger, 3):
        _receipt(ledger, each, "undelivered", "63051", NOW)
    for number in range(20, 26):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+57313853{number:04}"), NOW)
    probed: list[tuple[int, int]] = []
    at = 0
    while len(probed) < 5 and at < 20_000:
        jobs = claims.claim_messages(ledger, 5, NOW + at).jobs
        assert len(jobs) <= 1
        for job in jobs:
            probed.append((at, job.outgoing.message_id or 0))
            send_results.finish_send(ledger, probed[-1][1], Accepted(_sid(probed[-1][1])), NOW + at)
        at += 60
    assert [moment for moment, _ in probed] == [600, 1800, 4200, 7800, 11400]
    _receipt(ledger, probed[0][1], "undelivered", "63051", NOW + at)
    assert _subjects(ledger) == ["sender"]
    assert _receipt(ledger, probed[-1][1], "sent", None, NOW + at).freed
    assert _subjects(ledger) == []
    assert len(claims.claim_messages(ledger, 5, NOW + at).jobs) == 1


def test_a_message_from_before_the_hold_that_is_reported_sent_does_not_end_it(ledger: Ledger) -> None:
    *failing, other = _sent(ledger, 4)
    for each in failing:
        _receipt(ledger, each, "undelivered", "63051", NOW + 5)
    _receipt(ledger, other, "delivered", None, NOW + 6)
    assert _subjects(ledger) == ["sender"]


def test_the_probe_of_a_sender_is_an_opening_before_a_reply(ledger: Ledger) -> None:
    sent = _sent(ledger, 4)
    inbox.record_inbound(ledger, written(phone="+573138530004"), NOW)
    (turn,) = turns.claim_turns(ledger, 5, NOW + 10).jobs
    for each in sent[:3]:
        _receipt(ledger, each, "undelivered", "63051", NOW + 10)
    turns.finish_turn(ledger, turn.turn_id, ["Sí."], None, NOW + 11)
    calls.record_call(ledger, call("conv_9", phone="+573000000009"), NOW + 12)
    (job,) = claims.claim_messages(ledger, 5, NOW + 700).jobs
    assert job.kind == "opening"


def test_an_accepted_message_ends_the_hold_of_a_refusal_but_not_that_of_receipts(ledger: Ledger) -> None:
    for each in _sent(ledger, 3):
        _receipt(ledger, each, "undelivered", "63051", NOW)
    calls.record_call(ledger, call("conv_9", phone="+573000000009"), NOW)
    (job,) = claims.claim_messages(ledger, 5, NOW + 601).jobs
    probe = job.outgoing.message_id or 0
    send_results.finish_send(ledger, probe, SendRefused("63007", "no such sender", "sender"), NOW + 601)
    assert _subjects(ledger) == ["account", "sender"]
    assert claims.claim_messages(ledger, 5, NOW + 700).jobs == ()
    (job,) = claims.claim_messages(ledger, 5, NOW + 1900).jobs
    send_results.finish_send(ledger, probe, Accepted(_sid(probe)), NOW + 1900)
    assert _subjects(ledger) == ["sender"]


@pytest.mark.parametrize("code", ["63018", "63038"])
def test_three_openings_that_meet_the_senders_limit_hold_its_openings_for_an_hour(ledger: Ledger, code: str) -> None:
    for each in _sent(ledger, 3):
        _receipt(ledger, each, "failed", code, NOW)
    health = queue_health(ledger, NOW)
    assert (health.paused, health.limited) == (None, True)
    inbox.record_inbound(ledger, written(phone="+573138530001"), NOW)
    (turn,) = turns.claim_turns(ledger, 5, NOW + 10).jobs
    turns.finish_turn(ledger, turn.turn_id, ["Sí."], None, NOW + 11)
    calls.record_call(ledger, call("conv_9", phone="+573000000009"), NOW + 12)
    assert [job.kind for job in claims.claim_messages(ledger, 5, NOW + 20).jobs] == ["reply"]
    assert claims.claim_messages(ledger, 5, NOW + 3599).jobs == ()
    assert [job.kind for job in claims.claim_messages(ledger, 5, NOW + 3600).jobs] == ["opening"]
    assert not queue_health(ledger, NOW + 3600).limited


def test_holds_survive_a_restart(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(burst_limit=0)
    for each in _sent(ledger, 3):
        _receipt(ledger, each, "undelivered", "63051", NOW)
    operator_decisions.pause(ledger, "ana", NOW)
    ledger = make_ledger(NOW + 9, burst_limit=0)
    assert _subjects(ledger) == ["operator", "sender"]


def test_the_breakers_count_follows_an_operation_that_is_rolled_back(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(NOW, burst_limit=3)
    for number in range(3):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+57300000000{number}", ended_at=NOW + 1), NOW + 1)
    for _ in range(3):
        ledger.db.execute("begin")
        assert len(claims.claim_messages(ledger, 2, NOW + 2).jobs) == 2
        ledger.db.execute("rollback")
    assert len(claims.claim_messages(ledger, 3, NOW + 2).jobs) == 3
    calls.record_call(ledger, call("conv_9", phone="+573000000099", ended_at=NOW + 3), NOW + 3)
    assert claims.claim_messages(ledger, 3, NOW + 3).burst == 1


@pytest.mark.parametrize(
    ("reason", "code", "dead"),
    [
        ("refused", "21211", 1),
        ("undelivered", "63024", 1),
        ("expired", None, 1),
        ("cancelled", None, 0),
        ("handed_over", None, 0),
        ("conversation_started", None, 0),
        ("restored", None, 0),
        ("refused", "21610", 0),
    ],
)
def test_dead_counts_what_a_fault_ended_and_nothing_that_a_person_or_a_rule_ended(
    ledger: Ledger, reason: str, code: str | None, dead: int
) -> None:
    calls.record_call(ledger, call(), NOW)
    send_results.end(ledger, 1, reason, Proof("rule"), NOW, code=code)
    assert queue_health(ledger, NOW + 1).dead == dead
    assert queue_health(ledger, NOW + 86_401).dead == 0


TEMPLATE = "HX" + "1" * 32
OTHER = "HX" + "2" * 32
TEMPLATES = {
    "completed": OpeningText(content_sid=TEMPLATE, content_variables={"1": "{client_name}"}),
    "voicemail": OpeningText(content_sid=OTHER),
}
STOPPING = ["21655", "63027", "63028", "63040", "63041", "63042"]


def _called(ledger: Ledger, number: int, now: float, outcome: str = "completed") -> int:
    state = calls.record_call(
        ledger, call(f"conv_{number}", phone=f"+57313853{number:04}", ended_at=now, outcome=outcome), now
    )
    return state.message_id or 0


def _claim(ledger: Ledger, now: float) -> list[int]:
    return [job.outgoing.message_id or 0 for job in claims.claim_messages(ledger, 9, now).jobs]


def _accept(ledger: Ledger, message_ids: list[int], now: float) -> None:
    for message_id in message_ids:
        send_results.finish_send(ledger, message_id, Accepted(_sid(message_id)), now)


@pytest.mark.parametrize("code", STOPPING)
def test_a_templates_code_in_a_response_fails_its_message_and_the_others_with_that_template_wait(
    make_ledger: Callable[..., Ledger], code: str
) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    assert _claim(ledger, NOW) == [first]
    finished = send_results.finish_send(ledger, first, SendRefused(code, "stopped", "template"), NOW)
    assert (finished.status, finished.reason) == ("failed", "refused")
    assert finished.alarm is not None
    assert TEMPLATE in finished.alarm
    waiting, other = _called(ledger, 2, NOW + 1), _called(ledger, 3, NOW + 1, "voicemail")
    assert _claim(ledger, NOW + 2) == [other]
    assert outbox.get_message(ledger, waiting).status == "queued"
    (hold,) = queue_health(ledger, NOW + 2).templates
    assert (hold.name, hold.code, hold.since) == (TEMPLATE, code, NOW)
    assert _claim(ledger, NOW + 599) == []
    assert _claim(ledger, NOW + 600) == [waiting]


@pytest.mark.parametrize("code", STOPPING)
def test_a_templates_code_in_a_receipt_stops_it_too(make_ledger: Callable[..., Ledger], code: str) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    _accept(ledger, _claim(ledger, NOW), NOW)
    assert _receipt(ledger, first, "undelivered", code, NOW + 2).alarm is not None
    _called(ledger, 2, NOW + 3)
    assert _claim(ledger, NOW + 3) == []


@pytest.mark.parametrize("code", ["21656", "21654", "63013", "63016", "63024"])
def test_other_codes_stop_no_template(make_ledger: Callable[..., Ledger], code: str) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    _claim(ledger, NOW)
    send_results.finish_send(ledger, first, SendRefused(code, "not right", "message"), NOW)
    second = _called(ledger, 2, NOW + 1)
    assert _claim(ledger, NOW + 1) == [second]


def test_one_message_with_a_stopped_template_goes_out_every_ten_minutes_until_one_is_reported_sent(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    _claim(ledger, NOW)
    send_results.finish_send(ledger, first, SendRefused("63041", "paused", "template"), NOW)
    for number in range(2, 7):
        _called(ledger, number, NOW)
    probed = []
    for at in range(0, 1900, 30):
        found = _claim(ledger, NOW + at)
        _accept(ledger, found, NOW + at)
        probed += [(at, len(found))] if found else []
    assert probed == [(600, 1), (1200, 1), (1800, 1)]
    assert _receipt(ledger, 4, "sent", None, NOW + 1900).freed
    assert queue_health(ledger, NOW + 1900).templates == ()
    assert len(_claim(ledger, NOW + 1900)) == 2


def test_a_stopped_template_stays_stopped_across_a_restart(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    _claim(ledger, NOW)
    send_results.finish_send(ledger, first, SendRefused("63041", "paused", "template"), NOW)
    ledger = make_ledger(NOW + 5, burst_limit=0, openings=TEMPLATES)
    _called(ledger, 2, NOW + 6)
    assert _claim(ledger, NOW + 6) == []


def test_a_person_tries_a_stopped_template_at_once(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    _claim(ledger, NOW)
    send_results.finish_send(ledger, first, SendRefused("63041", "paused", "template"), NOW)
    _called(ledger, 2, NOW)
    _called(ledger, 3, NOW)
    assert _claim(ledger, NOW + 1) == []
    assert not operator_decisions.resume_template(ledger, OTHER, "ana", NOW + 2)
    assert operator_decisions.resume_template(ledger, TEMPLATE, "ana", NOW + 2)
    assert len(_claim(ledger, NOW + 2)) == 1
    assert _claim(ledger, NOW + 3) == []


def test_a_person_ends_the_hold_of_a_template_with_which_nothing_waits(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(burst_limit=0, openings=TEMPLATES)
    first = _called(ledger, 1, NOW)
    _claim(ledger, NOW)
    send_results.finish_send(ledger, first, SendRefused("63041", "paused", "template"), NOW)
    assert operator_decisions.resume_template(ledger, TEMPLATE, "ana", NOW + 2)
    assert queue_health(ledger, NOW + 3).templates == ()
