"""Batches: the calls whose outcome a batch has yet to report, and the batches with nothing left to report."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from wa_relay.ledger import forgotten
from wa_relay.ledger.store import Ledger
from wa_relay.model import BatchHint, Call, Moment

INSERT_HINT = """
    insert into call_hints (elevenlabs_conversation_id, batch_id, recipient_id, call, reported_at, due_at)
    select :key, :batch_id, :recipient_id, :call, :now, :now
    where not exists (select 1 from calls where elevenlabs_conversation_id = :key)
    on conflict do nothing"""
TAKE_DUE_HINTS = """
    update call_hints set tries = tries + 1, due_at = case
        when :now < reported_at + :patience and :now + 5 * power(2, least(tries, 4)) > reported_at + :patience
            then reported_at + :patience
        else :now + 5 * power(2, least(tries, 4)) end
    where elevenlabs_conversation_id in
        (select elevenlabs_conversation_id from call_hints where due_at <= :now order by due_at limit :limit)
    returning call, batch_id, recipient_id, reported_at"""
DROP_HINT = "delete from call_hints where elevenlabs_conversation_id = :key"

SELECT_SETTLED_BATCHES = "select batch_id, mark from settled_batches"
MARK_BATCH_SETTLED = """
    insert into settled_batches (batch_id, mark) values (:batch_id, :mark)
    on conflict (batch_id) do update set mark = excluded.mark"""
NOTE_POST_CALL = "update relay set post_call_at = :now where post_call_at is null"


def note_post_call(ledger: Ledger, now: Moment) -> None:
    """Records that a correctly signed post-call webhook has arrived, which `doctor` checks."""
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


def take_due_hints(ledger: Ledger, limit: int, patience: float, now: Moment) -> list[BatchHint]:
    """Returns the hints to ask their batches about, and plans when each is due again.

    The pauses grow from 5 s; a hint is due once more `patience` seconds after it came. `record_call` deletes it.
    """
    rows = ledger.all(TAKE_DUE_HINTS, {"now": now, "limit": limit, "patience": patience})
    return [
        BatchHint(Call(**json.loads(row["call"])), row["batch_id"], row["recipient_id"], row["reported_at"])
        for row in rows
    ]


def drop_hint(ledger: Ledger, key: str) -> None:
    """Deletes a hint: its call is recorded, or led to nothing."""
    ledger.run(DROP_HINT, {"key": key})


def read_settled(ledger: Ledger) -> dict[str, str]:
    """The mark of each batch at the time when it had nothing left to report."""
    return {row["batch_id"]: row["mark"] for row in ledger.all(SELECT_SETTLED_BATCHES)}


def mark_settled(ledger: Ledger, batch_id: str, mark: str) -> None:
    """Records that a batch has nothing left to report while its mark is this one."""
    ledger.run(MARK_BATCH_SETTLED, {"batch_id": batch_id, "mark": mark})
