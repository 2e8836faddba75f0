"""The agent's input for a turn: the customer's messages, the call and the thread.

The call and the thread are read beside the writer: they lie in as many pages as the thread has messages, and no
webhook should wait for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wa_relay.ledger.engine import Queries, Query, Row
from wa_relay.ledger.store import Ledger
from wa_relay.model import AgentFile, Line, Moment, Question, Referral
from wa_relay.text.for_agent import CustomerMessage, as_line, compose

_PARTS = """
    m.content, m.attachment, f.id as file, f.content_type, f.size, f.purpose, f.state, f.stored, q.content as quoted,
    q.attachment as quoted_attachment, m.tapped, m.referral"""
_JOINS = """
    left join media f on f.message_id = m.id left join conversation_messages q on q.id = m.reply_to"""
SELECT_MESSAGES_OF_TURN = f"""
    select m.id,{_PARTS} from conversation_messages m{_JOINS}
    where m.turn_id = :turn_id and m.direction = 'inbound' order by m.sent_at, m.id"""
SELECT_DUE_TURNS = """
    select t.id, t.conversation_id, s.call_id, s.agent_id, s.phone_number, s.elevenlabs_conversation_id, t.put_offs,
        s.message_count, exists (select 1 from calls c
            where c.id = s.call_id and c.lacks_details and c.details_at is null)
    from turns t join conversation_state s on s.id = t.conversation_id
    where t.state = 'open' and t.due_at <= :now
        and not s.merging
        and not exists (select 1 from turns a where a.conversation_id = t.conversation_id and a.state = 'asking')
        and not exists (select 1 from media f
            where f.conversation_id = t.conversation_id and f.holds and f.give_up_at > :now)
    order by t.due_at limit :limit"""
SELECT_THREAD_BEFORE_TURN = f"""
    select m.kind,{_PARTS} from conversation_messages m{_JOINS}
    where m.id in (select id from conversation_messages
            where conversation_id = :conversation_id and id < :first_message_id)
        and m.kind <> 'notice' and m.status <> 'failed' and m.attachment is distinct from 'reaction'
        and (length(m.content) > 0 or m.id in (select w.id from conversation_messages w
            where w.conversation_id = :conversation_id and w.id < :first_message_id and w.direction = 'inbound'
                and w.attachment is not null and w.attachment <> 'reaction' and length(w.content) = 0
            order by w.id desc limit 10))
        and (m.direction = 'outbound' or m.turn_id is distinct from :turn_id)
    order by m.id desc limit 60"""
SELECT_NEWEST_INBOUND_OF_TURN = """
    select m.twilio_message_id from turns t
        join conversation_state s on s.id = t.conversation_id
        join conversation_messages m on m.conversation_id = t.conversation_id
    where t.id = :turn_id and t.state = 'asking' and s.status = 'active' and s.handler = 'agent'
        and m.direction = 'inbound' and m.twilio_message_id is not null
    order by m.id desc limit 1"""
SELECT_NOBODY_FREE = """
    select handler = 'agent' and waiting_since is not null from conversation_state where id = :id"""
SELECT_NOT_ARRIVED = """
    select m.content from conversation_messages m
    where m.id in (select n.id from conversation_messages n
            where n.conversation_id = :conversation_id order by n.id desc limit 60)
        and m.kind in ('reply', 'human') and m.status = 'failed'
        and (m.reason = 'window_closed' or m.error_code = '63016')
    order by m.id desc limit 10"""
SELECT_CONTEXT_OF_CALL = "select variables, summary, transcript, lacks_details from calls where id = :call_id"

SPEAKERS: dict[str, Literal["customer", "agent", "operator"]] = {"customer": "customer", "human": "operator"}
"""The author of a message of each kind; all others are the agent's."""


@dataclass(frozen=True, slots=True)
class DueTurn:
    """A turn that may be asked now. `call_id` and `call_key` are those of the conversation's latest call.

    `message_count` is that of the whole thread. `wants_details` is true if the call lacks details that are not due yet.
    """

    id: int
    conversation_id: int
    call_id: int | None
    agent_id: str
    phone: str
    call_key: str
    put_offs: int
    message_count: int = 0
    wants_details: bool = False


@dataclass(frozen=True, slots=True)
class TurnJob:
    """A turn to put to the agent now. `question` has the customer's messages, not yet the call and the thread.

    `messages` are the customer's, oldest first; `question` holds them as text with all of their files.
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
    messages: tuple[CustomerMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Informed:
    """A question with its call and thread. `needs_details` is true while ElevenLabs may still add to the call."""

    question: Question
    needs_details: bool


@dataclass(frozen=True, slots=True)
class CallContext:
    """The facts about the phone call. `variables` is JSON."""

    variables: str
    summary: str | None
    transcript: str | None
    lacks_details: bool


def due_turns(ledger: Ledger, limit: int, now: Moment) -> list[DueTurn]:
    """The turns that may be asked now, at most one of each customer. Their messages are read ahead."""
    turns = [DueTurn(*row) for row in ledger.all(SELECT_DUE_TURNS, {"now": now, "limit": limit})]
    # No turn changes the messages of another customer.
    ledger.db.read_ahead([_query_of_messages(turn.id) for turn in turns])
    return turns


def _query_of_messages(turn_id: int) -> Query:
    return SELECT_MESSAGES_OF_TURN, {"turn_id": turn_id}


def messages_of_turn(ledger: Ledger, turn_id: int) -> list[tuple[int, CustomerMessage]]:
    """The customer's messages in a turn with their ids, oldest first."""
    rows = ledger.all(*_query_of_messages(turn_id))
    return [(row["id"], _message(row, waited_for=True)) for row in rows]


def _message(row: Row, *, waited_for: bool) -> CustomerMessage:
    """A customer's message. Its file is one that the agent can be given, or has had if it was not `waited_for`."""
    ready = row["purpose"] == "agent" and row["state"] == "ready"
    file = None
    if ready and (row["stored"] or not waited_for):
        file = AgentFile(row["file"], row["attachment"], row["content_type"] or "", row["size"])
    referral = json.loads(row["referral"]) if row["referral"] else None
    return CustomerMessage(
        content=row["content"],
        attachment=row["attachment"],
        file=file,
        # A tap answers the message with the buttons, so its text is enough.
        quoted=None if row["tapped"] else row["quoted"],
        quoted_attachment=row["quoted_attachment"],
        referral=None if referral is None else Referral(**referral),
    )


def job_of(turn: DueTurn, numbered: Sequence[tuple[int, CustomerMessage]]) -> TurnJob:
    """A turn that has been claimed, with all of its messages and files."""
    messages = tuple(message for _, message in numbered)
    composed = compose(messages, len(messages))
    question = Question(
        agent_id=turn.agent_id,
        text=composed.text,
        call_key=None if turn.call_id is None else turn.call_key,
        files=composed.files,
        has_words=composed.has_words,
    )
    return TurnJob(
        turn.id,
        turn.conversation_id,
        turn.phone,
        question,
        turn.call_id,
        numbered[0][0],
        put_offs=turn.put_offs,
        messages=messages,
    )


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
        Line(SPEAKERS.get(row["kind"], "agent"), as_line(_message(row, waited_for=False)))
        for row in db.execute(SELECT_THREAD_BEFORE_TURN, before)
    ]
    thread.reverse()
    question = replace(
        job.question,
        variables=json.loads(call.variables) if call else {},
        summary=call.summary if call else None,
        transcript=call.transcript if call else None,
        thread=tuple(thread),
        nobody_free=bool(db.execute(SELECT_NOBODY_FREE, {"id": job.conversation_id}).fetchone()[0]),
        not_arrived=_not_arrived(db, job.conversation_id),
    )
    return Informed(question, call is not None and bool(call.lacks_details))


def _not_arrived(db: Queries, conversation_id: int) -> tuple[str, ...]:
    rows = db.execute(SELECT_NOT_ARRIVED, {"conversation_id": conversation_id})
    return tuple(reversed([row[0] for row in rows]))


def newest_inbound(db: Queries, turn_id: int) -> str | None:
    """The SID of the customer's newest message. None if the turn is not being asked, or after an opt-out."""
    row = db.execute(SELECT_NEWEST_INBOUND_OF_TURN, {"turn_id": turn_id}).fetchone()
    return None if row is None else str(row[0])


def inform_on_writer(ledger: Ledger, job: TurnJob) -> Informed:
    """Does the same on the writer's connection, if the reader fails."""
    return inform(ledger.db, job)
