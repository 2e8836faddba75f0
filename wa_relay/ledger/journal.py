"""The journal: one append-only record of what happened and why, written in the transaction of the change.

`why`, `/api/events`, `tail`, the console's log and the alerts read it; nothing else keeps a log in the database.

Ids grow in the order in which entries become visible: one connection writes, so entries commit in the order of their
ids. An entry is never removed while it is the newest one (`newest_entry_stays`), so that no id is given twice: erasing
a customer blanks what an entry says, and old entries go by age.

Two triggers of the schema write most entries. Each message gets one of event `message` when it is stored, and one for
each move of an outbound message (`send`, `receipt`, `operator`) with its statuses. Inbound messages are included, since
a reader of events needs one series of ids for everything. That costs a webhook one row at the end of the table, in a
page that is in memory, and no index: an index in the order of customers would cost each inbound message a page that
nobody has touched lately (docs/performance.md). So an entry is indexed by the narrowest thing that it is about: its
message, else its turn, else its conversation. Event `message` is not indexed, as the message's own row says the same.
`read_of_conversation` puts them together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wa_relay.ledger.engine import Queries, Row
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, Scalar

Event = Literal[
    "call",
    "wait",
    "send",
    "receipt",
    "message",
    "turn",
    "try",
    "fallback",
    "opt_out",
    "handover",
    "mute",
    "merge",
    "operator",
    "hold",
    "console",
]

INSERT_ENTRY = """
    insert into journal (at, event, reason, detail, actor, conversation_id, call_id, message_id, turn_id, facts)
    values (:at, :event, :reason, :detail, :actor, :conversation_id, :call_id, :message_id, :turn_id, :facts)"""
COLUMNS = """id, at, event, reason, detail, actor, conversation_id, call_id, message_id, turn_id, from_status,
    to_status, moved_by, code, facts"""
SELECT_ENTRIES_AFTER = f"select {COLUMNS} from journal where id > :after order by id limit :limit"
SELECT_NEWEST_ID = "select coalesce(max(id), 0) as id from journal"
SELECT_ENTRIES_OF_CONVERSATION = f"""
    select {COLUMNS} from journal
    where conversation_id = :id and message_id is null and turn_id is null and event <> 'console'
    union all select {COLUMNS} from journal
    where turn_id in (select turn_id from conversation_messages where conversation_id = :id) and message_id is null
    union all select {COLUMNS} from journal
    where message_id in (select id from conversation_messages where conversation_id = :id) and event <> 'message'
    order by id"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry to record. `reason` is a code, `detail` a sentence for people, `actor` the person who acted.

    `facts` holds what else a reader may need, as JSON values; no texts and no names.
    """

    event: Event
    reason: str | None = None
    detail: str | None = None
    actor: str | None = None
    conversation_id: int | None = None
    call_id: int | None = None
    message_id: int | None = None
    turn_id: int | None = None
    facts: Mapping[str, Scalar | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded entry.

    The move of an outbound message has `from_status`, `to_status`, `moved_by` and `code` (Twilio's code or the name of
    a connection's error); event `message` has `to_status`.
    """

    id: int
    at: Moment
    entry: Entry
    from_status: str | None = None
    to_status: str | None = None
    moved_by: str | None = None
    code: str | None = None


def record(ledger: Ledger, entry: Entry, now: Moment) -> None:
    """Appends one entry in the transaction of the change that it describes."""
    ledger.write(
        INSERT_ENTRY,
        {
            "at": now,
            "event": entry.event,
            "reason": entry.reason,
            "detail": entry.detail,
            "actor": entry.actor,
            "conversation_id": entry.conversation_id,
            "call_id": entry.call_id,
            "message_id": entry.message_id,
            "turn_id": entry.turn_id,
            "facts": json.dumps(dict(entry.facts), ensure_ascii=False) if entry.facts else None,
        },
    )


def read_after(db: Queries, after: int, limit: int) -> list[Recorded]:
    """The entries after an id, oldest first; reads only, so that it can run beside the writer."""
    return [_recorded(row) for row in db.execute(SELECT_ENTRIES_AFTER, {"after": after, "limit": limit})]


def newest_id(db: Queries) -> int:
    """The id of the newest entry, 0 for an empty journal: where a reader of what comes begins."""
    return int(db.execute(SELECT_NEWEST_ID).fetchone()[0])


def read_of_conversation(db: Queries, conversation_id: int) -> list[Recorded]:
    """Everything recorded about one conversation, oldest first, except that its messages were stored."""
    return [_recorded(row) for row in db.execute(SELECT_ENTRIES_OF_CONVERSATION, {"id": conversation_id})]


def _recorded(row: Row) -> Recorded:
    entry = Entry(
        event=row["event"],
        reason=row["reason"],
        detail=row["detail"],
        actor=row["actor"],
        conversation_id=row["conversation_id"],
        call_id=row["call_id"],
        message_id=row["message_id"],
        turn_id=row["turn_id"],
        facts=json.loads(row["facts"]) if row["facts"] else {},
    )
    return Recorded(row["id"], row["at"], entry, row["from_status"], row["to_status"], row["moved_by"], row["code"])
