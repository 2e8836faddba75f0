"""Openings: the message that follows a call, made from what the ledger knows of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger.outbox import NewMessage, queue_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, Scalar, Source

SELECT_CALL = """
    select c.id, c.elevenlabs_conversation_id, c.conversation_id, c.phone_number, c.outcome, c.recorded_at,
        c.client_name, c.agent_name, c.batch_name, c.group_name, c.variables, c.summary, s.window_ends_at, c.agent_id,
        c.source, c.ended_at, c.seconds, c.collected, c.decide_by
    from calls c join conversation_state s on s.id = c.conversation_id where {where}"""
SELECT_CALL_BY_KEY = SELECT_CALL.format(where="c.elevenlabs_conversation_id = :key")
SELECT_CALL_BY_ID = SELECT_CALL.format(where="c.id = :id")


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call as it is stored. `phone` is the number that was dialled; `window_ends_at` is the conversation's.

    `seconds` and `collected` are None while they are not known. `decide_by` is when a call that waits for them is
    decided without them, None for a decided call.
    """

    id: int
    key: str
    conversation_id: int
    phone: str
    outcome: str
    recorded_at: Moment
    client_name: str | None
    agent_name: str | None
    batch_name: str | None
    group_name: str | None
    variables: Mapping[str, Scalar]
    summary: str | None
    window_ends_at: Moment | None
    agent_id: str
    source: Source
    ended_at: Moment | None
    seconds: float | None
    collected: Mapping[str, Scalar] | None
    decide_by: Moment | None

    @property
    def name(self) -> str | None:
        """The customer's name: the report's, otherwise that of a variable; None if nobody named it."""
        return policy.client_name(self.client_name, self.variables) or None


def find_call(ledger: Ledger, key: str) -> KnownCall | None:
    """The call with ElevenLabs' id, None for an unknown one."""
    row = ledger.one(SELECT_CALL_BY_KEY, {"key": key})
    return None if row is None else _known(row)


def get_call(ledger: Ledger, key: str) -> KnownCall:
    """The call with ElevenLabs' id; raises `LookupError` for an unknown one."""
    return _known(ledger.need_one(SELECT_CALL_BY_KEY, {"key": key}))


def get_call_by_id(ledger: Ledger, call_id: int) -> KnownCall:
    """The call with our id; raises `LookupError` for an unknown one."""
    return _known(ledger.need_one(SELECT_CALL_BY_ID, {"id": call_id}))


def render_opening(ledger: Ledger, call: KnownCall, now: Moment) -> policy.Rendered:
    """The opening of a call as it would be sent now."""
    values = policy.opening_values(
        ledger.rules,
        call.variables,
        name=call.client_name,
        agent_name=call.agent_name,
        batch_name=call.batch_name,
        group_name=call.group_name,
    )
    ends_at = call.window_ends_at
    window_open = ends_at is not None and now < ends_at - policy.WINDOW_MARGIN
    return policy.render_opening(opening_text(ledger, call), values, window_open=window_open)


def opening_text(ledger: Ledger, call: KnownCall) -> policy.OpeningText:
    """The message that is configured for the call's outcome, empty without one."""
    return ledger.rules.openings.get(call.outcome, policy.OpeningText())


def queue_opening(ledger: Ledger, call: KnownCall, plan: policy.Write, now: Moment) -> int:
    """Puts a call's opening into the outbox, and returns its id."""
    opening = NewMessage(
        call.conversation_id,
        "opening",
        render_opening(ledger, call, now).content,
        plan.due_at,
        call_id=call.id,
        not_after=plan.not_after,
        to_address=call.phone,
    )
    return queue_message(ledger, opening, now)


def _known(row: sqlite3.Row) -> KnownCall:
    collected = None if row["collected"] is None else json.loads(row["collected"])
    return replace(KnownCall(*row), variables=json.loads(row["variables"]), collected=collected)
