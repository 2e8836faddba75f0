"""The outbox: order, one at a time, and what each result of a send leads to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from typing import Any

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import calls, claims, inbox, operator_decisions, receipts, send_results, turns, waiting_openings
from wa_relay.ledger.claims import SendJob
from wa_relay.ledger.outbox import NewMessage, queue_message
from wa_relay.ledger.queue_health import queue_health
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Listed, NotSent, Receipt, SendRefused, Unclear

SID = "SM" + "a" * 32
OTHER = "SM" + "b" * 32


def _status(ledger: Ledger, message_id: int = 1) -> tuple[str, str | None]:
    row = ledger.one("select status, reason from conversation_messages where id = ?", (message_id,))
    assert row is not None
    return row["status"], row["reason"]


def _claim(ledger: Ledger, now: float = NOW, limit: int = 10) -> list[SendJob]:
    return list(claims.claim_messages(ledger, limit, now).jobs)


def _opening(ledger: Ledger, key: str = "conv_1", **facts: object) -> int:
    state = calls.record_call(ledger, call(key, **facts), NOW)
    assert state.message_id is not None
    return state.message_id


def _answer(ledger: Ledger, *parts: str, sid: str = "SMx", now: float = NOW) -> list[int]:
    """Ana writes and the agent answers, in that many parts."""
    inbox.record_inbound(ledger, written(sid=sid), now)
    (job,) = turns.claim_turns(ledger, 5, now + 2).jobs
    return turns.finish_turn(ledger, job.turn_id, parts, None, now + 2)


def _listed(sid: str = SID, **facts: object) -> Listed:
    usual = {
        "direction": "outbound-api",
        "to": PHONE,
        "sender": "+14155238886",
        "body": "Hola Ana García, gracias por atender.",
        "status": "sent",
        "created_at": NOW,
    }
    return Listed(sid=sid, **{**usual, **facts})  # type: ignore[arg-type]


def test_a_message_is_marked_before_it_is_sent(ledger: Ledger) -> None:
    _opening(ledger)
    (job,) = _claim(ledger)
    assert job.outgoing.body == "Hola Ana García, gracias por atender."
    assert _status(ledger) == ("sending", None)
    assert _claim(ledger, NOW + 5) == []


def test_an_accepted_message_is_sent_with_its_sid(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    finished = send_results.finish_send(ledger, 1, Accepted(SID), NOW + 1)
    assert finished.status == "sent"
    row = ledger.one("select twilio_message_id, sent_at from conversation_messages")
    assert row is not None
    assert tuple(row) == (SID, "2026-11-18T11:06:41Z")


def test_a_message_that_was_provably_not_sent_waits_and_goes_again(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    finished = send_results.finish_send(ledger, 1, NotSent("429", retry_after=7.0), NOW)
    assert (finished.status, finished.due_at) == ("queued", NOW + 7.0)
    assert _claim(ledger, NOW + 6.9) == []
    assert len(_claim(ledger, NOW + 7.0)) == 1


def test_an_unclear_send_is_never_put_back_by_the_machine(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    for later in (1, 700, 90_000):
        for lookup in receipts.due_lookups(ledger, 5, NOW + later):
            receipts.record_lookup(ledger, lookup, [], NOW + later)
        assert _claim(ledger, NOW + later) == []
    assert _status(ledger) == ("uncertain", None)


@pytest.mark.parametrize("status", ["sending", "uncertain"])
def test_the_file_refuses_a_return_to_the_queue_without_proof(ledger: Ledger, status: str) -> None:
    _opening(ledger)
    _claim(ledger)
    if status == "uncertain":
        send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    with pytest.raises(REFUSED, match="only with proof"):
        ledger.run(
            "update conversation_messages set status = 'queued', in_flight = false, moved_by = 'rule' where id = 1"
        )


def test_the_file_refuses_two_messages_in_flight_to_one_person(ledger: Ledger) -> None:
    _opening(ledger, "conv_1")
    _opening(ledger, "conv_2")
    _claim(ledger)
    with pytest.raises(REFUSED, match="conversation_id"):
        ledger.run(
            "update conversation_messages set status = 'sending', in_flight = true, sends = 1, attempted_at = 1,"
            " epoch = 1, moved_by = 'run', moved_at = 1 where id = 2"
        )


def test_the_file_refuses_two_messages_with_one_sid(ledger: Ledger) -> None:
    for conversation in ("conv_1", "conv_2"):
        _opening(ledger, conversation)
    sid = "update conversation_messages set twilio_message_id = :sid where id = :id"
    ledger.run(sid, {"sid": "SM" + "1" * 32, "id": 1})
    with pytest.raises(REFUSED, match="twilio_message_id"):
        ledger.run(sid, {"sid": "SM" + "1" * 32, "id": 2})


def test_the_file_refuses_two_answers_to_a_turn(ledger: Ledger) -> None:
    _opening(ledger)
    (reply,) = _answer(ledger, "El plan cuesta $99.")
    row = ledger.one("select turn_id from conversation_messages where id = ?", (reply,))
    assert row is not None
    with pytest.raises(REFUSED, match="turn_id"):
        queue_message(ledger, NewMessage(1, "reply", "otra", NOW, turn_id=row["turn_id"]), NOW)


def test_the_file_refuses_a_way_out_of_a_final_status(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, SendRefused("21211", "not a number", "customer"), NOW)
    with pytest.raises(REFUSED, match="illegal move"):
        ledger.run("update conversation_messages set status = 'queued', reason = null where id = 1")


def test_a_send_under_way_at_a_crash_is_looked_up_at_once_and_not_repeated(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger()
    _opening(ledger)
    _claim(ledger)
    ledger = make_ledger(NOW + 30)
    assert send_results.rescue_sends(ledger, NOW + 30) == 1
    (lookup,) = receipts.due_lookups(ledger, 5, NOW + 30)
    assert lookup.attempted_at == NOW
    assert receipts.record_lookup(ledger, lookup, [_listed()], NOW + 31).status == "sent"
    assert _claim(ledger, NOW + 31) == []


@pytest.mark.parametrize(
    "others",
    [
        {"to": "+573000000000"},
        {"direction": "inbound"},
        {"body": "otra cosa"},
        {"created_at": NOW - 6.0},
        {"created_at": NOW + 599.0},  # a message that is sent after the hold is another one
        {"created_at": None},
    ],
)
def test_a_listed_message_that_is_not_the_send_is_not_adopted(ledger: Ledger, others: dict[str, Any]) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    (lookup,) = receipts.due_lookups(ledger, 5, NOW)
    assert receipts.record_lookup(ledger, lookup, [_listed(**others)], NOW + 1).status == "uncertain"


def test_two_matches_are_left_to_a_person_and_one_of_another_row_does_not_count(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    (lookup,) = receipts.due_lookups(ledger, 5, NOW)
    both = [_listed(SID), _listed(OTHER)]
    finished = receipts.record_lookup(ledger, lookup, both, NOW + 1)
    assert finished.status == "uncertain"
    assert finished.alarm is not None


def test_a_message_that_the_list_shows_twice_is_one_message(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    (lookup,) = receipts.due_lookups(ledger, 5, NOW)
    assert receipts.record_lookup(ledger, lookup, [_listed(), _listed()], NOW + 1).status == "sent"


def test_a_receipt_that_could_not_be_asked_for_is_asked_for_again(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted(SID), NOW)
    for again in range(9):
        at = NOW + 900.0 + 60.0 * again
        assert receipts.due_polls(ledger, 5, at) == [(1, SID)]
        assert receipts.due_polls(ledger, 5, at + 59.0) == []
    receipts.put_off_poll(ledger, 1, NOW + 2000.0)
    assert receipts.due_polls(ledger, 5, NOW + 1999.0) == []
    assert receipts.due_polls(ledger, 5, NOW + 2000.0) == [(1, SID)]


def test_an_unclear_send_holds_its_conversation_for_ten_minutes_and_no_other(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    _answer(ledger, "El plan cuesta $99.")
    calls.record_call(ledger, call("conv_9", phone="+573009999999"), NOW + 3)
    assert [job.outgoing.to for job in _claim(ledger, NOW + 3)] == ["+573009999999"]
    receipts.release_holds(ledger, NOW + 599)
    assert _claim(ledger, NOW + 599) == []
    receipts.release_holds(ledger, NOW + 600)
    assert [job.kind for job in _claim(ledger, NOW + 600)] == ["reply"]


def test_a_receipt_with_our_id_reveals_the_sid_of_a_lost_answer(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("reset"), NOW)
    noted = receipts.record_receipt(ledger, Receipt(SID, "delivered", message_id=1), NOW + 2)
    assert (noted.status, noted.changed) == ("delivered", True)


def test_a_receipt_of_another_database_means_none_of_our_messages(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    assert not receipts.record_receipt(ledger, Receipt(SID, "read", 1, database="19f3a"), NOW).known
    assert _status(ledger) == ("sending", None)
    assert receipts.record_receipt(ledger, Receipt(SID, "read", 1, database=ledger.mark), NOW).status == "read"


def test_a_receipt_that_comes_before_the_answer_is_confirmed_by_it(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    receipts.record_receipt(ledger, Receipt(SID, "sent", message_id=1), NOW)
    assert send_results.finish_send(ledger, 1, Accepted(SID), NOW + 1).alarm is None
    assert _status(ledger) == ("sent", None)


def test_a_second_sid_for_a_message_is_an_alarm(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    receipts.record_receipt(ledger, Receipt(SID, "sent", message_id=1), NOW)
    finished = send_results.finish_send(ledger, 1, Accepted(OTHER), NOW + 1)
    assert finished.alarm is not None
    row = ledger.one("select twilio_message_id from conversation_messages")
    assert row is not None
    assert row[0] == SID


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["sent", "delivered", "read"], "read"),
        (["read", "delivered", "sent"], "read"),
        (["delivered", "failed"], "delivered"),
        (["undelivered", "delivered"], "failed"),
        (["queued", "sending"], "sent"),
    ],
)
def test_receipts_only_go_upward(ledger: Ledger, statuses: list[str], status: str) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted(SID), NOW)
    for receipt in statuses:
        receipts.record_receipt(ledger, Receipt(SID, receipt), NOW + 1)
    assert _status(ledger)[0] == status


def test_a_failure_by_receipt_is_final_and_63016_closes_the_window(ledger: Ledger) -> None:
    _opening(ledger)
    inbox.record_inbound(ledger, written(), NOW - 10)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted(SID), NOW)
    receipts.record_receipt(ledger, Receipt(SID, "undelivered", error_code="63016"), NOW + 1)
    assert _status(ledger) == ("failed", "undelivered")
    row = ledger.one("select window_ends_at from conversation_state")
    assert row is not None
    assert row[0] == NOW + 1


def test_a_receipt_of_an_unknown_message_changes_nothing(ledger: Ledger) -> None:
    assert not receipts.record_receipt(ledger, Receipt(SID, "read", message_id=77), NOW).known


def test_a_refusal_for_the_account_holds_everything_and_fails_nothing(ledger: Ledger) -> None:
    _opening(ledger, "conv_1")
    _opening(ledger, "conv_2", phone="+573002222222")
    for job in _claim(ledger):
        assert job.outgoing.message_id is not None
        send_results.finish_send(ledger, job.outgoing.message_id, SendRefused("20003", "Authenticate", "account"), NOW)
    assert queue_health(ledger, NOW).paused == "account"
    assert _claim(ledger, NOW + 1.9) == []
    (probe,) = _claim(ledger, NOW + 2.0)
    assert _claim(ledger, NOW + 5.0) == []
    assert probe.outgoing.message_id is not None
    send_results.finish_send(
        ledger, probe.outgoing.message_id, SendRefused("20003", "Authenticate", "account"), NOW + 5
    )
    assert _claim(ledger, NOW + 9.9) == []
    (probe,) = _claim(ledger, NOW + 10.0)
    assert probe.outgoing.message_id is not None
    send_results.finish_send(ledger, probe.outgoing.message_id, Accepted(SID), NOW + 10)
    assert queue_health(ledger, NOW).paused is None
    assert len(_claim(ledger, NOW + 10)) == 1


def test_a_message_that_returns_to_the_queue_after_an_opt_out_is_not_sent(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    inbox.record_inbound(ledger, written("BAJA"), NOW)
    send_results.finish_send(ledger, 1, NotSent("429", retry_after=1.0), NOW)
    assert [job.kind for job in _claim(ledger, NOW + 5) + _claim(ledger, NOW + 5)] == ["notice"]
    assert _status(ledger) == ("failed", "cancelled")


def test_21610_is_an_opt_out(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, SendRefused("21610", "opted out", "customer"), NOW)
    assert calls.record_call(ledger, call("conv_2"), NOW).skipped == "opted_out"


def test_the_parts_of_an_answer_go_in_order_each_after_the_one_before(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted("SM" + "0" * 32), NOW)
    first, second, third = _answer(ledger, "uno", "dos", "tres")
    assert [job.outgoing.message_id for job in _claim(ledger, NOW + 3)] == [first]
    send_results.finish_send(ledger, first, Accepted(SID), NOW + 3)
    assert _claim(ledger, NOW + 7.9) == []
    receipts.record_receipt(ledger, Receipt(SID, "sent"), NOW + 4)
    assert [job.outgoing.message_id for job in _claim(ledger, NOW + 4)] == [second]
    send_results.finish_send(ledger, second, Accepted(OTHER), NOW + 4)
    assert [job.outgoing.message_id for job in _claim(ledger, NOW + 9)] == [third]


def test_a_receipt_shows_if_it_frees_something(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted("SM" + "0" * 32), NOW)
    first, _ = _answer(ledger, "uno", "dos")
    _claim(ledger, NOW + 3)
    send_results.finish_send(ledger, first, Accepted(SID), NOW + 3)
    freed = [receipts.record_receipt(ledger, Receipt(SID, status), NOW + 4).freed for status in ("sent", "read")]
    assert freed == [True, False]


def test_a_part_that_fails_takes_the_later_ones_with_it(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted("SM" + "0" * 32), NOW)
    first, second = _answer(ledger, "uno", "dos")
    _claim(ledger, NOW + 3)
    send_results.finish_send(ledger, first, SendRefused("21617", "too long", "message"), NOW + 3)
    assert _status(ledger, second) == ("failed", "cancelled")


def test_a_reply_does_not_wait_for_an_opening_that_is_held(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(quiet=(time(21), time(8)))  # it is 06:06 in Bogotá
    state = calls.record_call(ledger, call(), NOW)
    assert state.due_at is not None
    assert state.due_at > NOW + 6000
    _answer(ledger, "El plan cuesta $99.")
    assert [job.kind for job in _claim(ledger, NOW + 3)] == ["reply"]


def test_openings_wait_for_quiet_hours_also_when_they_were_queued_before(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger()
    _opening(ledger)
    ledger = make_ledger(quiet=(time(21), time(8)))
    assert _claim(ledger, NOW) == []
    assert len(_claim(ledger, NOW + 6810)) == 1  # 08:00:10


def test_an_opening_expires_by_its_call_and_a_reply_by_the_window(ledger: Ledger) -> None:
    _opening(ledger)
    (reply,) = _answer(ledger, "El plan cuesta $99.")
    ended = [claims.claim_messages(ledger, 5, NOW + 86401).ended for _ in range(2)]
    assert ended == [((1, "expired"),), ((reply, "expired"),)]


def test_openings_expire_while_they_are_paused(ledger: Ledger) -> None:
    _opening(ledger)
    operator_decisions.pause(ledger, "ana", NOW)
    assert waiting_openings.expire(ledger, NOW + 86400) == [1]


def test_pause_holds_openings_and_not_replies_and_resume_lets_them_go(ledger: Ledger) -> None:
    _opening(ledger)
    operator_decisions.pause(ledger, "ana", NOW)
    _answer(ledger, "El plan cuesta $99.")
    (reply,) = _claim(ledger, NOW + 3)
    assert reply.kind == "reply"
    assert reply.outgoing.message_id is not None
    send_results.finish_send(ledger, reply.outgoing.message_id, Accepted(SID), NOW + 3)
    assert operator_decisions.resume(ledger, "ana", NOW) == 1
    assert [job.kind for job in _claim(ledger, NOW + 3)] == ["opening"]


def test_the_breaker_holds_a_burst_at_the_start_over_restarts_until_resume(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(burst_limit=3)
    for number in range(4):
        _opening(ledger, f"conv_{number}", phone=f"+5730000000{number}")
    for held in (4, 0):
        ledger = make_ledger(NOW, burst_limit=3)
        claimed = claims.claim_messages(ledger, 10, NOW)
        assert (claimed.jobs, claimed.burst) == ((), held)
        assert queue_health(ledger, NOW).paused == "burst"
    operator_decisions.resume(ledger, "ana", NOW)
    assert len(_claim(ledger, NOW)) == 4


def test_after_a_resume_and_a_restart_the_breaker_holds_the_next_opening_and_says_so(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(burst_limit=3)
    for number in range(4):
        _opening(ledger, f"conv_{number}", phone=f"+5730000000{number}")
    operator_decisions.resume(ledger, "ana", NOW)
    ledger = make_ledger(NOW, burst_limit=3)
    assert len(_claim(ledger, NOW)) == 4
    claimed = claims.claim_messages(ledger, 10, NOW)
    assert (claimed.jobs, claimed.burst, queue_health(ledger, NOW).paused) == ((), 0, None)
    _opening(ledger, "conv_4", phone="+573000000009")
    claimed = claims.claim_messages(ledger, 10, NOW)
    assert (claimed.jobs, claimed.burst, queue_health(ledger, NOW).paused) == ((), 1, "burst")


def test_the_breaker_counts_what_becomes_due_in_the_first_minute(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(NOW, burst_limit=3)
    for number in range(3):
        _opening(ledger, f"conv_{number}", phone=f"+5730000000{number}")
        assert len(_claim(ledger, NOW + number)) == 1
    _opening(ledger, "conv_4", phone="+573000000009")
    assert _claim(ledger, NOW + 30) == []
    assert queue_health(ledger, NOW + 30).paused == "burst"


def test_the_breaker_lets_a_burst_pass_after_the_first_minute(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(NOW - 61, burst_limit=3)
    # A server starts the watch by its own clock, which the test does not hold.
    ledger.run("update relay set started_at = :at", {"at": NOW - 61})
    for number in range(9):
        _opening(ledger, f"conv_{number}", phone=f"+5730000000{number}")
    assert len(_claim(ledger, NOW)) == 9


def test_one_person_gets_ten_at_once_and_then_one_every_six_seconds(ledger: Ledger) -> None:
    for number in range(12):
        _opening(ledger, f"conv_{number}")
    for number in range(10):
        (job,) = _claim(ledger)
        assert job.outgoing.message_id is not None
        send_results.finish_send(ledger, job.outgoing.message_id, Accepted(f"SM{number:032x}"), NOW)
    assert _claim(ledger) == []
    assert _claim(ledger, NOW + 5.9) == []
    assert len(_claim(ledger, NOW + 6.1)) == 1


def test_an_operator_decides_about_an_uncertain_send(ledger: Ledger) -> None:
    for number in range(3):
        _opening(ledger, f"conv_{number}", phone=f"+5730000000{number}")
    _claim(ledger)
    for message in (1, 2, 3):
        send_results.finish_send(ledger, message, Unclear("timeout"), NOW)
    assert operator_decisions.resolve(ledger, 1, "sent", SID, "ana", NOW) == "sent"
    assert operator_decisions.resolve(ledger, 2, "cancel", None, "ana", NOW) == "failed"
    assert operator_decisions.resolve(ledger, 3, "resend", None, "ana", NOW) == "queued"
    assert [job.outgoing.message_id for job in _claim(ledger, NOW + 1)] == [3]
    with pytest.raises(operator_decisions.NotUncertain, match="already sent"):
        operator_decisions.resolve(ledger, 1, "resend", None, "ana", NOW)
    with pytest.raises(operator_decisions.NotUncertain, match="does not exist"):
        operator_decisions.resolve(ledger, 10**20, "resend", None, "ana", NOW)


def test_a_late_receipt_overtakes_a_resend_that_is_still_waiting(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("timeout"), NOW)
    operator_decisions.resolve(ledger, 1, "resend", None, "ana", NOW)
    receipts.record_receipt(ledger, Receipt(SID, "sent", message_id=1), NOW + 1)
    assert _claim(ledger, NOW + 2) == []
    assert _status(ledger) == ("sent", None)


def test_receipts_that_do_not_come_are_asked_for_three_times(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Accepted(SID), NOW)
    asked = []
    for at in (800, 901, 1000, 3601, 43201, 90000):
        if receipts.due_polls(ledger, 5, NOW + at):
            asked.append(at)
            receipts.poll_answered(ledger, 1, NOW + at)
    assert asked == [901, 3601, 43201]


def test_the_file_refuses_a_move_that_does_not_state_who_made_it(ledger: Ledger) -> None:
    _opening(ledger)
    with pytest.raises(REFUSED, match="who made it"):
        ledger.run("update conversation_messages set status = 'failed', reason = 'cancelled' where id = 1")


def test_each_move_is_journalled_with_its_proof(ledger: Ledger) -> None:
    _opening(ledger)
    _claim(ledger)
    send_results.finish_send(ledger, 1, Unclear("read timeout"), NOW)
    receipts.record_receipt(ledger, Receipt(SID, "delivered", message_id=1), NOW)
    moves = ledger.all(
        "select event, from_status, to_status, moved_by, detail from journal where from_status is not null order by id"
    )
    assert [tuple(move) for move in moves] == [
        ("send", "queued", "sending", "run", None),
        ("send", "sending", "uncertain", "http", "read timeout"),
        ("receipt", "uncertain", "sent", "receipt", "a receipt reported its SID"),
        ("receipt", "sent", "delivered", "receipt", "a receipt says delivered"),
    ]


def test_every_claim_carries_how_long_twilio_may_keep_the_message_waiting(ledger: Ledger) -> None:
    _opening(ledger)
    (job,) = _claim(ledger)
    assert job.outgoing.validity_seconds == 14_400
    send_results.finish_send(ledger, 1, Accepted(SID), NOW)
    _answer(ledger, "El plan cuesta $99.")
    ledger.run("update conversation_state set window_ends_at = ?", (NOW + 300.0,))
    (reply,) = _claim(ledger, NOW + 100)
    assert (reply.kind, reply.outgoing.validity_seconds) == ("reply", 200)


def test_the_question_of_an_answer_that_expired_at_twilio_is_part_of_the_next_turn(ledger: Ledger) -> None:
    _opening(ledger)
    (message_id,) = _answer(ledger, "El plan cuesta $99.")
    _claim(ledger, NOW + 60)
    send_results.finish_send(ledger, message_id, Accepted(SID), NOW + 60)
    receipts.record_receipt(ledger, Receipt(SID, "undelivered", message_id, "30036"), NOW + 2000)
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM77"), NOW + 2100)
    (turn,) = turns.claim_turns(ledger, 5, NOW + 2200).jobs
    assert turn.question.text.splitlines()[-1] == "¿Hola?"
    assert len(turn.question.text.splitlines()) == 2
