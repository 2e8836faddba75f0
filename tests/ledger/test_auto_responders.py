"""Auto-responders: a customer who repeats a text that the agent answers each time, and one whose turns are too many."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledger.conftest import NOW, PHONE, RULES, call, written
from wa_relay.ledger import calls, claims, customers, handover, inbox, send_results, turns
from wa_relay.ledger.inbox import Received
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Attachment
from wa_relay.policy import Operator

ECHO = "Gracias por su mensaje, un asesor responderá."
HOUR = 3600.0


def _write(ledger: Ledger, number: int, at: float, text: str = ECHO) -> Received:
    return inbox.record_inbound(ledger, written(text, sid=f"SM{number}"), NOW + at)


def _answer(ledger: Ledger, at: float) -> int:
    """Answers what is due; returns how many turns were asked."""
    jobs = turns.claim_turns(ledger, 9, NOW + at).jobs
    for job in jobs:
        turns.finish_turn(ledger, job.turn_id, ["Con gusto."], None, NOW + at)
    return len(jobs)


def _sent(ledger: Ledger, at: float) -> list[str]:
    sent = []
    for job in claims.claim_messages(ledger, 9, NOW + at).jobs:
        message_id = job.outgoing.message_id or 0
        send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), NOW + at)
        sent.append(job.outgoing.body or "")
    return sent


def _handler(ledger: Ledger) -> tuple[str, str | None]:
    customer = customers.find_customer(ledger, PHONE)
    assert customer is not None
    handling = handover.handling_of(ledger, customer.id)
    return handling.handler, handling.reason


@pytest.fixture
def known(ledger: Ledger) -> Ledger:
    calls.record_call(ledger, call(), NOW)
    assert len(_sent(ledger, 0)) == 1
    return ledger


def test_the_third_time_of_a_text_that_was_answered_each_time_mutes_for_an_hour(known: Ledger) -> None:
    for number, at in enumerate((0, 60)):
        assert _write(known, number, at).effect == "turn"
        assert _answer(known, at + 20) == 1
        assert _sent(known, at + 20) == ["Con gusto."]
    assert _write(known, 3, 120).effect == "silent"
    assert _handler(known) == ("muted", "repeats_itself")
    assert (_answer(known, 150), _sent(known, 150)) == (0, [])
    _write(known, 4, 200, "Otra cosa")
    assert handover.end_due(known, 9, NOW + 120 + HOUR - 1) == []
    assert len(handover.end_due(known, 9, NOW + 120 + HOUR)) == 1
    # What was written meanwhile is stored, and the agent is not asked about it.
    assert (_answer(known, 4000), _sent(known, 4000)) == (0, [])
    assert _write(known, 5, 4100, "¿Hola?").effect == "turn"
    assert _answer(known, 4200) == 1


@pytest.mark.parametrize(
    ("texts", "times"),
    [
        ((ECHO, ECHO, "Gracias por su mensaje."), (0, 60, 120)),
        (("muchas gracias", "muchas gracias", "muchas gracias"), (0, 60, 120)),
        ((ECHO, ECHO, ECHO), (0, 60, 661)),
    ],
    ids=["another text", "14 characters", "more than ten minutes"],
)
def test_anything_but_a_repetition_is_answered(known: Ledger, texts: tuple[str, ...], times: tuple[int, ...]) -> None:
    for number, (text, at) in enumerate(zip(texts, times, strict=True)):
        _write(known, number, at, text)
        assert _answer(known, at + 20) == 1


def test_a_text_that_the_agent_has_not_answered_each_time_is_not_a_loop(known: Ledger) -> None:
    _write(known, 1, 0)
    assert _answer(known, 10) == 1
    _write(known, 2, 60)
    (job,) = turns.claim_turns(known, 9, NOW + 70).jobs
    turns.finish_silent(known, job.turn_id, None, NOW + 70)
    assert _write(known, 3, 120).effect == "turn"


def test_attachments_with_the_same_caption_are_not_a_loop(known: Ledger) -> None:
    for number, at in enumerate((0, 60, 120)):
        message = written(ECHO, sid=f"SM{number}", attachment=Attachment("image"))
        assert inbox.record_inbound(known, message, NOW + at).effect == "turn"
        assert _answer(known, at + 20) == 1


def test_a_button_that_is_tapped_again_is_not_a_loop(known: Ledger) -> None:
    for number, at in enumerate((0, 60, 120)):
        message = written(ECHO, sid=f"SM{number}", tapped=True)
        assert inbox.record_inbound(known, message, NOW + at).effect == "turn"
        assert _answer(known, at + 20) == 1


def test_a_release_starts_the_count_of_repetitions_anew(known: Ledger) -> None:
    for number, at in enumerate((0, 60)):
        _write(known, number, at)
        _answer(known, at + 20)
    _write(known, 3, 120)
    handover.release(known, PHONE, Operator("ana", "cli"), NOW + 130)
    assert _write(known, 4, 140).effect == "turn"


def _hour_of_turns(ledger: Ledger, count: int) -> None:
    for number in range(count):
        _write(ledger, number, number * 60, f"Pregunta {number}")
        assert _answer(ledger, number * 60 + 20) == 1
        _sent(ledger, number * 60 + 25)


def test_the_turn_beyond_the_limit_mutes_with_one_fallback_and_is_asked_after_the_hour(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(max_turns_per_hour=3)
    calls.record_call(ledger, call(), NOW)
    _sent(ledger, 0)
    _hour_of_turns(ledger, 3)
    assert _write(ledger, 10, 200, "Una más").effect == "turn"
    assert _answer(ledger, 220) == 0
    assert _handler(ledger) == ("muted", "too_many_turns")
    assert _sent(ledger, 220) == [RULES.fallback]
    assert _write(ledger, 11, 300, "¿Sigues ahí?").effect == "held"
    assert (_answer(ledger, 400), _sent(ledger, 400)) == (0, [])
    assert len(handover.end_due(ledger, 9, NOW + 220 + HOUR)) == 1
    (job,) = turns.claim_turns(ledger, 9, NOW + 230 + HOUR).jobs
    assert job.question.text == "Una más\n¿Sigues ahí?"
    turns.finish_turn(ledger, job.turn_id, ["Aquí estoy."], None, NOW + 240 + HOUR)
    # The end of the hour has started the count anew.
    for number in range(2):
        _write(ledger, 20 + number, 250 + HOUR + number * 60, "Otra")
        assert _answer(ledger, 280 + HOUR + number * 60) == 1


def test_turns_of_more_than_an_hour_ago_do_not_count(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(max_turns_per_hour=3)
    calls.record_call(ledger, call(), NOW)
    _hour_of_turns(ledger, 3)
    _write(ledger, 10, HOUR + 21, "Una más")
    assert _answer(ledger, HOUR + 40) == 1


def test_a_turn_that_is_asked_again_counts_once(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(max_turns_per_hour=3, ask_again=2)
    calls.record_call(ledger, call(), NOW)
    _hour_of_turns(ledger, 2)
    _write(ledger, 10, 200, "Una más")
    for again in range(2):
        (job,) = turns.claim_turns(ledger, 9, NOW + 220 + again * 20).jobs
        _write(ledger, 11 + again, 221 + again * 20, "y otra")
        assert not turns.take_answer(ledger, job.turn_id, ["No."], None, NOW + 222 + again * 20)
    assert _answer(ledger, 290) == 1
    assert _handler(ledger) == ("agent", None)


def test_without_a_limit_no_number_of_turns_mutes(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(max_turns_per_hour=0)
    calls.record_call(ledger, call(), NOW)
    _hour_of_turns(ledger, 58)


def test_an_opt_out_is_honoured_while_muted_and_confirmed(known: Ledger) -> None:
    for number, at in enumerate((0, 60, 120)):
        _write(known, number, at)
        _answer(known, at + 20)
        _sent(known, at + 25)
    assert _handler(known) == ("muted", "repeats_itself")
    assert _write(known, 10, 210, "BAJA").effect == "opted_out"
    assert _sent(known, 210) == [RULES.confirmation]
