"""Reads from a batch which calls have ended, under which key, and what may still come. Pure.

`poller.py` fetches batches and conversations, and asks here what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from wa_relay.elevenlabs.shapes import Batch, BatchSummary, Conversation, Recipient
from wa_relay.model import FINAL_OUTCOMES, BatchHint, Call, Moment
from wa_relay.sources.numbers import read_dialled

OPEN_BATCHES = frozenset({"pending", "in_progress"})
PATIENCE = 86400.0
"""Seconds after the last change in which a call may still show how it ended; after that it stays unknown."""

HINT_PATIENCE = 120.0
"""Seconds for which a call that the webhook reported waits for its batch (contract 5.1)."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that a source reported and that is not stored as a call, with the reason.

    `key` is the call's, None if it has none. `count` is the number of entries that the
    reason concerns. `phone` is the number as written.
    """

    reason: Literal["number_unusable", "not_a_phone_call", "never_ended", "unreadable_entries", "batch_not_found"]
    key: str | None = None
    batch_id: str | None = None
    recipient_id: str | None = None
    phone: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class BatchOutcomes:
    """The recipients of a batch whose calls have ended, by call key, newest first.

    `unsettled` is true while other recipients may still bring calls. `lost` are the recipients
    that were dialled, never showed how their call ended, and are not waited for any longer.
    """

    ended: Mapping[str, Recipient]
    unsettled: bool
    lost: tuple[Recipient, ...]


def worth_reading(listed: Iterable[BatchSummary], settled: Mapping[str, str]) -> list[BatchSummary]:
    """Picks the batches that may have news: those under way first, then the latest changed.

    WhatsApp batches make no phone calls; a scheduled batch that has dialled no recipient has no news.
    """
    fresh = {
        batch.id: batch
        for batch in listed
        if not batch.whatsapp and settled.get(batch.id) != batch.mark and not is_untouched(batch)
    }
    return sorted(
        fresh.values(), key=lambda b: (b.status in OPEN_BATCHES, latest_of(b.updated_at, b.created_at)), reverse=True
    )


def is_untouched(batch: BatchSummary) -> bool:
    """True for a scheduled batch that has dialled no recipient."""
    return batch.status == "pending" and batch.dispatched == 0 and not batch.finished and not batch.retries


def sort_recipients(batch: Batch, now: Moment) -> BatchOutcomes:
    """Sorts a batch's recipients into calls that have ended and what may still come.

    `failed` without a conversation is a separate failed call; `cancelled` without one was never
    dialled; any other outcome waits for its conversation's id.
    """
    ended: dict[str, Recipient] = {}
    open_rows: list[Recipient] = []
    for recipient in sorted(batch.recipients, key=lambda r: latest_of(r.updated_at, r.created_at), reverse=True):
        key = call_key(batch.summary.id, recipient)
        if key is not None:
            ended.setdefault(key, recipient)
        elif not _never_dialled(batch.summary, recipient):
            open_rows.append(recipient)
    given_up = [r for r in open_rows if is_stale(now, r.updated_at, batch.summary.updated_at)]
    unsettled = batch.summary.status in OPEN_BATCHES or len(given_up) < len(open_rows)
    return BatchOutcomes(ended, unsettled, () if unsettled else tuple(given_up))


def call_key(batch_id: str, recipient: Recipient) -> str | None:
    """Returns the key of the recipient's finished call, None before its end."""
    if recipient.status not in FINAL_OUTCOMES:
        return None
    if recipient.conversation_id is not None:
        return recipient.conversation_id
    return f"{batch_id}/{recipient.id}" if recipient.status == "failed" else None


def _never_dialled(batch: BatchSummary, recipient: Recipient) -> bool:
    return recipient.status == "cancelled" or (
        recipient.status == "pending" and batch.status in ("cancelled", "failed")
    )


def is_stale(now: Moment, *changes: Moment | None) -> bool:
    """True when the last known change is too old for more to come."""
    return now - latest_of(*changes) > PATIENCE


def latest_of(*moments: Moment | None) -> Moment:
    """Returns the latest of the known moments, 0 without any."""
    return max((moment for moment in moments if moment is not None), default=0.0)


def failed_call(batch: BatchSummary, recipient: Recipient) -> Call | Rejection:
    """Returns the call of a recipient without a conversation, rejected if its number is unusable.

    It ended when the recipient last changed, if that was after it was made. It lasted 0 seconds.
    """
    created, updated = recipient.created_at or 0.0, recipient.updated_at or 0.0
    call = _call(batch, recipient, updated if updated > created else None)
    return call if isinstance(call, Rejection) else replace(call, seconds=0.0, collected={})


def finished_call(batch: BatchSummary, recipient: Recipient, conversation: Conversation | None) -> Call | Rejection:
    """Returns the call of a recipient with its conversation; rejects anything but a phone call to a usable number.

    Without a conversation (ElevenLabs has deleted it) its end is not known. A call that was never
    connected has no telephony details: that its batch dialled it is enough.
    """
    if conversation is None:
        return _call(batch, recipient, None)
    if conversation.text_only or conversation.direction == "inbound":
        return Rejection("not_a_phone_call", conversation.conversation_id, batch.id, recipient.id)
    call = _call(batch, recipient, conversation.ended_at, conversation.phone)
    if isinstance(call, Rejection):
        return call
    return replace(
        call,
        agent_name=call.agent_name or conversation.agent_name,
        variables={**recipient.variables, **conversation.variables},
        summary=conversation.summary,
        transcript=conversation.transcript,
        seconds=conversation.length,
        collected=conversation.collected,
    )


def end_may_come(batch: BatchSummary, recipient: Recipient, conversation: Conversation, now: Moment) -> bool:
    """True while a conversation has not shown its end yet and may still do so."""
    shown = conversation.ended_at is not None or conversation.status in ("done", "failed")
    return not shown and not is_stale(now, conversation.started_at, recipient.updated_at, batch.updated_at)


def outcome_of(batch: Batch | None, hint: BatchHint, now: Moment) -> Call | None:
    """Returns the hinted call with its outcome from the batch; None while that is not final, or the batch unknown.

    The webhook's own status counts if the recipient is gone, or was dialled again since, and after `HINT_PATIENCE`.
    """
    without_batch = hint.call if now >= hint.reported_at + HINT_PATIENCE else None
    if batch is None:
        return without_batch
    recipient = next((r for r in batch.recipients if _is_hinted(r, hint)), None)
    if recipient is None or recipient.conversation_id not in (None, hint.call.key):
        return hint.call
    if recipient.status not in FINAL_OUTCOMES:
        return without_batch
    return replace(
        hint.call,
        outcome=recipient.status,
        agent_name=hint.call.agent_name or batch.summary.agent_name,
        batch_name=batch.summary.name,
        recipient_id=recipient.id,
        variables={**recipient.variables, **hint.call.variables},
    )


def _is_hinted(recipient: Recipient, hint: BatchHint) -> bool:
    if hint.recipient_id is not None:
        return recipient.id == hint.recipient_id
    return recipient.conversation_id == hint.call.key


def _call(
    batch: BatchSummary, recipient: Recipient, ended_at: Moment | None, other_phone: str | None = None
) -> Call | Rejection:
    key = call_key(batch.id, recipient)
    phone = read_dialled(recipient.phone) or read_dialled(other_phone)
    if phone is None or key is None:
        return Rejection("number_unusable", key, batch.id, recipient.id, recipient.phone or other_phone)
    return Call(
        key=key,
        phone=phone,
        agent_id=batch.agent_id,
        outcome=recipient.status,
        source="poll",
        ended_at=ended_at,
        agent_name=batch.agent_name,
        batch_id=batch.id,
        batch_name=batch.name,
        recipient_id=recipient.id,
        variables=recipient.variables,
    )
