"""The ends of a turn: answered, with silence, put off, or failed permanently because a tool may have run."""

from __future__ import annotations

import pytest

from tests.ledger.conftest import NOW, call, end_runs, written
from wa_relay.ledger import calls, inbox, turns
from wa_relay.ledger.agent_input import TurnJob
from wa_relay.ledger.store import Ledger


@pytest.fixture
def asked(ledger: Ledger) -> TurnJob:
    """Ana's question, which is being asked."""
    calls.record_call(ledger, call(), NOW - 60)
    inbox.record_inbound(ledger, written("Resérvame el martes", sid="SM1"), NOW)
    return _claim(ledger, NOW + 2)


def _claim(ledger: Ledger, now: float) -> TurnJob:
    (job,) = turns.claim_turns(ledger, 5, now).jobs
    return job


def _state(ledger: Ledger, turn_id: int) -> str:
    row = ledger.one("select state from turns where id = ?", (turn_id,))
    assert row is not None
    return str(row["state"])


def _replies(ledger: Ledger) -> list[str]:
    return [row["kind"] for row in ledger.all("select kind from conversation_messages where kind <> 'customer'")][1:]


def test_a_turn_answered_with_silence_sends_nothing_and_is_not_asked_again(ledger: Ledger, asked: TurnJob) -> None:
    assert turns.finish_silent(ledger, asked.turn_id, "conv_text", NOW + 5)
    assert (_state(ledger, asked.turn_id), _replies(ledger)) == ("silent", [])
    inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 10)
    assert _claim(ledger, NOW + 12).question.text == "¿Hola?"


def test_a_turn_that_ended_meanwhile_takes_no_silence(ledger: Ledger, asked: TurnJob) -> None:
    turns.cancel_turns(ledger, asked.conversation_id, "opted_out", NOW + 3)
    assert not turns.finish_silent(ledger, asked.turn_id, None, NOW + 5)
    assert _state(ledger, asked.turn_id) == "cancelled"


def test_a_turn_whose_tools_may_have_run_fails_at_the_start_instead_of_being_asked_again(
    ledger: Ledger, asked: TurnJob
) -> None:
    assert turns.note_tools(ledger, asked.turn_id)
    end_runs(ledger)
    assert turns.rescue_turns(ledger, NOW + 9) == 1
    assert (_state(ledger, asked.turn_id), _replies(ledger)) == ("failed", ["notice"])
    assert turns.claim_turns(ledger, 5, NOW + 60).jobs == ()


def test_a_turn_whose_tools_may_have_run_is_not_given_back(ledger: Ledger, asked: TurnJob) -> None:
    turns.note_tools(ledger, asked.turn_id)
    turns.reopen_turn(ledger, asked.turn_id, NOW + 3)
    assert _state(ledger, asked.turn_id) == "failed"


def test_a_question_whose_tools_may_have_run_is_left_out_of_the_next_question(ledger: Ledger, asked: TurnJob) -> None:
    turns.note_tools(ledger, asked.turn_id)
    turns.fail_turn(ledger, asked.turn_id, "closed", NOW + 5)
    inbox.record_inbound(ledger, written("¿Y entonces?", sid="SM2"), NOW + 10)
    assert _claim(ledger, NOW + 12).question.text == "¿Y entonces?"


def test_the_answer_of_a_turn_whose_tools_ran_goes_out(ledger: Ledger, asked: TurnJob) -> None:
    turns.note_tools(ledger, asked.turn_id)
    assert len(turns.finish_turn(ledger, asked.turn_id, ["Reservado."], None, NOW + 5)) == 1


def test_tools_are_not_noted_for_a_turn_that_is_not_being_asked(ledger: Ledger, asked: TurnJob) -> None:
    turns.finish_turn(ledger, asked.turn_id, ["Sí."], None, NOW + 5)
    assert not turns.note_tools(ledger, asked.turn_id)


def test_a_turn_that_is_put_off_does_not_count_as_tried(ledger: Ledger, asked: TurnJob) -> None:
    turn, now = asked, NOW + 2
    for count in range(1, 9):
        now += 60.0
        assert turns.put_off_turn(ledger, turn.turn_id, now, now - 57.0)
        turn = _claim(ledger, now)
        assert turn.put_offs == count
    end_runs(ledger)
    assert turns.rescue_turns(ledger, now) == 1
    assert _state(ledger, turn.turn_id) == "open"


def test_a_turn_is_put_off_for_ten_minutes_at_most(ledger: Ledger, asked: TurnJob) -> None:
    first = NOW + 3
    assert turns.put_off_turn(ledger, asked.turn_id, first + 9999.0, first)
    assert turns.claim_turns(ledger, 5, first + 599.0).jobs == ()
    turn = _claim(ledger, first + 600.0)
    assert not turns.put_off_turn(ledger, turn.turn_id, first + 605.0, first + 600.0)
    assert turns.fail_turn(ledger, turn.turn_id, "no capacity", first + 600.0)


def test_a_customer_who_writes_more_does_not_shorten_the_wait_for_capacity(ledger: Ledger, asked: TurnJob) -> None:
    turns.put_off_turn(ledger, asked.turn_id, NOW + 100, NOW + 3)
    assert inbox.record_inbound(ledger, written("¿Hola?", sid="SM2"), NOW + 10).due_at == NOW + 100
    assert _claim(ledger, NOW + 100).question.text == "Resérvame el martes\n¿Hola?"


def test_a_turn_whose_tools_may_have_run_is_not_put_off(ledger: Ledger, asked: TurnJob) -> None:
    turns.note_tools(ledger, asked.turn_id)
    assert not turns.put_off_turn(ledger, asked.turn_id, NOW + 30, NOW + 5)
