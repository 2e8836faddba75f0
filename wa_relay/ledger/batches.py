"""Batches: the calls whose outcome they have yet to report, and those that have nothing left to report."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from wa_relay.ledger import forgotten
from wa_relay.ledger.store import Ledger
from wa_relay.model import BatchHint, Call, Moment

INSERT_HINT = """
    insert into call_hints (elevenlabs_conversation_id, batch_id, recipient_id, call, told_at, due_at)
    select :key, :batch_id, :recipient_id, :call, :now, :now
    where not exists (select 1 from calls where elevenlabs_conversation_id = :key)
    on conflict do nothing"""
DUE_HINTS = """
    update call_hints set tries = tries + 1, due_at = case
        when :now < told_at + :patience and :now + 5 * power(2, least(tries, 4)) > told_at + :patience
            then told_at + :patience
        else :now + 5 * power(2, least(tries, 4)) end
    where elevenlabs_conversation_id in
        (select elevenlabs_conversation_id from call_hints where due_at <= :now order by due_at limit :limit)
    returning call, batch_id, recipient_id, told_at"""
HINT_PATIENCE = 120.0
"""Seconds for which a call that the webhook reported waits for its batch (contract 5.1)."""

DROP_HINT = "delete from call_hints where elevenlabs_conversation_id = :key"

SETTLED = "select batch_id, mark from settled_batches"
SETTLE = """
    insert into settled_batches (batch_id, mark) values (:batch_id, :mark)
    on conflict (batch_id) do update set mark = excluded.mark"""


NOTE_POST_CALL = "update relay set post_call_at = :now where post_call_at is null"


def note_post_call(ledger: Ledger, now: Moment) -> None:
    """Keeps that a correctly signed post-call webhook has arrived; `doctor` asks for it."""
    ledger.run(NOTE_POST_CALL, {"now": now})


def record_hint(ledger: Ledger, hint: BatchHint, now: Moment) -> None:
    """Keeps a call whose outcome its batch has to report first.

    Nothing is kept of an erased call, and no number of a forgotten customer who had opted out.
    """
    call = hint.call
    if forgotten.is_forgotten(ledger, "call", call.key):
        return
    if forgotten.opted_out_before(ledger, call.phone):
        call = replace(forgotten.anonymous(call, f"{forgotten.ERASED}hint"), key=call.key)
    parameters = {
        "key": call.key,
        "batch_id": hint.batch_id,
        "recipient_id": hint.recipient_id,
        "call": json.dumps(asdict(call)),
        "now": now,
    }
    ledger.run(INSERT_HINT, parameters)


def due_hints(ledger: Ledger, limit: int, now: Moment) -> list[BatchHint]:
    """Returns the hints to ask about.

    Each is due again later, and once more when its patience ends, until `record_call` knows its call.
    """
    rows = ledger.all(DUE_HINTS, {"now": now, "limit": limit, "patience": HINT_PATIENCE})
    return [BatchHint(Call(**json.loads(r["call"])), r["batch_id"], r["recipient_id"], r["told_at"]) for r in rows]


def drop_hint(ledger: Ledger, key: str) -> None:
    """Deletes a hint: its call is recorded, or led to nothing."""
    ledger.run(DROP_HINT, {"key": key})


def settled(ledger: Ledger) -> dict[str, str]:
    """The mark at which each batch had nothing left to report."""
    return {row["batch_id"]: row["mark"] for row in ledger.all(SETTLED)}


def settle(ledger: Ledger, batch_id: str, mark: str) -> None:
    """Remembers that a batch has nothing left to report at this mark."""
    ledger.run(SETTLE, {"batch_id": batch_id, "mark": mark})
