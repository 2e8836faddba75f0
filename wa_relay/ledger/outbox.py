"""The outbox: the messages that wait to be sent, and their rows.

`queue_message` is the only insert of an outbound message. `claims` takes messages for sending, `send_results` and
`receipts` move them on. Every move states who made it (`Mover`) and what it rests on (`Proof`); the schema refuses one
without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

Kind = Literal["opening", "reply", "notice", "human"]
Notice = Literal["fallback", "opt_out", "text_only", "handover", "reopen"]

Mover = Literal["http", "receipt", "listing", "operator", "customer", "rule", "run"]
"""The mover of a message: Twilio's response to its send, a receipt, Twilio's list, an operator, the customer (an
opt-out), one of our rules (expiry, an empty variable), or this run of the daemon (the claim, a rescue after a kill)."""

INSERT_OUTBOUND = """
    insert into conversation_messages (conversation_id, direction, kind, notice, content, status, call_id, turn_id,
        part, to_address, created_at, due_at, not_after, sender, author, content_sid, content_variables)
    values (:conversation_id, 'outbound', :kind, :notice, :content, 'queued', :call_id, :turn_id, :part, :to_address,
        :now, :due_at, :not_after, (select sender from conversation_state where id = :conversation_id), :author,
        :content_sid, :content_variables)"""
COUNT_OUTBOUND = "update conversation_state set message_count = message_count + 1 where id = :id"
SELECT_OUTBOUND = """
    select m.id, m.conversation_id, m.kind, m.status, m.reason, m.content, m.content_sid, m.twilio_message_id,
        m.call_id, m.turn_id, m.part, m.sends, m.attempted_at, m.accepted_at, m.in_flight, m.lookups, m.polls,
        m.receipt, m.sender, coalesce(m.to_address, s.phone_number) as address{more}
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.direction = 'outbound' and {where}"""
SELECT_OUTBOUND_BY_ID = SELECT_OUTBOUND.format(more="", where="m.id = :id")
SELECT_OUTBOUND_BY_SID = SELECT_OUTBOUND.format(more="", where="m.twilio_message_id = :sid")
SELECT_NEXT_DUE = """
    select (select min(due_at) from conversation_messages where status = 'queued' and kind <> 'opening') as reply,
        (select min(due_at) from conversation_messages where status = 'queued' and kind = 'opening') as opening"""

MOVED = "moved_at = :now, moved_by = :by, moved_code = :by_code, moved_actor = :actor, evidence = :evidence"
"""The columns of a move, for the statements that change a status; `Proof.columns` fills them."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An outbound message as it enters the queue.

    `due_at` is None for a further part of an answer: it becomes due by what happens to the part before. `to_address`
    is None for a message to the address that wrote last. `author` is the person who wrote it, None for all other kinds;
    `content_sid` and its variables are those of a template other than an opening's.
    """

    conversation_id: int
    kind: Kind
    content: str
    due_at: Moment | None
    call_id: int | None = None
    turn_id: int | None = None
    part: int = 0
    notice: Notice | None = None
    not_after: Moment | None = None
    to_address: str | None = None
    author: str | None = None
    content_sid: str | None = None
    content_variables: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Outbound:
    """An outbound message's row; the columns of `SELECT_OUTBOUND` in order.

    `sender` is None for the default sender; `address` is where it goes or went.
    """

    id: int
    conversation_id: int
    kind: str
    status: str
    reason: str | None
    content: str
    content_sid: str | None
    sid: str | None
    call_id: int | None
    turn_id: int | None
    part: int
    sends: int
    attempted_at: Moment | None
    accepted_at: Moment | None
    in_flight: bool
    lookups: int
    polls: int
    receipt: str | None
    sender: str | None
    address: str

    @property
    def began_at(self) -> Moment:
        """When its last send began; raises `LookupError` for a message that was never sent."""
        if self.attempted_at is None:
            raise LookupError(f"no send of message {self.id} has begun")
        return self.attempted_at


@dataclass(frozen=True, slots=True)
class Proof:
    """The cause of a move: its mover, a sentence for people, Twilio's code or a connection error's name, a user."""

    by: Mover
    evidence: str | None = None
    code: str | None = None
    actor: str | None = None

    def columns(self, now: Moment) -> dict[str, str | float | None]:
        """The parameters of `MOVED`."""
        return {"now": now, "by": self.by, "by_code": self.code, "actor": self.actor, "evidence": self.evidence}


def queue_message(ledger: Ledger, message: NewMessage, now: Moment) -> int:
    """Stores a message that is to be sent, counts it in its conversation, and returns its id."""
    ledger.write(COUNT_OUTBOUND, {"id": message.conversation_id})
    if message.due_at is not None:
        ledger.db.announce("send", message.due_at)
    return ledger.insert(
        INSERT_OUTBOUND,
        {
            "conversation_id": message.conversation_id,
            "kind": message.kind,
            "notice": message.notice,
            "content": message.content,
            "call_id": message.call_id,
            "turn_id": message.turn_id,
            "part": message.part,
            "to_address": message.to_address,
            "now": now,
            "due_at": message.due_at,
            "not_after": message.not_after,
            "author": message.author,
            "content_sid": message.content_sid,
            "content_variables": as_json(message.content_variables),
        },
    )


def as_json(variables: Mapping[str, str] | None) -> str | None:
    """A template's variables as they are stored."""
    return None if variables is None else json.dumps(dict(variables), ensure_ascii=False)


def find_message(ledger: Ledger, message_id: int) -> Outbound | None:
    """An outbound message by our id, None without one."""
    row = ledger.one(SELECT_OUTBOUND_BY_ID, {"id": message_id})
    return None if row is None else Outbound(*row)


def find_message_by_sid(ledger: Ledger, sid: str) -> Outbound | None:
    """An outbound message by Twilio's SID, None without one."""
    row = ledger.one(SELECT_OUTBOUND_BY_SID, {"sid": sid})
    return None if row is None else Outbound(*row)


def get_message(ledger: Ledger, message_id: int) -> Outbound:
    """An outbound message that must be there; raises `LookupError` otherwise."""
    return Outbound(*ledger.need_one(SELECT_OUTBOUND_BY_ID, {"id": message_id}))


def next_due(ledger: Ledger) -> Moment | None:
    """The earliest due time in the outbox, None for an empty one."""
    return min((moment for moment in ledger.need_one(SELECT_NEXT_DUE) if moment is not None), default=None)
