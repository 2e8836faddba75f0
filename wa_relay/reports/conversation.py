"""One customer: the calls, and the thread with what became of each message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wa_relay.basics import Moment
from wa_relay.ledger import customers
from wa_relay.ledger.engine import Queries, Row
from wa_relay.moments import moment, optional_stamp, stamp
from wa_relay.reports.attachments import (
    ATTACHMENT_COLUMNS,
    ATTACHMENT_JOIN,
    AttachmentEntry,
    attachment_of,
    referral_of,
)
from wa_relay.reports.snapshot import snapshot

OVERVIEW_COLUMNS = """id, phone_number, client_name, status, elevenlabs_conversation_id, agent_id, call_summary,
        started_at, last_message_at, message_count, sender, handler, handler_until, handler_reason, handler_by,
        waiting_since, window_ends_at, unread, unanswered_since"""
SELECT_OVERVIEW = f"select {OVERVIEW_COLUMNS} from conversation_state where id = :id"
SELECT_CALLS = """
    select elevenlabs_conversation_id, batch_id, batch_name, outcome, group_name, ended_at, agent_id, agent_name,
        summary, skipped, recorded_at
    from calls where conversation_id = :id
    order by coalesce(ended_at, recorded_at) desc, id desc"""
MESSAGE_COLUMNS = f"""m.id, m.direction, m.kind, m.content, m.twilio_message_id, m.status, m.error_code, m.reason,
    m.sent_at, m.error_message, m.notice, m.created_at, m.due_at, m.author,{ATTACHMENT_COLUMNS}"""
SELECT_MESSAGES = f"""
    select {MESSAGE_COLUMNS}
    from conversation_messages m {ATTACHMENT_JOIN}
    where m.id in (select id from conversation_messages where conversation_id = :id and id < :before)
        and case when m.sent_at is null then m.created_at >= :since_moment else m.sent_at >= :since end
    order by m.id desc limit :limit"""

SELECT_MESSAGE = f"select {MESSAGE_COLUMNS} from conversation_messages m {ATTACHMENT_JOIN} where m.id = :id"
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
    """One message of a thread.

    `sent_at` (RFC 3339, UTC) is when Twilio accepted it or the customer's arrived, None before.
    `reply_to` is the id of the message that it answers, `referral` the advertisement through which it came.
    `due_at` is when a message that waits may go, None when something else must come first. `author` is the person who
    wrote it, None for all but messages of kind `human`.
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
    created_at: Moment
    due_at: Moment | None
    author: str | None
    attachment: AttachmentEntry | None = None
    reply_to: int | None = None
    referral: dict[str, str] | None = None

    @property
    def at(self) -> Moment:
        """When it was sent or received; when it was written, for one that waits."""
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
            "author": self.author,
            "attachment": None if self.attachment is None else self.attachment.to_json(),
            "reply_to": self.reply_to,
            "referral": self.referral,
        }


@dataclass(frozen=True, slots=True)
class Overview:
    """A conversation without its calls and messages. `message_count` counts the whole thread.

    `handler` is who has it until `handler_until`. `waiting_since` is when a person was requested, None once one has
    written. `window_ends_at` may be past. `sender` is None for the default one.
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
    sender: str | None
    handler: str
    handler_until: Moment | None
    handler_reason: str | None
    handler_by: str | None
    waiting_since: Moment | None
    window_ends_at: Moment | None
    unread: int
    unanswered_since: Moment | None
    addresses: tuple[str, ...]

    def to_json(self, now: Moment) -> dict[str, Any]:
        """Returns the JSON object of a conversation, with the window as of `now`."""
        window_open = self.window_ends_at is not None and self.window_ends_at > now
        return {
            "conversation_id": f"conv_local_{self.id}",
            "phone_number": self.phone,
            "client_name": self.client_name,
            "status": self.status,
            "elevenlabs_conversation_id": self.call_key or None,
            "agent_id": self.agent_id or None,
            "call_summary": self.call_summary,
            "started_at": self.started_at,
            "last_message_at": self.last_message_at,
            "message_count": self.message_count,
            "addresses": list(self.addresses),
            "sender": self.sender,
            "handler": self.handler,
            "handler_until": optional_stamp(self.handler_until),
            "handler_reason": self.handler_reason,
            "handler_by": self.handler_by,
            "waiting": self.waiting_since is not None,
            "window_ends_at": optional_stamp(self.window_ends_at) if window_open else None,
            "unread": self.unread,
            "unanswered_since": optional_stamp(self.unanswered_since),
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    """A customer's thread: `messages` is a part of it.

    `newest` is the id of the thread's last message, shown or not; 0 without any.
    """

    overview: Overview
    newest: int
    calls: tuple[CallEntry, ...]
    messages: tuple[MessageEntry, ...]

    @property
    def id(self) -> int:
        """The number of the conversation."""
        return self.overview.id

    @property
    def phone(self) -> str:
        """The customer's number, or the BSUID while no number is known."""
        return self.overview.phone

    def to_json(self, now: Moment) -> dict[str, Any]:
        """The object of `GET /api/conversations/{phone}` and of `history --json`."""
        return self.overview.to_json(now) | {
            "calls": [call.to_json() for call in self.calls],
            "messages": [message.to_json() for message in self.messages],
        }


def overview(db: Queries, conversation_id: int) -> Overview:
    """Reads one conversation without its thread; raises `LookupError` for an unknown one."""
    row = db.execute(SELECT_OVERVIEW, {"id": conversation_id}).fetchone()
    if row is None:
        raise LookupError(f"no conversation {conversation_id}")
    return overview_of(db, row)


def overview_of(db: Queries, row: Row) -> Overview:
    """A conversation from its row, which has `OVERVIEW_COLUMNS` in order."""
    return Overview(*(*row, customers.addresses_of(db, row["id"])))


def message(db: Queries, message_id: int) -> MessageEntry | None:
    """Reads one message, None for an unknown one."""
    row = db.execute(SELECT_MESSAGE, {"id": message_id}).fetchone()
    return None if row is None else message_entry(row)


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
        found = overview(db, conversation_id)
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
        found,
        newest,
        calls=tuple(CallEntry(*call) for call in calls),
        messages=tuple(message_entry(message) for message in reversed(messages)),
    )


def message_entry(row: Row) -> MessageEntry:
    """A message from a row with `MESSAGE_COLUMNS`."""
    return MessageEntry(
        id=row["id"],
        direction=row["direction"],
        kind=row["kind"],
        content=row["content"],
        sid=row["twilio_message_id"],
        status=row["status"],
        error_code=row["error_code"],
        reason=row["reason"],
        sent_at=row["sent_at"],
        error_message=row["error_message"],
        notice=row["notice"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        author=row["author"],
        attachment=attachment_of(row),
        reply_to=row["reply_to"],
        referral=referral_of(row),
    )
