"""What the agent is given for a turn: the customer's messages, the call and the thread.

The call and the thread are read beside the writer: they lie in as many pages as the thread has messages, and no
webhook should wait for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

from wa_relay.ledger.engine import Queries
from wa_relay.ledger.store import Ledger
from wa_relay.model import Line, Moment, Question
from wa_relay.text.spanish import SPANISH

SELECT_MESSAGES_OF_TURN = """
    select id, content, attachment from conversation_messages
    where turn_id = :turn_id and direction = 'inbound' order by sent_at, id"""
SELECT_THREAD_BEFORE_TURN = """
    select kind, content, attachment from conversation_messages
    where id in (select id from conversation_messages
            where conversation_id = :conversation_id and id < :first_message_id)
        and kind <> 'notice' and status <> 'failed' and length(content) > 0
        and (direction = 'outbound' or turn_id is distinct from :turn_id)
    order by id desc limit 60"""
SELECT_NEWEST_INBOUND_OF_TURN = """
    select m.twilio_message_id from turns t
        join conversation_state s on s.id = t.conversation_id
        join conversation_messages m on m.conversation_id = t.conversation_id
    where t.id = :turn_id and t.state = 'asking' and s.status = 'active'
        and m.direction = 'inbound' and m.twilio_message_id is not null
    order by m.id desc limit 1"""
SELECT_NOBODY_FREE = """
    select handler = 'agent' and waiting_since is not null from conversation_state where id = :id"""
SELECT_CONTEXT_OF_CALL = "select variables, summary, transcript, details_at from calls where id = :call_id"

SPEAKERS: dict[str, Literal["customer", "agent", "operator"]] = {"customer": "customer", "human": "operator"}
"""Who wrote a message of each kind; all others are the agent's."""


@dataclass(frozen=True, slots=True)
class TurnJob:
    """A turn to put to the agent now. `question` has the customer's messages, not yet the call and the thread.

    `first_message_id` is the first of the customer's messages in it: the thread is what came before.
    `put_offs` counts how often the turn was put off for lack of capacity.
    """

    turn_id: int
    conversation_id: int
    phone: str
    question: Question
    call_id: int | None
    first_message_id: int
    put_offs: int = 0


@dataclass(frozen=True, slots=True)
class Informed:
    """A question with its call and thread. `needs_details` is true while ElevenLabs may still add to the call."""

    question: Question
    needs_details: bool


@dataclass(frozen=True, slots=True)
class TurnMessage:
    """One of the customer's messages in a turn."""

    id: int
    content: str
    attachment: str | None


@dataclass(frozen=True, slots=True)
class CallContext:
    """What is known of the phone call. `variables` is JSON; `details_at` is None once nothing more is to come."""

    variables: str
    summary: str | None
    transcript: str | None
    details_at: Moment | None


def messages_of_turn(ledger: Ledger, turn_id: int) -> list[TurnMessage]:
    """The customer's messages in a turn, oldest first."""
    return [TurnMessage(*row) for row in ledger.all(SELECT_MESSAGES_OF_TURN, {"turn_id": turn_id})]


def inform(db: Queries, job: TurnJob) -> Informed:
    """Adds what is known of the call, and the thread before the customer's messages. Reads only."""
    row = db.execute(SELECT_CONTEXT_OF_CALL, {"call_id": job.call_id}).fetchone()
    call = None if row is None else CallContext(*row)
    before = {
        "conversation_id": job.conversation_id,
        "first_message_id": job.first_message_id,
        "turn_id": job.turn_id,
    }
    thread = [
        Line(SPEAKERS.get(kind, "agent"), text_for_agent(content, attachment))
        for kind, content, attachment in db.execute(SELECT_THREAD_BEFORE_TURN, before)
    ]
    thread.reverse()
    question = replace(
        job.question,
        variables=json.loads(call.variables) if call else {},
        summary=call.summary if call else None,
        transcript=call.transcript if call else None,
        thread=tuple(thread),
        nobody_free=bool(db.execute(SELECT_NOBODY_FREE, {"id": job.conversation_id}).fetchone()[0]),
    )
    return Informed(question, call is not None and call.details_at is not None)


def newest_inbound(db: Queries, turn_id: int) -> str | None:
    """The SID of the customer's newest message. None if the turn is not being asked, or after an opt-out."""
    row = db.execute(SELECT_NEWEST_INBOUND_OF_TURN, {"turn_id": turn_id}).fetchone()
    return None if row is None else str(row[0])


def inform_on_writer(ledger: Ledger, job: TurnJob) -> Informed:
    """Does the same on the writer's connection, for when the reader fails."""
    return inform(ledger.db, job)


def text_for_agent(content: str, attachment: str | None) -> str:
    """A message as text for the agent; an attachment is named in a note."""
    if attachment is None:
        return content
    note = SPANISH.unreadable(attachment)
    return f"{content}\n{note}" if content.strip() else note
