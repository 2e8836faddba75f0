"""Unlikely but possible orders of events, and what must never follow from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import agent_input, calls, claims, holds, inbox, operator_decisions, receipts, send_results, turns
from wa_relay.ledger.consent import is_opted_out
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, NotSent, Receipt, SendRefused, Unclear
from wa_relay.policy import OpeningText

SID = "SM" + "a" * 32


@pytest.fixture
def known(ledger: Ledger) -> Ledger:
    """Ana has been called and written to."""
    calls.record_call(ledger, call(), NOW)
    claims.claim_messages(ledger, 5, NOW)
    send_results.finish_send(ledger, 1, Accepted(SID), NOW)
    return ledger


def _consent(ledger: Ledger) -> str:
    row = ledger.one("select status from conversation_state where phone_number = ?", (PHONE,))
    assert row is not None
    return str(row["status"])


def test_an_old_return_that_is_found_late_does_not_undo_a_later_opt_out(known: Ledger) -> None:
    inbox.record_inbound(known, written("BAJA", sid="SM2"), NOW + 100)
    inbox.record_inbound(known, written("ALTA", sid="SM1", written_at=NOW + 50), NOW + 160)
    assert _consent(known) == "opted_out"


def test_an_old_return_between_two_opt_outs_does_not_undo_the_second(known: Ledger) -> None:
    inbox.record_inbound(known, written("BAJA", sid="SM1"), NOW + 50)
    inbox.record_inbound(known, written("BAJA", sid="SM3"), NOW + 150)
    inbox.record_inbound(known, written("ALTA", sid="SM2", written_at=NOW + 100), NOW + 200)
    assert _consent(known) == "opted_out"


def test_an_old_opt_out_that_is_found_late_does_not_undo_a_later_return(known: Ledger) -> None:
    inbox.record_inbound(known, written("ALTA", sid="SM2"), NOW + 100)
    found = inbox.record_inbound(known, written("BAJA", sid="SM1", written_at=NOW + 50), NOW + 160)
    assert (_consent(known), found.effect) == ("active", "silent")


def test_keywords_of_consent_that_a_listing_brings_together_are_taken_in_their_order(known: Ledger) -> None:
    inbox.record_inbound(known, written("BAJA", sid="SM1", written_at=NOW + 50), NOW + 300)
    assert _consent(known) == "opted_out"
    inbox.record_inbound(known, written("ALTA", sid="SM2", written_at=NOW + 100), NOW + 300)
    assert _consent(known) == "active"


def test_an_old_return_of_a_stranger_does_not_undo_a_later_opt_out(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("BAJA", sid="SM2"), NOW - 100)
    inbox.record_inbound(ledger, written("ALTA", sid="SM1", written_at=NOW - 150), NOW - 60)
    assert calls.record_call(ledger, call(), NOW).skipped == "opted_out"


def test_the_breaker_counts_an_opening_once_however_often_it_is_tried(make_ledger: Callable[..., Ledger]) -> None:
    make_ledger()
    ledger = make_ledger(NOW, burst_limit=10)
    for number in range(6):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+5731385391{number:02}"), NOW)
    for second in (0, 20, 40):
        claimed = claims.claim_messages(ledger, 20, NOW + second)
        assert (claimed.burst, len(claimed.jobs)) == (0, 6)
        for job in claimed.jobs:
            send_results.finish_send(ledger, job.outgoing.message_id or 0, NotSent("429", 10.0), NOW + second)


def test_the_breaker_holds_what_was_due_at_a_start_whose_first_minute_the_account_was_held(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger()
    for number in range(12):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+5731385391{number:02}"), NOW)
    claims.claim_messages(ledger, 1, NOW)
    send_results.finish_send(ledger, 1, SendRefused("20003", "credentials", "account"), NOW)
    ledger.run("update holds set probe_at = ?", (NOW + 66.0,))
    ledger = make_ledger(NOW + 5, burst_limit=10)
    assert claims.claim_messages(ledger, 50, NOW + 6).jobs == ()
    claimed = claims.claim_messages(ledger, 50, NOW + 66)
    assert (claimed.burst, claimed.jobs) == (12, ())


def test_a_held_account_is_probed_by_the_first_message_that_comes(known: Ledger) -> None:
    holds.hold_account(known, "20003", "credentials", NOW - 1, NOW)
    known.run("update holds set probe_at = ?", (NOW + 60,))
    assert claims.claim_messages(known, 5, NOW + 61).jobs == ()
    inbox.record_inbound(known, written(), NOW + 62)
    (job,) = turns.claim_turns(known, 5, NOW + 64).jobs
    turns.finish_turn(known, job.turn_id, ["Sí."], None, NOW + 64)
    assert len(claims.claim_messages(known, 5, NOW + 64).jobs) == 1


def test_a_sid_that_another_message_has_leaves_nothing_on_the_wire_for_ever(known: Ledger) -> None:
    calls.record_call(known, call("conv_2"), NOW + 1)
    (job,) = claims.claim_messages(known, 5, NOW + 1).jobs
    finished = send_results.finish_send(known, job.outgoing.message_id or 0, Accepted(SID), NOW + 2)
    assert finished.status == "uncertain"
    assert finished.alarm


def test_a_clock_that_was_ahead_hides_no_inbound_message(known: Ledger) -> None:
    receipts.complete_sweep(known, NOW + 86400)
    receipts.complete_sweep(known, NOW + 60)
    assert receipts.swept_to(known) == NOW + 60


def test_the_thread_before_a_turn_holds_nothing_of_the_turn_itself(known: Ledger) -> None:
    inbox.record_inbound(known, written("segundo", sid="SM2"), NOW + 10)
    inbox.record_inbound(known, written("primero", sid="SM1", written_at=NOW + 5), NOW + 11)
    (job,) = turns.claim_turns(known, 5, NOW + 20).jobs
    assert job.question.text == "primero\nsegundo"
    thread = agent_input.inform_on_writer(known, job).question.thread
    assert [line.text for line in thread] == ["Hola Ana García, gracias por atender."]


def test_an_unclear_part_that_a_person_cancels_takes_the_rest_of_its_answer_with_it(known: Ledger) -> None:
    inbox.record_inbound(known, written(), NOW + 1)
    (job,) = turns.claim_turns(known, 5, NOW + 3).jobs
    first, second = turns.finish_turn(known, job.turn_id, ["uno", "dos"], None, NOW + 3)
    claims.claim_messages(known, 5, NOW + 3)
    send_results.finish_send(known, first, Unclear("timeout"), NOW + 4)
    operator_decisions.resolve(known, first, "cancel", None, "operator", NOW + 10)
    row = known.one("select status, reason from conversation_messages where id = ?", (second,))
    assert row is not None
    assert tuple(row) == ("failed", "cancelled")


@pytest.mark.parametrize("first", ["batch", "webhook"])
def test_a_failed_call_that_webhook_and_batch_report_under_different_keys_is_one_opening(
    make_ledger: Callable[..., Ledger], first: str
) -> None:
    ledger = make_ledger(openings={"failed": OpeningText(body="No te encontramos.")})
    details = {
        "batch": call("btcal_1/rcpt_1", outcome="failed", source="poll", batch_id="btcal_1", ended_at=NOW - 20.0),
        "webhook": call("conv_1", outcome="failed", source="webhook"),
    }
    one, other = details[first], details[{"batch": "webhook", "webhook": "batch"}[first]]
    assert calls.record_call(ledger, one, NOW).created
    again = calls.record_call(ledger, other, NOW)
    assert (again.created, again.key) == (False, one.key)
    assert len(ledger.all("select 1 from conversation_messages")) == 1


def test_two_failed_calls_of_two_batches_are_two_calls(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(openings={"failed": OpeningText(body="No te encontramos.")})
    for key in ("btcal_1/rcpt_1", "btcal_2/rcpt_1"):
        assert calls.record_call(ledger, call(key, outcome="failed", source="poll"), NOW).created


@pytest.mark.parametrize("mode", ["agent", "ignore"])
def test_a_stranger_who_got_the_fallback_is_treated_as_configured_now(
    make_ledger: Callable[..., Ledger], mode: str
) -> None:
    ledger = make_ledger(unknown_sender="fallback")
    inbox.record_inbound(ledger, written(sid="SM1"), NOW)
    ledger = make_ledger(NOW + 10, unknown_sender=mode, unknown_agent_id="agent_9")
    inbox.record_inbound(ledger, written(sid="SM2"), NOW + 20)
    asked = [job.question.agent_id for job in turns.claim_turns(ledger, 5, NOW + 30).jobs]
    assert asked == (["agent_9"] if mode == "agent" else [])


def test_an_opening_whose_begin_was_taken_back_counts_once_for_the_breaker(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(NOW, burst_limit=10)
    for number in range(6):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+5731385391{number:02}"), NOW)
    for _ in range(3):
        ledger.db.begin()
        claimed = claims.claim_messages(ledger, 20, NOW)
        assert (claimed.burst, len(claimed.jobs)) == (0, 6)
        ledger.db.execute("rollback")


def test_a_stranger_without_a_number_who_turns_out_to_have_been_called_is_that_person(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(unknown_sender="agent", unknown_agent_id="agent_9")
    inbox.record_inbound(ledger, written("Hola", sid="SM1", phone="CO.1A2b"), NOW - 600)
    state = calls.record_call(ledger, call(), NOW)
    claims.claim_messages(ledger, 5, NOW)
    receipts.record_receipt(ledger, Receipt(SID, "delivered", state.message_id, user_id="CO.1A2b"), NOW + 5)
    answer = inbox.record_inbound(ledger, written(sid="SM2", phone="CO.1A2b"), NOW + 60)
    claims.claim_messages(ledger, 5, NOW + 61)  # nothing is in flight: the two conversations become one, the older
    assert [row["id"] for row in ledger.all("select id from conversation_state")] == [answer.conversation_id]
    assert [row["conversation_id"] for row in ledger.all("select conversation_id from calls")] == [
        answer.conversation_id
    ]
    inbox.record_inbound(ledger, written("BAJA", sid="SM3", phone="CO.1A2b"), NOW + 90)
    assert _consent(ledger) == "opted_out"


@pytest.mark.parametrize("known", [True, False])
def test_an_opt_out_holds_for_a_mobile_however_it_is_spelled(ledger: Ledger, *, known: bool) -> None:
    dialled, details = "+525512345678", "+5215512345678"
    if known:
        calls.record_call(ledger, call(phone=dialled), NOW)
    inbox.record_inbound(ledger, written("BAJA", phone=details), NOW + 1)
    assert calls.record_call(ledger, call("conv_2", phone=dialled), NOW + 2).skipped == "opted_out"
    assert calls.record_call(ledger, call("conv_3", phone=details), NOW + 2).skipped == "opted_out"
    assert is_opted_out(ledger, dialled)
    assert is_opted_out(ledger, details)
    inbox.record_inbound(ledger, written("ALTA", sid="SM2", phone=details), NOW + 3)
    assert calls.record_call(ledger, call("conv_4", phone=dialled), NOW + 4).message_status == "queued"


def test_an_opt_out_cancels_what_waits_under_the_other_spelling_too(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone="+525512345678"), NOW)
    calls.record_call(ledger, call("conv_2", phone="+5215512345678"), NOW)
    inbox.record_inbound(ledger, written("BAJA", phone="+5215512345678"), NOW + 1)
    jobs = claims.claim_messages(ledger, 5, NOW + 2).jobs
    assert [job.kind for job in jobs] == ["notice"]


def test_a_clock_that_is_set_back_does_not_put_off_the_probe_of_a_held_account(known: Ledger) -> None:
    calls.record_call(known, call("conv_2"), NOW - 7300)
    holds.hold_account(known, "20003", "credentials", NOW - 1, NOW)
    known.run("update holds set probe_at = ?", (NOW + 60,))
    assert claims.claim_messages(known, 5, NOW + 59).jobs == ()
    assert len(claims.claim_messages(known, 5, NOW - 7200).jobs) == 1
