"""One poll round: the batches that have news, the calls in them that have ended, and how each ended.

A round's cost follows what is new. The list is read until its pages are settled and old; batches
beyond them are asked for by id while they may have news, and the whole list is read once an hour.
A batch is fetched while it may have news, a conversation only for a call that is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.shapes import Batch, BatchSummary, Conversation, Recipient
from wa_relay.model import BatchHint, Call, Moment, UpstreamError
from wa_relay.sources.batch_outcomes import (
    OPEN_BATCHES,
    Rejection,
    end_may_come,
    failed_call,
    finished_call,
    is_stale,
    outcome_of,
    sort_recipients,
    worth_reading,
)
from wa_relay.sources.poll_memory import PollMemory

T = TypeVar("T")

BUDGET = 500
"""Conversations fetched in a round: a first start with years of history must not hold back the calls of today."""

KEYS_AT_ONCE = 500
RECORDS_AT_ONCE = 200
FAILURES_IN_A_ROW = 3
_HOPELESS = frozenset({401, 402, 403, 429})


class CallBook(Protocol):
    """The receiver of the poller's calls, which also knows the recorded ones."""

    async def settled_batches(self) -> Mapping[str, str]:
        """Returns the mark at which each batch had no more news, by batch id."""
        ...

    async def settle_batch(self, batch_id: str, mark: str) -> None:
        """Remembers that a batch has no more news at this mark."""
        ...

    async def unknown(self, keys: Sequence[str]) -> set[str]:
        """Returns those of the call keys that are not recorded."""
        ...

    async def record_polled(self, calls: Sequence[Call]) -> None:
        """Stores calls, each once."""
        ...

    def reject(self, rejection: Rejection) -> None:
        """Reports something that is not stored as a call."""
        ...


@dataclass(frozen=True, slots=True)
class PollReport:
    """The result of a round.

    `batches` were listed, `fetched` read in detail, `calls` recorded. `failure` says why the round
    was cut short or brought nothing: rest, by its `retry_after`. `trouble` is the first failure of
    a single batch or conversation, which the next round asks for again. `more` is true when calls
    were left for the next round: run it soon.
    """

    batches: int
    fetched: int
    calls: int
    failure: UpstreamError | None
    trouble: UpstreamError | None
    more: bool

    @property
    def incomplete(self) -> bool:
        """True when something could not be read, or was left for the next round."""
        return self.more or self.failure is not None or self.trouble is not None


async def poll(
    api: ElevenLabs,
    book: CallBook,
    memory: PollMemory,
    *,
    agent_ids: Sequence[str],
    now: Moment,
    concurrency: int = 8,
    budget: int = BUDGET,
) -> PollReport:
    """Runs one round over the batches of the given agents, or of all without any.

    Failures of ElevenLabs end up in the report; exceptions of the book propagate.
    """
    this_round = _Round(api, book, memory, now, concurrency, budget)
    try:
        await this_round.run(agent_ids)
    except _CutShortError as cut:
        this_round.failure = cut.error
    return this_round.report()


async def resolve_hints(api: ElevenLabs, batch_id: str, hints: Sequence[BatchHint], now: Moment) -> list[Call | None]:
    """Asks a batch, once, for the outcomes of calls that the webhook reported; None where one is not final.

    If the batch does not exist, the webhook's own status counts. Raises UpstreamError.
    """
    try:
        batch = await api.batch(batch_id)
    except UpstreamError as error:
        if error.status == 404:
            return [hint.call for hint in hints]
        raise
    return [outcome_of(batch, hint, now) for hint in hints]


class _CutShortError(Exception):
    """The service can't or won't answer: the rest of the round would fail too."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(error.message)
        self.error = error


class _Missing(Enum):
    """The reasons why a conversation is missing: it does not exist, or it may still appear."""

    GONE = 1
    LAGS = 2


class _Round:
    def __init__(
        self, api: ElevenLabs, book: CallBook, memory: PollMemory, now: Moment, concurrency: int, budget: int
    ) -> None:
        self._api = api
        self._book = book
        self._memory = memory
        self._now = now
        self._lane = asyncio.Semaphore(concurrency)
        self._slice = 4 * concurrency
        self._budget = budget
        self._settled: Mapping[str, str] = {}
        self.failure: UpstreamError | None = None
        self._trouble: UpstreamError | None = None
        self._away: UpstreamError | None = None
        self._in_a_row = self._read_well = 0
        self._batches = self._fetched = self._calls = 0
        self._more = False

    async def run(self, agent_ids: Sequence[str]) -> None:
        self._settled = settled = await self._book.settled_batches()
        full = self._memory.full_listing_due(self._now)
        listed: list[BatchSummary] = []
        for agent_id in agent_ids or (None,):
            listed += await self._list(agent_id, full=full)
        self._batches = len({batch.id for batch in listed})
        self._memory.note_listed(listed, full=full and self.failure is None, now=self._now)
        for summary in worth_reading(listed, settled):
            await self._batch(summary.id, summary)
        for batch_id in self._memory.unlisted(listed, settled, self._now):
            await self._batch(batch_id, None)

    def report(self) -> PollReport:
        return PollReport(
            batches=self._batches,
            fetched=self._fetched,
            calls=self._calls,
            # If nothing could be read, the service is away.
            failure=self.failure or (None if self._read_well else self._away),
            trouble=self._trouble,
            more=self._more,
        )

    async def _list(self, agent_id: str | None, *, full: bool) -> list[BatchSummary]:
        """Lists the batches of an agent, or of all; unless `full`, only as far as there may be news."""
        listed: list[BatchSummary] = []
        try:
            async for page in self._api.batch_pages(agent_id):
                listed += page.batches
                self._reject_unreadable(page.skipped, None)
                if not full and self._memory.is_old(page, self._settled, self._now):
                    break
        except UpstreamError as error:
            # The pages listed so far are still used: they are the newest.
            self.failure = self.failure or error
            if error.status in _HOPELESS:
                raise _CutShortError(error) from error
        return listed

    async def _batch(self, batch_id: str, summary: BatchSummary | None) -> None:
        """Reads a batch, listed in this round or known from an earlier one."""
        if self._budget <= 0 and (summary is None or summary.status not in OPEN_BATCHES):
            self._more = True
            return
        try:
            await self._read(batch_id, summary)
        except UpstreamError as error:
            if error.status == 404:
                self._memory.forget_batch(batch_id)
                self._reject(Rejection("batch_not_found", batch_id=batch_id))
            else:
                self._failed(error)
            return
        self._in_a_row = 0
        self._read_well += 1

    async def _read(self, batch_id: str, summary: BatchSummary | None) -> None:
        """Reads a batch, records its calls, and settles it if it has no more news."""
        batch = await self._api.batch(batch_id)
        self._fetched += 1
        self._memory.note_read(batch.summary)
        self._reject_unreadable(batch.skipped, batch_id)
        if summary is None and self._settled.get(batch_id) == batch.summary.mark:
            return
        # In a thread: a batch may have tens of thousands of recipients, and the loop serves webhooks.
        found = await asyncio.to_thread(sort_recipients, batch, self._now)
        if await self._deal(batch, found.ended) and not found.unsettled:
            if found.lost:
                self._reject(Rejection("never_ended", None, batch_id, found.lost[0].id, None, count=len(found.lost)))
            # The list's mark is from before the details: what changed in between shows as another one.
            await self._book.settle_batch(batch_id, (summary or batch.summary).mark)

    async def _deal(self, batch: Batch, ended: Mapping[str, Recipient]) -> bool:
        """Records the unknown calls; True when none is left."""
        wanted: set[str] = set()
        for keys in _slices([key for key in ended if not self._memory.is_rejected(key)], KEYS_AT_ONCE):
            wanted |= await self._book.unknown(keys)
        recipients = [recipient for key, recipient in ended.items() if key in wanted]
        await self._store([failed_call(batch.summary, r) for r in recipients if r.conversation_id is None])
        with_conversation = [r for r in recipients if r.conversation_id is not None]
        due = [r for r in with_conversation if self._memory.may_ask(r.conversation_id or "", self._now)]
        dealt = len(due) == len(with_conversation)
        for some in _slices(due, self._slice):
            if self._budget <= 0:
                self._more = True
                return False
            dealt = await self._fetch_calls(batch.summary, some) and dealt
        return dealt

    async def _fetch_calls(self, batch: BatchSummary, recipients: Sequence[Recipient]) -> bool:
        """Fetches and records some calls, a few at a time; True when none has to be asked for again.

        One bad conversation stops nothing; if all are refused, the first error is raised.
        """
        self._budget -= len(recipients)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._conversation(batch, recipient)) for recipient in recipients]
        found: list[Call | Rejection] = []
        errors: list[UpstreamError] = []
        dealt = True
        for recipient, answer in zip(recipients, (task.result() for task in tasks), strict=True):
            if isinstance(answer, UpstreamError):
                errors.append(answer)
            elif answer is _Missing.LAGS:
                dealt = False
            elif isinstance(answer, _Missing):
                found.append(finished_call(batch, recipient, None))
            elif end_may_come(batch, recipient, answer, self._now):
                dealt = False
            else:
                found.append(finished_call(batch, recipient, answer))
        await self._store(found)
        for error in errors:
            self._note(error)
        if len(errors) == len(recipients):
            raise errors[0]
        return dealt and not errors

    async def _conversation(self, batch: BatchSummary, recipient: Recipient) -> Conversation | UpstreamError | _Missing:
        """Fetches a recipient's conversation.

        An error is returned, not raised: it must not stop the conversations beside it.
        """
        key = recipient.conversation_id or ""
        changes = (recipient.updated_at, batch.updated_at)
        async with self._lane:
            try:
                conversation = await self._api.conversation(key)
            except UpstreamError as error:
                if error.status == 404:
                    return _Missing.LAGS if self._memory.may_lag(key, self._now, *changes) else _Missing.GONE
                return _Missing.GONE if _about_one(error) and is_stale(self._now, *changes) else error
        self._memory.note_found(key)
        return conversation

    async def _store(self, found: Sequence[Call | Rejection]) -> None:
        for some in _slices([one for one in found if isinstance(one, Call)], RECORDS_AT_ONCE):
            await self._book.record_polled(some)
            self._calls += len(some)
        self._reject(*(one for one in found if isinstance(one, Rejection)))

    def _reject(self, *rejections: Rejection) -> None:
        """Reports each rejection once, not in every round."""
        for rejection in self._memory.new_rejections(rejections):
            self._book.reject(rejection)

    def _reject_unreadable(self, count: int, batch_id: str | None) -> None:
        if count:
            self._reject(Rejection("unreadable_entries", batch_id=batch_id, count=count))

    def _note(self, error: UpstreamError) -> None:
        self._trouble = self._trouble or error
        if error.status in _HOPELESS:
            raise _CutShortError(error)

    def _failed(self, error: UpstreamError) -> None:
        """Notes that a batch could not be read; raises _CutShortError if the next ones won't be either."""
        self._note(error)
        if _about_one(error):
            return
        self._away = self._away or error
        self._in_a_row += 1
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise _CutShortError(error)


def _about_one(error: UpstreamError) -> bool:
    """True when the service works and refuses only this request: no reason to pause."""
    return error.status is not None and error.status < 500 and error.status not in _HOPELESS


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
