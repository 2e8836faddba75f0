"""What a batch tells about its calls: which are over, under which key, and what may still come. Pure.

`poller.py` fetches batches and conversations and asks here what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from wa_relay.elevenlabs.shapes import Batch, BatchSummary, Conversation, Recipient
from wa_relay.model import FINAL_OUTCOMES, BatchHint, Call, Moment
from wa_relay.sources.numbers import dialled

OPEN_BATCHES = frozenset({"pending", "in_progress"})
PATIENCE = 86400.0
"""Seconds after the last change in which a call may still tell how it ended; then that stays unknown."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The recipients of a batch whose calls are over, by call key, newest first.

    `unsettled` is true while other recipients may still bring calls.
    """

    ended: Mapping[str, Recipient]
    unsettled: bool


def worth_reading(listed: Iterable[BatchSummary], settled: Mapping[str, str]) -> list[BatchSummary]:
    """Picks the batches that may have news: those under way first, then the latest changed.

    WhatsApp batches make no phone calls; a scheduled batch that dialled nobody has nothing to tell.
    """
    fresh = {
        batch.id: batch
        for batch in listed
        if not batch.whatsapp and settled.get(batch.id) != batch.mark and not _untouched(batch)
    }
    return sorted(
        fresh.values(), key=lambda b: (b.status in OPEN_BATCHES, _latest(b.updated_at, b.created_at)), reverse=True
    )


def _untouched(batch: BatchSummary) -> bool:
    return batch.status == "pending" and batch.dispatched == 0 and not batch.finished and not batch.retries


def survey(batch: Batch, now: Moment) -> Survey:
    """Sorts a batch's recipients into calls that are over and what may still come.

    `failed` without a conversation is a call of its own; `cancelled` without one was never
    dialled and is none; any other outcome waits for its conversation's id.
    """
    ended: dict[str, Recipient] = {}
    unsettled = batch.summary.status in OPEN_BATCHES
    for recipient in sorted(batch.recipients, key=lambda r: _latest(r.updated_at, r.created_at), reverse=True):
        key = call_key(batch.summary.id, recipient)
        if key is not None:
            ended.setdefault(key, recipient)
        elif not unsettled:
            unsettled = _to_come(batch.summary, recipient, now)
    return Survey(ended, unsettled)


def call_key(batch_id: str, recipient: Recipient) -> str | None:
    """The key of the recipient's finished call, None while there is none."""
    if recipient.status not in FINAL_OUTCOMES:
        return None
    if recipient.conversation_id is not None:
        return recipient.conversation_id
    return f"{batch_id}/{recipient.id}" if recipient.status == "failed" else None


def _to_come(batch: BatchSummary, recipient: Recipient, now: Moment) -> bool:
    if recipient.status == "cancelled" or (recipient.status == "pending" and batch.status in ("cancelled", "failed")):
        return False
    return not stale(now, recipient.updated_at, batch.updated_at)


def stale(now: Moment, *changes: Moment | None) -> bool:
    """True when the last of the known changes is so long ago that nothing more will come."""
    return now - _latest(*changes) > PATIENCE


def _latest(*moments: Moment | None) -> Moment:
    return max((moment for moment in moments if moment is not None), default=0.0)


def attempt(batch: BatchSummary, recipient: Recipient) -> Call | None:
    """The call of an attempt without a conversation, None when its number can't be written to.

    It ended when the recipient last changed, if that was after it was made.
    """
    created, updated = recipient.created_at or 0.0, recipient.updated_at or 0.0
    return _call(batch, recipient, updated if updated > created else None)


def finished(batch: BatchSummary, recipient: Recipient, conversation: Conversation | None) -> Call | None:
    """The call of a recipient with its conversation, None when it was no phone call to a number.

    Without a conversation (ElevenLabs has deleted it) its end is not known. A call that never
    came about has no telephony details: that its batch dialled it is enough.
    """
    if conversation is None:
        return _call(batch, recipient, None)
    if conversation.text_only or conversation.direction == "inbound":
        return None
    call = _call(batch, recipient, conversation.ended_at, conversation.phone)
    if call is None:
        return None
    return replace(
        call,
        agent_name=call.agent_name or conversation.agent_name,
        variables={**recipient.variables, **conversation.variables},
        summary=conversation.summary,
        transcript=conversation.transcript,
    )


def end_may_come(batch: BatchSummary, recipient: Recipient, conversation: Conversation, now: Moment) -> bool:
    """True while a conversation has not told its end yet and may still do so."""
    told = conversation.ended_at is not None or conversation.status in ("done", "failed")
    return not told and not stale(now, conversation.started_at, recipient.updated_at, batch.updated_at)


def outcome_of(batch: Batch, hint: BatchHint) -> Call | None:
    """The hinted call with its outcome from the batch; None while that is not final.

    A recipient that is gone, or was dialled again since, can't tell any more: the webhook's own
    word holds then.
    """
    recipient = next((r for r in batch.recipients if _means(r, hint)), None)
    if recipient is None or recipient.conversation_id not in (None, hint.call.key):
        return hint.call
    if recipient.status not in FINAL_OUTCOMES:
        return None
    return replace(
        hint.call,
        outcome=recipient.status,
        agent_name=hint.call.agent_name or batch.summary.agent_name,
        batch_name=batch.summary.name,
        recipient_id=recipient.id,
        variables={**recipient.variables, **hint.call.variables},
    )


def _means(recipient: Recipient, hint: BatchHint) -> bool:
    if hint.recipient_id is not None:
        return recipient.id == hint.recipient_id
    return recipient.conversation_id == hint.call.key


def _call(
    batch: BatchSummary, recipient: Recipient, ended_at: Moment | None, told_phone: str | None = None
) -> Call | None:
    phone, key = dialled(recipient.phone) or dialled(told_phone), call_key(batch.id, recipient)
    if phone is None or key is None:
        return None
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
