"""Everything that is stored about one customer, for the customer's own right to know it (Ley 1581)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger import customers
from wa_relay.ledger.engine import Queries
from wa_relay.model import Moment
from wa_relay.reports.conversation import conversation
from wa_relay.reports.snapshot import snapshot
from wa_relay.reports.why import why

SELECT_STORED_CONVERSATION = "select * from conversation_state where id = :id"
SELECT_STORED_ADDRESSES = "select * from addresses where conversation_id = :id order by known_since, address"
SELECT_STORED_CALLS = "select * from calls where conversation_id = :id order by id"
SELECT_STORED_THREAD = "select * from conversation_messages where conversation_id = :id order by id"
SELECT_STORED_TURNS = """
    select * from turns where id in (select turn_id from conversation_messages where conversation_id = :id)
    order by id"""
SELECT_STORED_RECEIPTS = """
    select * from receipts where sid in (
        select twilio_message_id from conversation_messages where conversation_id = :id)
    order by id"""
SELECT_STORED_ALERTS = "select * from alerts where conversation_id = :id order by id"
SELECT_STORED_MEDIA = "select * from media where conversation_id = :id order by id"
SELECT_STORED_CHUNKS = "select content from media_chunks where media = :id order by number"
SELECT_STORED_OPT_OUTS = "select * from opt_outs where phone_number = :address order by id"
SELECT_STORED_STRANGERS = "select * from strangers where phone_number = :address order by id"
SELECT_AUDIT_ENTRIES = """
    select at, actor, reason, detail from journal
    where conversation_id = :id and message_id is null and turn_id is null and event in ('console', 'operator')
    order by id"""

OF_CONVERSATION = {
    "conversation": SELECT_STORED_CONVERSATION,
    "addresses": SELECT_STORED_ADDRESSES,
    "calls": SELECT_STORED_CALLS,
    "messages": SELECT_STORED_THREAD,
    "turns": SELECT_STORED_TURNS,
    "receipts": SELECT_STORED_RECEIPTS,
    "alerts": SELECT_STORED_ALERTS,
    "media": SELECT_STORED_MEDIA,
    "audit": SELECT_AUDIT_ENTRIES,
}
OF_ADDRESS = {"opt_outs": SELECT_STORED_OPT_OUTS, "strangers": SELECT_STORED_STRANGERS}
HIGHEST_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Export:
    """A customer's data: the thread as `history` shows it, the decisions as `why` does, and every stored row.

    Times in the rows are seconds since the epoch, UTC; a file's bytes are base64.
    """

    phone: str
    thread: dict[str, Any] | None
    decisions: list[dict[str, Any]]
    stored: dict[str, list[dict[str, Any]]]

    def to_json(self) -> dict[str, Any]:
        """The object of `export --format json`."""
        return {
            "phone_number": self.phone,
            "thread": self.thread,
            "decisions": self.decisions,
            "stored": self.stored,
        }


def export(db: Queries, phone: str, now: Moment) -> Export | None:
    """Reads everything about a customer, or a stranger; None if nothing is stored. `phone` is any address."""
    thread = conversation(db, phone=phone, limit=HIGHEST_LIMIT)
    decisions = why(db, phone) or []
    with snapshot(db):
        stored = _stored(db, phone)
    if thread is None and not any(stored.values()):
        return None
    shown = None if thread is None else thread.to_json(now)
    return Export(phone, shown, [decision.to_json() for decision in decisions], stored)


def _stored(db: Queries, phone: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    conversation_id = customers.find_conversation(db, phone)
    addresses = {phone}
    if conversation_id is not None:
        addresses |= set(customers.addresses_of(db, conversation_id))
        for name, sql in OF_CONVERSATION.items():
            found[name] = [dict(row) for row in db.execute(sql, {"id": conversation_id})]
        for medium in found["media"]:
            parts = [bytes(row[0]) for row in db.execute(SELECT_STORED_CHUNKS, {"id": medium["id"]})]
            medium["content"] = base64.b64encode(b"".join(parts)).decode("ascii") if parts else None
    spellings = sorted({spelling for address in addresses for spelling in customers.spellings(address)})
    for name, sql in OF_ADDRESS.items():
        rows = (row for spelling in spellings for row in db.execute(sql, {"address": spelling}))
        found[name] = [dict(row) for row in rows]
    return found
