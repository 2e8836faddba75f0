"""The calls of batches as they stand at ElevenLabs, for a preview: every recipient, whether its call is over or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.shapes import Batch, BatchSummary, Conversation, Recipient
from wa_relay.model import Call, Moment, UpstreamError
from wa_relay.sources.batch_outcomes import Rejection, call_key, end_may_come, failed_call, finished_call, latest_of

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class ListedCall:
    """A recipient's call. `call` is None while it is not over, or if its number can't be used (`rejection`)."""

    recipient: Recipient
    batch: BatchSummary
    call: Call | None = None
    rejection: Rejection | None = None


async def list_calls(
    api: ElevenLabs, *, batch_id: str | None, since: Moment | None, agent_ids: Sequence[str], now: Moment
) -> list[ListedCall]:
    """The calls of one batch, or of all batches that changed since a moment; raises `UpstreamError`."""
    if batch_id is not None:
        batches = [await api.batch(batch_id)]
    else:
        batches = [await api.batch(each) async for each in _changed_since(api, since or 0.0, agent_ids)]
    lane = asyncio.Semaphore(AT_ONCE)
    found: list[ListedCall] = []
    for batch in batches:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_listed(api, lane, batch, each, now)) for each in batch.recipients]
        found += [task.result() for task in tasks]
    return [each for each in found if since is None or _ended_at(each, now) >= since]


async def _changed_since(api: ElevenLabs, since: Moment, agent_ids: Sequence[str]) -> AsyncIterator[str]:
    for agent_id in agent_ids or (None,):
        async for page in api.batch_pages(agent_id):
            for batch in page.batches:
                if not batch.whatsapp and latest_of(batch.updated_at, batch.created_at) >= since:
                    yield batch.id


async def _listed(
    api: ElevenLabs, lane: asyncio.Semaphore, batch: Batch, recipient: Recipient, now: Moment
) -> ListedCall:
    summary = batch.summary
    if call_key(summary.id, recipient) is None:
        return ListedCall(recipient, summary)
    if recipient.conversation_id is None:
        found = failed_call(summary, recipient)
    else:
        async with lane:
            conversation = await _conversation(api, recipient.conversation_id)
        if conversation is not None and end_may_come(summary, recipient, conversation, now):
            return ListedCall(recipient, summary)
        found = finished_call(summary, recipient, conversation)
    if isinstance(found, Rejection):
        return ListedCall(recipient, summary, rejection=found)
    return ListedCall(recipient, summary, found)


async def _conversation(api: ElevenLabs, conversation_id: str) -> Conversation | None:
    try:
        return await api.conversation(conversation_id)
    except UpstreamError as error:
        if error.status == 404:
            return None
        raise


def _ended_at(listed: ListedCall, now: Moment) -> Moment:
    """Returns when a call ended; now for one that is not over."""
    if listed.call is not None and listed.call.ended_at is not None:
        return listed.call.ended_at
    return now if listed.call is None else latest_of(listed.recipient.updated_at, listed.recipient.created_at)
