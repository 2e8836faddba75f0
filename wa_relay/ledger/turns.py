"""Turns: what the customer wrote since the last answer, asked once at a time, answered once.

A claim marks the turn and takes the words. What the agent is told besides, the call and the thread, is read
afterwards and beside the writer: it lies in as many pages as the thread has messages.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wa_relay.ledger import inbox
from wa_relay.ledger.store import Ledger
from wa_relay.model import Line, Moment, Question
from wa_relay.policy import TURN_TRIES
from wa_relay.text.spanish import SPANISH

DUE = """
    select t.id, t.conversation_id, t.call_id, t.tries, s.agent_id, s.phone_number, s.status, s.fallback_told,
        s.call_id as latest_call_id, s.elevenlabs_conversation_id as call_key
    from turns t join conversation_state s on s.id = t.conversation_id
    where t.state = 'open' and t.due_at <= :now
        and not exists (select 1 from turns a where a.conversation_id = t.conversation_id and a.state = 'asking')
    order by t.due_at limit :limit"""
NEXT_DUE = "select min(due_at) from turns where state = 'open'"
BEGIN = "update turns set state = 'asking', tries = tries + 1, begun_at = ?, call_id = ? where id = ?"
WORDS = """
    select id, content, attachment from conversation_messages
    where turn_id = ? and direction = 'inbound' order by sent_at, id"""
THREAD = """
    select direction, content, attachment from conversation_messages
    where id in (select id from conversation_messages where conversation_id = ? and id < ?)
        and kind <> 'notice' and status <> 'failed' and length(content) > 0
        and (direction = 'outbound' or turn_id is not ?)
    order by id desc limit 60"""
CALL = "select * from calls where id = ?"

STATE = "select id, conversation_id, call_id, state from turns where id = ?"
ANSWERED = "update turns set state = 'answered', finished_at = ?, session_id = ?, error = null where id = ?"
NOTICED = "update turns set state = 'noticed', finished_at = ? where id = ?"
"""Closed by a text of our own: the agent was not asked, so it is no answer of the agent's."""

FAILED = "update turns set state = 'failed', finished_at = ?, error = ? where id = ?"
TAKE_END = "update turns set last_at = (select last_at from turns where id = ?) where id = ?"
GIVE_WAY = "update turns set state = 'cancelled', finished_at = ? where id = ?"
"""For a turn whose words have gone over to another. Deleting it would look for its messages in the whole table."""

REOPEN = "update turns set state = 'open', due_at = ? where id = ? and state = 'asking'"
INSERT_REPLY = """
    insert into conversation_messages (conversation_id, direction, kind, content, status, call_id, turn_id, part,
        created_at, due_at)
    values (?, 'outbound', 'reply', ?, 'queued', ?, ?, ?, ?, ?)"""
COUNT_REPLIES = """
    update conversation_state set message_count = message_count + ?, fallback_told = 0 where id = ?"""
UNANSWERED = "update conversation_state set unanswered_turn_id = ? where id = ?"
ANOTHER_OPEN = "select id from turns where conversation_id = ? and state = 'open'"
FALLBACK_TOLD = "select fallback_told from conversation_state where id = ?"
ASKING = "select id, tries from turns where state = 'asking'"


@dataclass(frozen=True, slots=True)
class TurnJob:
    """A turn that this daemon is to put to the agent now. `question` says nothing of the call and the thread yet.

    `first_message_id` is the first of the customer's messages in it: the thread is what came before.
    """

    turn_id: int
    conversation_id: int
    phone: str
    question: Question
    call_id: int | None
    first_message_id: int


@dataclass(frozen=True, slots=True)
class Informed:
    """A question with its call and thread; `needs_details` while ElevenLabs may have more to tell of the call."""

    question: Question
    needs_details: bool


@dataclass(frozen=True, slots=True)
class ClaimedTurns:
    """What a claim took, and how many turns it answered by itself."""

    jobs: tuple[TurnJob, ...]
    answered: int = 0


def claim_turns(ledger: Ledger, limit: int, now: Moment) -> ClaimedTurns:
    """Takes turns that are due, at most one a conversation; one with nothing to read is answered here."""
    jobs, answered = [], 0
    for row in ledger.all(DUE, {"now": now, "limit": limit}):
        ledger.run(BEGIN, (now, row["latest_call_id"], row["id"]))
        words = ledger.all(WORDS, (row["id"],))
        if any(word["content"].strip() for word in words):
            jobs.append(_job(row, words))
        else:
            _answer_in_words(ledger, row, now)
            answered += 1
    return ClaimedTurns(tuple(jobs), answered)


def inform(db: sqlite3.Connection, job: TurnJob) -> Informed:
    """Adds what is known of the call, and the thread before the customer's words; reads only."""
    call = db.execute(CALL, (job.call_id,)).fetchone()
    thread = db.execute(THREAD, (job.conversation_id, job.first_message_id, job.turn_id)).fetchall()
    question = replace(
        job.question,
        variables=json.loads(call["variables"]) if call else {},
        summary=call["summary"] if call else None,
        transcript=call["transcript"] if call else None,
        thread=tuple(
            Line("customer" if line["direction"] == "inbound" else "agent", _said(line)) for line in reversed(thread)
        ),
    )
    return Informed(question, call is not None and call["details_at"] is not None)


def inform_here(ledger: Ledger, job: TurnJob) -> Informed:
    """The same by the writer's connection, for when no other one can be had."""
    return inform(ledger.db, job)


def finish_turn(ledger: Ledger, turn_id: int, parts: Sequence[str], session_id: str | None, now: Moment) -> list[int]:
    """Stores the answer with the outbox messages that carry it; tells their ids.

    A turn that is not being asked any more (the person opted out meanwhile) takes no answer.
    """
    turn = ledger.one(STATE, (turn_id,))
    if turn is None or turn["state"] != "asking":
        return []
    ledger.run(ANSWERED, (now, session_id, turn_id))
    ledger.run(COUNT_REPLIES, (len(parts), turn["conversation_id"]))
    identities = []
    for number, part in enumerate(parts):
        # A further part becomes due by the acceptance or the receipt of the one before it.
        due = now if number == 0 else None
        row = (turn["conversation_id"], part, turn["call_id"], turn_id, number, now, due)
        identities.append(ledger.insert(INSERT_REPLY, row))
    return identities


def fail_turn(ledger: Ledger, turn_id: int, error: str, now: Moment) -> bool:
    """Closes a turn without an answer; true when the fallback text goes out for it.

    What was not answered is part of the next turn's question.
    """
    turn = ledger.one(STATE, (turn_id,))
    if turn is None or turn["state"] != "asking":
        return False
    ledger.run(FAILED, (now, error[:500], turn_id))
    gathering = ledger.one(ANOTHER_OPEN, (turn["conversation_id"],))
    if gathering is not None:
        ledger.run(inbox.TAKE_UNANSWERED, (gathering["id"], turn_id))
    else:
        ledger.run(UNANSWERED, (turn_id, turn["conversation_id"]))
    told = ledger.one(FALLBACK_TOLD, (turn["conversation_id"],))
    if not ledger.rules.fallback or told is None or told[0]:
        return False
    inbox.notify(ledger, turn["conversation_id"], turn["call_id"], "fallback", ledger.rules.fallback, turn_id, now)
    ledger.run(inbox.FALLBACK_TOLD, (turn["conversation_id"],))
    return True


def reopen_turn(ledger: Ledger, turn_id: int, due_at: Moment) -> None:
    """Gives a turn back that was not finished."""
    turn = ledger.one(STATE, (turn_id,))
    if turn is None or turn["state"] != "asking":
        return
    gathering = ledger.one(ANOTHER_OPEN, (turn["conversation_id"],))
    if gathering is None:
        ledger.run(REOPEN, (due_at, turn_id))
        return
    # What came meanwhile joins the older turn, whose place in the order is the first.
    ledger.run(inbox.TAKE_UNANSWERED, (turn_id, gathering["id"]))
    ledger.run(TAKE_END, (gathering["id"], turn_id))
    ledger.run(GIVE_WAY, (due_at, gathering["id"]))
    ledger.run(REOPEN, (due_at, turn_id))


def rescue_turns(ledger: Ledger, now: Moment) -> int:
    """At the start: what was being asked is asked again, or fails if it brought the daemon down too often."""
    rows = ledger.all(ASKING)
    for row in rows:
        if row["tries"] >= TURN_TRIES:
            fail_turn(ledger, row["id"], f"begun {row['tries']} times without an end", now)
        else:
            reopen_turn(ledger, row["id"], now)
    return len(rows)


def _job(row: sqlite3.Row, words: list[sqlite3.Row]) -> TurnJob:
    call_id = row["latest_call_id"]
    question = Question(
        agent_id=row["agent_id"],
        text="\n".join(_said(word) for word in words),
        call_key=None if call_id is None else row["call_key"],
    )
    return TurnJob(row["id"], row["conversation_id"], row["phone_number"], question, call_id, words[0]["id"])


def _said(row: sqlite3.Row) -> str:
    """A message in words for the agent, its attachment named where it had one."""
    if row["attachment"] is None:
        return str(row["content"])
    note = SPANISH.unreadable(row["attachment"])
    return f"{row['content']}\n{note}" if row["content"].strip() else note


def _answer_in_words(ledger: Ledger, row: sqlite3.Row, now: Moment) -> None:
    """A voice note, a picture or a place alone gets one polite answer, and the agent is not asked."""
    ledger.run(NOTICED, (now, row["id"]))
    if ledger.rules.text_only:
        inbox.notify(
            ledger, row["conversation_id"], row["latest_call_id"], "text_only", ledger.rules.text_only, row["id"], now
        )
