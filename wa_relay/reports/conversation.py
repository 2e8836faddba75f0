"""One customer: the calls, and the thread with what became of each message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wa_relay.ledger import customers
from wa_relay.ledger.engine import Queries
from wa_relay.model import Moment
from wa_relay.moments import moment, optional_stamp, stamp
from wa_relay.reports.snapshot import snapshot

SELECT_CONVERSATION = """
    select id, phone_number, client_name, status, elevenlabs_conversation_id, agent_id, call_summary, started_at,
        last_message_at, message_count
    from conversation_state where id = :id"""
SELECT_CALLS = """
    select elevenlabs_conversation_id, batch_id, batch_name, outcome, group_name, ended_at, agent_id, agent_name,
        summary, skipped, recorded_at
    from calls where conversation_id = :id
    order by coalesce(ended_at, recorded_at) desc, id desc"""
SELECT_MESSAGES = """
    select id, direction, kind, content, twilio_message_id, status, error_code, reason, sent_at, error_message, notice,
        attachment, created_at, due_at
    from conversation_messages
    where id in (select id from conversation_messages where conversation_id = :id and id < :before)
        and case when sent_at is null then created_at >= :since_moment else sent_at >= :since end
    order by id desc limit :limit"""

SELECT_NEWEST_MESSAGE = "select coalesce(max(id), 0) from conversation_messages where conversation_id = :id"

HIGHEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CallEntry:
    """One phone call. `skipped` is the reason why it has no opening, None if it has one."""

    key: str
    batch_id: str | None
    batch_name: str | None
    outcome: str
    group_name: str | None
    ended_at: Moment | None
    agent_id: str
    agent_name: str | None
    summary: str | None
    skipped: str | None
    recorded_at: Moment

    def to_json(self) -> dict[str, Any]:
        """The call as the conversation's object lists it."""
        return {
            "elevenlabs_conversation_id": self.key,
            "batch_id": self.batch_id,
            "batch_name": self.batch_name,
            "outcome": self.outcome,
            "group_name": self.group_name,
            "ended_at": optional_stamp(self.ended_at),
        }


@dataclass(frozen=True, slots=True)
class MessageEntry:
    """One message of a thread, as it stands.

    `sent_at` (RFC 3339, UTC) is when Twilio accepted it or the customer's arrived, None before.
    `due_at` is when a message that waits may go, None when something else must come first.
    """

    id: int
    direction: str
    kind: str
    content: str
    sid: str | None
    status: str
    error_code: str | None
    reason: str | None
    sent_at: str | None
    error_message: str | None
    notice: str | None
    attachment: str | None
    created_at: Moment
    due_at: Moment | None

    @property
    def at(self) -> Moment:
        """When it was sent or came; when it was written, for one that waits."""
        return self.created_at if self.sent_at is None else moment(self.sent_at)

    def to_json(self) -> dict[str, Any]:
        """The message as the conversation's object lists it."""
        return {
            "id": self.id,
            "direction": self.direction,
            "kind": self.kind,
            "content": self.content,
            "twilio_message_id": self.sid,
            "status": self.status,
            "error_code": self.error_code,
            "reason": self.reason,
            "sent_at": self.sent_at,
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    """A customer's thread: `messages` is a part of it, `message_count` counts all of it.

    `newest` is the id of the thread's last message, shown or not; 0 without any.
    """

    id: int
    phone: str
    client_name: str | None
    status: str
    call_key: str | None
    agent_id: str | None
    call_summary: str | None
    started_at: str
    last_message_at: str
    message_count: int
    addresses: tuple[str, ...]
    newest: int
    calls: tuple[CallEntry, ...]
    messages: tuple[MessageEntry, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `GET /api/conversations/{phone}` and of `history --json`."""
        return {
            "conversation_id": f"conv_local_{self.id}",
            "phone_number": self.phone,
            "client_name": self.client_name,
            "status": self.status,
            "elevenlabs_conversation_id": self.call_key,
            "agent_id": self.agent_id,
            "call_summary": self.call_summary,
            "started_at": self.started_at,
            "last_message_at": self.last_message_at,
            "message_count": self.message_count,
            "addresses": list(self.addresses),
            "calls": [call.to_json() for call in self.calls],
            "messages": [message.to_json() for message in self.messages],
        }


def conversation(
    db: Queries, *, phone: str, limit: int, before: int | None = None, since: Moment | None = None
) -> Conversation | None:
    """Reads one customer's thread, None for an unknown one.

    `phone` is any address of the customer. The newest `limit` messages whose id is under `before`, sent or
    come from `since` on, oldest first; the calls newest first.
    """
    with snapshot(db):
        conversation_id = customers.find_conversation(db, phone)
        if conversation_id is None:
            return None
        row = db.execute(SELECT_CONVERSATION, {"id": conversation_id}).fetchone()
        addresses = customers.addresses_of(db, conversation_id)
        calls = db.execute(SELECT_CALLS, {"id": conversation_id}).fetchall()
        wanted = {
            "id": conversation_id,
            "before": HIGHEST_ID if before is None else before,
            "since": "" if since is None else stamp(since),
            "since_moment": 0.0 if since is None else since,
            "limit": limit,
        }
        messages = db.execute(SELECT_MESSAGES, wanted).fetchall()
        newest = db.execute(SELECT_NEWEST_MESSAGE, {"id": conversation_id}).fetchone()[0]
    return Conversation(
        id=row["id"],
        phone=row["phone_number"],
        client_name=row["client_name"],
        status=row["status"],
        call_key=row["elevenlabs_conversation_id"] or None,
        agent_id=row["agent_id"] or None,
        call_summary=row["call_summary"],
        started_at=row["started_at"],
        last_message_at=row["last_message_at"],
        message_count=row["message_count"],
        addresses=addresses,
        newest=newest,
        calls=tuple(CallEntry(*call) for call in calls),
        messages=tuple(MessageEntry(*message) for message in reversed(messages)),
    )
