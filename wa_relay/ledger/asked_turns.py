"""Turns that are being asked, read with what the end of their session may change."""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay.ledger.engine import Query
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

SELECT_ASKED_TURN = """
    select id, conversation_id, call_id, tries, tools_ran, put_off_at, asked_again from turns
    where id = :turn_id and state = 'asking'"""
SELECT_ENDING_TURN = """
    select t.id, t.conversation_id, t.call_id, t.tries, t.tools_ran, t.put_off_at, t.asked_again, t.state,
        o.due_at as gathering_due_at, s.fallback_sent or s.text_only_sent as noticed,
        exists (select 1 from agent_failures f where f.agent_id = s.agent_id and f.in_a_row > 0) as agent_failed
    from turns t join conversation_state s on s.id = t.conversation_id
        left join turns o on o.conversation_id = t.conversation_id and o.state = 'open'
    where t.id = :turn_id"""
SELECT_LEFT_ASKING = """
    select id, conversation_id, call_id, tries, tools_ran, put_off_at, asked_again from turns
    where state = 'asking' and not exists (select 1 from runs where runs.id = turns.epoch and runs.ended_at is null)"""


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A turn that is being asked."""

    id: int
    conversation_id: int
    call_id: int | None
    tries: int
    tools_ran: bool
    put_off_at: Moment | None
    asked_again: int


@dataclass(frozen=True, slots=True)
class EndingTurn:
    """A turn whose session has ended, with what that may change. `turn` is None if it is not being asked any more.

    `gathering_due_at` is when the turn is due in which the customer has written more meanwhile, None without one.
    `noticed` is true if the customer has got a notice in place of an answer, `agent_failed` after the agent's failure.
    """

    conversation_id: int
    call_id: int | None
    turn: AskedTurn | None
    gathering_due_at: Moment | None
    noticed: bool
    agent_failed: bool


def find_asked(ledger: Ledger, turn_id: int) -> AskedTurn | None:
    """A turn that is being asked, None for any other."""
    row = ledger.one(SELECT_ASKED_TURN, {"turn_id": turn_id})
    return None if row is None else AskedTurn(*row)


def query_of_ending(turn_id: int, *_rest: object) -> Query:
    """The query of `find_ending`."""
    return SELECT_ENDING_TURN, {"turn_id": turn_id}


def find_ending(ledger: Ledger, turn_id: int) -> EndingTurn | None:
    """What the end of a session needs, in one statement: five took 4 % of a whole message."""
    row = ledger.one(*query_of_ending(turn_id))
    if row is None:
        return None
    *columns, state, gathering_due_at, noticed, agent_failed = row
    turn = AskedTurn(*columns)
    asked = turn if state == "asking" else None
    return EndingTurn(turn.conversation_id, turn.call_id, asked, gathering_due_at, bool(noticed), bool(agent_failed))


def left_asking(ledger: Ledger) -> list[AskedTurn]:
    """The turns that a run which has ended was asking."""
    return [AskedTurn(*row) for row in ledger.all(SELECT_LEFT_ASKING)]
