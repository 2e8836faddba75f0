"""A window that Twilio says is closed (63016): what waits, the question, and the template that may open it again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from typing import Any

import pytest

from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import agent_input, calls, claims, consent, handover, inbox, outbox, receipts, send_results, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Outgoing, Receipt, SendRefused
from wa_relay.policy import OpeningText, Operator

REOPEN = OpeningText("", "HX" + "7" * 32, {"1": "{client_name}"})
SELECT_ALL = "select id, kind, notice, status, reason, content from conversation_messages order by id"


def _sid(message_id: int | None) -> str:
    return f"SM{message_id:032x}"


def _sent(ledger: Ledger, at: float) -> list[Outgoing]:
    sent = []
    for job in claims.claim_messages(ledger, 9, NOW + at).jobs:
        message_id = job.outgoing.message_id
        assert message_id is not None
        send_results.finish_send(ledger, message_id, Accepted(_sid(message_id)), NOW + at)
        sent.append(job.outgoing)
    return sent


def _refused(ledger: Ledger, message: Outgoing, at: float) -> receipts.Noted:
    receipt = Receipt(_sid(message.message_id), "undelivered", message.message_id, "63016")
    return receipts.record_receipt(ledger, receipt, NOW + at)


def _asked(ledger: Ledger, at: float) -> str:
    (job,) = turns.claim_turns(ledger, 9, NOW + at).jobs
    turns.finish_turn(ledger, job.turn_id, ["Uno.", "Dos.", "Tres."], None, NOW + at)
    return job.question.text


def _answered(ledger: Ledger) -> Outgoing:
    """A call, a question, and the first of three parts of the answer, which Twilio has accepted."""
    calls.record_call(ledger, call(), NOW)
    assert len(_sent(ledger, 0)) == 1
    inbox.record_inbound(ledger, written("¿Precio?", sid="SM1"), NOW + 5)
    _asked(ledger, 10)
    (first,) = _sent(ledger, 10)
    return first


def _messages(ledger: Ledger) -> list[tuple[Any, ...]]:
    return [(row["kind"], row["status"], row["reason"]) for row in ledger.all(SELECT_ALL)]


def test_messages_behind_an_answer_that_met_63016_fail_with_it(ledger: Ledger) -> None:
    first = _answered(ledger)
    _refused(ledger, first, 12)
    assert _messages(ledger)[2:] == [
        ("reply", "failed", "undelivered"),
        ("reply", "failed", "window_closed"),
        ("reply", "failed", "window_closed"),
    ]
    assert _sent(ledger, 60) == []


def test_a_response_of_63016_does_the_same(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    _sent(ledger, 0)
    inbox.record_inbound(ledger, written("¿Precio?", sid="SM1"), NOW + 5)
    _asked(ledger, 10)
    (job,) = claims.claim_messages(ledger, 9, NOW + 10).jobs
    assert job.outgoing.message_id is not None
    send_results.finish_send(ledger, job.outgoing.message_id, SendRefused("63016", "closed", "message"), NOW + 11)
    assert [reason for _, _, reason in _messages(ledger)[2:]] == ["refused", "window_closed", "window_closed"]


def test_a_question_of_which_no_part_of_the_answer_arrived_is_part_of_the_next_turn(ledger: Ledger) -> None:
    _refused(ledger, _answered(ledger), 12)
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 60)
    assert _asked(ledger, 70) == "¿Precio?\n¿Hola?"


def test_a_question_whose_answer_arrived_in_part_is_answered(ledger: Ledger) -> None:
    first = _answered(ledger)
    receipts.record_receipt(ledger, Receipt(_sid(first.message_id), "delivered"), NOW + 11)
    (second,) = _sent(ledger, 12)
    _refused(ledger, second, 13)
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 60)
    assert _asked(ledger, 70) == "¿Hola?"


def test_a_question_is_unanswered_once_its_last_part_has_failed_too(ledger: Ledger) -> None:
    first = _answered(ledger)
    (second,) = _sent(ledger, 16)
    _refused(ledger, first, 17)
    _refused(ledger, second, 18)
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 60)
    assert _asked(ledger, 70) == "¿Precio?\n¿Hola?"


def test_the_agent_learns_what_did_not_arrive(ledger: Ledger) -> None:
    first = _answered(ledger)
    receipts.record_receipt(ledger, Receipt(_sid(first.message_id), "delivered"), NOW + 11)
    (second,) = _sent(ledger, 12)
    _refused(ledger, second, 13)
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 60)
    (job,) = turns.claim_turns(ledger, 9, NOW + 70).jobs
    question = agent_input.inform_on_writer(ledger, job).question
    assert question.not_arrived == ("Dos.", "Tres.")
    assert [line.text for line in question.thread][-1] == "Uno."


def test_openings_with_a_template_still_go_out_after_63016(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(openings={"completed": OpeningText("Hola", "HX" + "1" * 32)})
    first = _answered(ledger)
    calls.record_call(ledger, call("conv_2", ended_at=NOW + 11), NOW + 11)
    _refused(ledger, first, 12)
    assert [message.content_sid for message in _sent(ledger, 20)] == ["HX" + "1" * 32]


def test_a_template_asks_for_an_answer_once_until_the_customer_writes(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(reopen=REOPEN)
    first = _answered(ledger)
    (second,) = _sent(ledger, 16)
    _refused(ledger, first, 17)
    _refused(ledger, second, 18)
    (template,) = _sent(ledger, 20)
    assert (template.to, template.content_sid, template.content_variables) == (
        PHONE,
        REOPEN.content_sid,
        {"1": "Ana García"},
    )
    row = outbox.get_message(ledger, template.message_id or 0)
    assert (row.kind, row.status) == ("notice", "sent")
    inbox.record_inbound(ledger, written("Sí", sid="SM2"), NOW + 600)
    _asked(ledger, 610)
    (again,) = _sent(ledger, 610)
    _refused(ledger, again, 611)
    assert [message.content_sid for message in _sent(ledger, 620)] == [REOPEN.content_sid]


@pytest.mark.parametrize("state", ["opted_out", "taken_over", "muted"])
def test_no_template_asks_who_is_opted_out_taken_over_or_muted(make_ledger: Callable[..., Ledger], state: str) -> None:
    ledger = make_ledger(reopen=REOPEN)
    first = _answered(ledger)
    if state == "opted_out":
        consent.opt_out(ledger, PHONE, "cli", NOW + 11)
    elif state == "taken_over":
        handover.take_over(ledger, PHONE, Operator("ana", "console"), None, NOW + 11)
    else:
        handover.mute(ledger, 1, "repeats_itself", NOW + 11)
    _refused(ledger, first, 12)
    assert [message for message in _sent(ledger, 20) if message.content_sid] == []


def test_a_template_that_went_out_since_the_customer_wrote_is_enough(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(reopen=REOPEN, openings={"completed": OpeningText(content_sid="HX" + "1" * 32)})
    first = _answered(ledger)
    calls.record_call(ledger, call("conv_2", ended_at=NOW + 11), NOW + 11)
    for at in (30, 40):
        _sent(ledger, at)
    assert [message.content_sid for message in _sent(ledger, 50)] == ["HX" + "1" * 32]
    _refused(ledger, first, 60)
    assert _sent(ledger, 70) == []


def test_the_template_waits_for_quiet_hours_and_for_the_customer_who_writes_first(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(reopen=REOPEN)
    first = _answered(ledger)
    # 06:06 in Bogotá: quiet until 08:00.
    ledger = make_ledger(NOW + 11, reopen=REOPEN, quiet=(time(21), time(8)))
    _refused(ledger, first, 12)
    assert _sent(ledger, 20) == []
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 60)
    assert ledger.all(SELECT_ALL)[5]["reason"] == "cancelled"
    _asked(ledger, 70)
    (again,) = _sent(ledger, 70)
    _refused(ledger, again, 71)
    assert _sent(ledger, 3600) == []
    assert [message.content_sid for message in _sent(ledger, 2 * 3600)] == [REOPEN.content_sid]


def test_without_the_setting_no_template_asks(ledger: Ledger) -> None:
    _refused(ledger, _answered(ledger), 12)
    assert _sent(ledger, 20) == []


def test_a_template_with_an_empty_variable_is_not_sent(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(reopen=OpeningText("", REOPEN.content_sid, {"1": "{nobody}"}))
    _refused(ledger, _answered(ledger), 12)
    assert _sent(ledger, 20) == []
