"""What customers write: stored once, with the turn it belongs to and its effect on consent."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Literal

from wa_relay import policy
from wa_relay.ledger.consent import spellings
from wa_relay.ledger.store import Ledger
from wa_relay.model import Inbound, Moment
from wa_relay.moments import stamp
from wa_relay.phone import other_spelling
from wa_relay.text.plain import keyword

PERSON = """
    select id, phone_number, status, created_at, window_ends_at, fallback_told, call_id, agent_id, unanswered_turn_id
    from conversation_state where phone_number = ?"""
PERSON_BY_USER = """
    select id, phone_number, status, created_at, window_ends_at, fallback_told, call_id, agent_id, unanswered_turn_id
    from conversation_state where user_id = ? order by call_id is null, call_id desc limit 1"""
INSERT_MESSAGE = """
    insert into conversation_messages (conversation_id, direction, kind, content, twilio_message_id, sent_at, status,
        call_id, attachment, created_at, accepted_at)
    values (?, 'inbound', 'customer', ?, ?, ?, 'received', ?, ?, ?, ?)
    on conflict do nothing"""
JOIN_TURN = "update conversation_messages set turn_id = ? where id = ?"
SEEN_AS_STRANGER = "select 1 from strangers where twilio_message_id = ?"
INSERT_STRANGER = """
    insert into strangers (twilio_message_id, phone_number, content, received_at) values (?, ?, ?, ?)
    on conflict do nothing"""
NOTE_INBOUND = """
    update conversation_state set message_count = message_count + 1, last_message_at = max(last_message_at, :stamp),
        window_ends_at = max(coalesce(window_ends_at, 0), :window), user_id = coalesce(:user_id, user_id)
    where id = :id"""
INSERT_CONVERSATION = """
    insert into conversation_state (phone_number, client_name, elevenlabs_conversation_id, agent_id, status, started_at,
        last_message_at, created_at, user_id)
    values (:phone, :name, '', :agent_id, 'active', :stamp, :stamp, :now, :user_id)"""

OPEN_TURN = "select id, first_at from turns where conversation_id = ? and state = 'open'"
EXTEND_TURN = "update turns set last_at = max(last_at, ?), due_at = ? where id = ?"
INSERT_TURN = """
    insert into turns (conversation_id, call_id, state, first_at, last_at, due_at) values (?, ?, 'open', ?, ?, ?)"""
TAKE_UNANSWERED = "update conversation_messages set turn_id = ? where turn_id = ? and direction = 'inbound'"
NOTHING_UNANSWERED = "update conversation_state set unanswered_turn_id = null where id = ?"
CANCEL_TURNS = """
    update turns set state = 'cancelled', finished_at = ?
    where conversation_id = ? and (state = 'open' or state = 'asking')"""
"""Spelt so that SQLite uses the two indexes that hold nothing else."""


OPT_OUT = """
    insert into opt_outs (phone_number, opted_out_at, source) values (?, ?, ?)
    on conflict do nothing"""
RETURN = "update opt_outs set returned_at = ? where phone_number in (?, ?) and returned_at is null"
SET_AGENT = "update conversation_state set agent_id = ? where id = ?"
SET_STATUS = "update conversation_state set status = ? where phone_number in (?, ?)"
LATER_CHANGE = """
    select 1 from opt_outs where phone_number = :phone and (opted_out_at >= :moment or returned_at >= :moment)"""
LATER_WORDS = """
    select content from conversation_messages
    where conversation_id = :id and direction = 'inbound' and accepted_at >= :moment and attachment is null
    union all select content from strangers where phone_number = :phone and received_at >= :moment"""
CANCEL_QUEUED = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        evidence = 'opt-out: ' || :source
    where conversation_id = :id and status = 'queued' and (notice is not 'opt_out' or :source = 'twilio')"""
CANCEL_CONFIRMATION = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        evidence = 'the person is back'
    where conversation_id = :id and status = 'queued' and notice = 'opt_out'"""
INSERT_NOTICE = """
    insert into conversation_messages (conversation_id, direction, kind, notice, content, status, call_id, turn_id,
        created_at, due_at)
    values (?, 'outbound', 'notice', ?, ?, 'queued', ?, ?, ?, ?)"""
COUNT_MESSAGE = "update conversation_state set message_count = message_count + 1 where id = ?"
FALLBACK_TOLD = "update conversation_state set fallback_told = 1 where id = ?"

Effect = Literal["turn", "duplicate", "stranger", "before_fence", "opted_out", "silent", "notice"]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of an inbound message. `due_at` is when its turn is due, None without one."""

    effect: Effect
    message_id: int | None = None
    conversation_id: int | None = None
    due_at: Moment | None = None


def record_inbound(ledger: Ledger, inbound: Inbound, now: Moment) -> Received:
    """Stores a customer's message, from a webhook or a listing, and what follows from it.

    The same SID again changes nothing. `written_at` of a listing decides if it is history:
    what was written before the database, or before the person had a conversation, is not answered.
    """
    written = inbound.written_at if inbound.written_at is not None else now
    # A listing's times are whole seconds, cut off: what may lie after the fence counts as after it.
    if inbound.written_at is not None and written + 1.0 <= ledger.fence:
        return Received("before_fence")
    if inbound.sid is not None and ledger.one(SEEN_AS_STRANGER, (inbound.sid,)):
        return Received("duplicate")
    person = _person(ledger, inbound)
    if person is None:
        return _stranger(ledger, inbound, written, now)
    if inbound.written_at is not None and written + 1.0 <= person["created_at"]:
        _keep_stranger(ledger, inbound, written)
        return Received("stranger")
    return _store(ledger, inbound, person, written, now)


def opt_out(ledger: Ledger, phone: str, source: str, now: Moment, said_at: Moment | None = None) -> bool:
    """Takes a person out: what waits for them is cancelled. False when they were out already.

    The confirmation outlives a second "STOP" that comes before it is sent, but not Twilio's own opt-out, after
    which Twilio refuses it (21610).
    """
    new = ledger.run(OPT_OUT, (phone, now if said_at is None else said_at, source)) == 1
    ledger.run(SET_STATUS, ("opted_out", *spellings(phone)))
    for person in ledger.all("select id from conversation_state where phone_number in (?, ?)", spellings(phone)):
        ledger.run(CANCEL_QUEUED, {"id": person["id"], "now": now, "source": source})
        ledger.run(CANCEL_TURNS, (now, person["id"]))
    return new


def notify(
    ledger: Ledger,
    conversation_id: int,
    call_id: int | None,
    notice: str,
    content: str,
    turn_id: int | None,
    now: Moment,
) -> int:
    """Puts one of our own texts into the outbox, due at once."""
    ledger.run(COUNT_MESSAGE, (conversation_id,))
    return ledger.insert(INSERT_NOTICE, (conversation_id, notice, content, call_id, turn_id, now, now))


def _person(ledger: Ledger, inbound: Inbound) -> sqlite3.Row | None:
    person = ledger.one(PERSON, (inbound.phone,))
    if person is not None and (person["call_id"] is not None or inbound.phone.startswith("+")):
        return person
    # Who hides the number is known by the user id that an earlier message or receipt carried, and
    # may have been a stranger until then.
    person = ledger.one(PERSON_BY_USER, (inbound.user_id or inbound.phone,)) or person
    spelling = other_spelling(inbound.phone) if person is None else None
    return person if spelling is None else ledger.one(PERSON, (spelling,))


def _stranger(ledger: Ledger, inbound: Inbound, written: Moment, now: Moment) -> Received:
    mode = ledger.rules.unknown_sender
    consent = _consent(ledger, inbound)
    if consent is not None and not _superseded(ledger, inbound, None, inbound.phone):
        if consent == "out":
            opt_out(ledger, inbound.phone, "customer", now, _said_at(inbound, now))
        else:
            ledger.run(RETURN, (_said_at(inbound, now), *spellings(inbound.phone)))
    if mode == "ignore" or consent == "out" or inbound.opt_out is not None:
        _keep_stranger(ledger, inbound, written)
        return Received("stranger")
    ledger.insert(
        INSERT_CONVERSATION,
        {
            "phone": inbound.phone,
            "name": inbound.profile_name,
            "agent_id": ledger.rules.unknown_agent_id if mode == "agent" else "",
            "stamp": stamp(written),
            "now": min(written, now),
            "user_id": inbound.user_id,
        },
    )
    person = ledger.one(PERSON, (inbound.phone,))
    assert person is not None
    return _store(ledger, inbound, person, written, now)


def _keep_stranger(ledger: Ledger, inbound: Inbound, written: Moment) -> None:
    ledger.run(INSERT_STRANGER, (inbound.sid, inbound.phone, inbound.text, written))


def _store(ledger: Ledger, inbound: Inbound, person: sqlite3.Row, written: Moment, now: Moment) -> Received:
    identity, said_at = person["id"], _said_at(inbound, now)
    cursor = ledger.db.execute(
        INSERT_MESSAGE,
        (identity, inbound.text, inbound.sid, stamp(written), person["call_id"], inbound.attachment, now, said_at),
    )
    if cursor.rowcount != 1 or cursor.lastrowid is None:
        return Received("duplicate")
    window = written + policy.WINDOW
    ledger.run(NOTE_INBOUND, {"stamp": stamp(written), "window": window, "user_id": inbound.user_id, "id": identity})
    return _follow(ledger, inbound, person, cursor.lastrowid, window, now)


def _follow(
    ledger: Ledger, inbound: Inbound, person: sqlite3.Row, message_id: int, window: Moment, now: Moment
) -> Received:
    identity, phone = person["id"], person["phone_number"]
    consent = _consent(ledger, inbound)
    if consent is not None and _superseded(ledger, inbound, identity, phone):
        return Received("silent", message_id, identity)
    if consent == "out":
        source = "twilio" if inbound.opt_out else "customer"
        new = opt_out(ledger, phone, source, now, _said_at(inbound, now))
        if new and not inbound.opt_out and ledger.rules.confirmation:
            notify(ledger, identity, person["call_id"], "opt_out", ledger.rules.confirmation, None, now)
        return Received("opted_out", message_id, identity)
    status = person["status"]
    if consent == "back":
        ledger.run(CANCEL_CONFIRMATION, {"now": now, "id": identity})
        ledger.run(RETURN, (_said_at(inbound, now), *spellings(phone)))
        ledger.run(SET_STATUS, ("active", *spellings(phone)))
        status = "active"
    # Twilio has answered what carries an OptOutType itself.
    if inbound.opt_out is not None or status == "opted_out" or window <= now:
        return Received("silent", message_id, identity)
    if person["call_id"] is None:
        mode = ledger.rules.unknown_sender
        if mode == "agent" and not person["agent_id"]:
            ledger.run(SET_AGENT, (ledger.rules.unknown_agent_id, identity))
        elif mode == "fallback":
            return _answer_stranger(ledger, person, message_id, now)
        elif not person["agent_id"]:
            return Received("silent", message_id, identity)
    return Received("turn", message_id, identity, _join_turn(ledger, person, message_id, now))


def _answer_stranger(ledger: Ledger, person: sqlite3.Row, message_id: int, now: Moment) -> Received:
    if ledger.rules.fallback and not person["fallback_told"]:
        notify(ledger, person["id"], None, "fallback", ledger.rules.fallback, None, now)
        ledger.run(FALLBACK_TOLD, (person["id"],))
        return Received("notice", message_id, person["id"], now)
    return Received("silent", message_id, person["id"])


def _join_turn(ledger: Ledger, person: sqlite3.Row, message_id: int, now: Moment) -> Moment:
    """Adds a message to the turn that is gathering, or begins one with all that was left unanswered."""
    identity = person["id"]
    turn = ledger.one(OPEN_TURN, (identity,))
    if turn is not None:
        due = policy.turn_due(turn["first_at"], now, ledger.rules)
        ledger.run(EXTEND_TURN, (now, due, turn["id"]))
        ledger.run(JOIN_TURN, (turn["id"], message_id))
        return due
    due = policy.turn_due(now, now, ledger.rules)
    turn_id = ledger.insert(INSERT_TURN, (identity, person["call_id"], now, now, due))
    if person["unanswered_turn_id"] is not None:
        ledger.run(TAKE_UNANSWERED, (turn_id, person["unanswered_turn_id"]))
        ledger.run(NOTHING_UNANSWERED, (identity,))
    ledger.run(JOIN_TURN, (turn_id, message_id))
    return due


def _said_at(inbound: Inbound, now: Moment) -> Moment:
    """The webhook's moment where it brought the message, and Twilio's whole second where a listing did."""
    return now if inbound.written_at is None else min(now, math.floor(inbound.written_at) + 0.999)


def _superseded(ledger: Ledger, inbound: Inbound, conversation_id: int | None, phone: str) -> bool:
    """True for a word of consent that a listing brings after the person has said something later about it."""
    if inbound.written_at is None:
        return False
    later = {"id": conversation_id, "phone": phone, "moment": inbound.written_at + 1.0}
    if ledger.one(LATER_CHANGE, later) is not None:
        return True
    words = ledger.rules.opt_out_keywords | ledger.rules.return_keywords
    return any(keyword(row["content"][:200]) in words for row in ledger.all(LATER_WORDS, later))


def _consent(ledger: Ledger, inbound: Inbound) -> Literal["out", "back"] | None:
    if inbound.opt_out == "STOP":
        return "out"
    if inbound.opt_out == "START":
        return "back"
    if inbound.opt_out is not None or inbound.attachment is not None or len(inbound.text) > 200:
        return None
    word = keyword(inbound.text)
    if word in ledger.rules.opt_out_keywords:
        return "out"
    return "back" if word in ledger.rules.return_keywords else None
