"""One poll round: the batches that have news, the calls in them that are over, and how each ended.

Rounds are cheap when nothing happens: the list alone. A batch is fetched while it may have
news, a conversation only for a call that the book does not know. Whoever runs the rounds
backs off by what the report says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.shapes import Batch, BatchSummary, Conversation, Recipient
from wa_relay.model import BatchHint, Call, Moment, UpstreamError
from wa_relay.sources.survey import (
    OPEN_BATCHES,
    attempt,
    end_may_come,
    finished,
    outcome_of,
    stale,
    survey,
    worth_reading,
)

T = TypeVar("T")

BUDGET = 500
"""Conversations fetched in a round: a first start with years of history must not hold back the calls of today."""

KEYS_AT_ONCE = 500
RECORDS_AT_ONCE = 200
FAULTS_IN_A_ROW = 3
_HOPELESS = frozenset({401, 402, 403, 429})


class CallBook(Protocol):
    """What the poller remembers, and where its calls go."""

    async def settled_batches(self) -> Mapping[str, str]:
        """The mark at which each batch had nothing left to tell, by batch id."""
        ...

    async def settle_batch(self, batch_id: str, mark: str) -> None:
        """Remembers that a batch has nothing left to tell at this mark."""
        ...

    async def wanted(self, keys: Sequence[str]) -> set[str]:
        """Those of the call keys that should be fetched and recorded."""
        ...

    def dismiss(self, keys: Iterable[str]) -> None:
        """Remembers, for as long as this process runs, that these conversations are no calls."""
        ...

    async def record_polled(self, calls: Sequence[Call]) -> None:
        """Stores calls, each once."""
        ...


@dataclass(frozen=True, slots=True)
class PollReport:
    """How a round went.

    `batches` were listed, `fetched` read in detail, `calls` recorded, `skipped` entries made no
    sense. `fault` says why the round was cut short or brought nothing: rest, by its
    `retry_after`. `trouble` is the first fault of a single batch or conversation, which the next
    round asks for again. `more` is true when calls were left for the next round: run it soon.
    """

    batches: int
    fetched: int
    calls: int
    skipped: int
    fault: UpstreamError | None
    trouble: UpstreamError | None
    more: bool

    @property
    def incomplete(self) -> bool:
        """True when something could not be read, or was left for the next round."""
        return self.more or self.fault is not None or self.trouble is not None


async def poll(
    api: ElevenLabs,
    book: CallBook,
    *,
    agent_ids: Sequence[str],
    now: Moment,
    concurrency: int = 8,
    budget: int = BUDGET,
) -> PollReport:
    """Runs one round over the batches of the given agents, or of all when none is given.

    Faults of ElevenLabs end up in the report; what the book raises goes through.
    """
    this_round = _Round(api, book, now, concurrency, budget)
    try:
        await this_round.run(agent_ids)
    except _CutShortError as cut:
        this_round.fault = cut.error
    return this_round.report()


async def resolve_hints(
    api: ElevenLabs, batch_id: str, hints: Sequence[BatchHint]
) -> list[tuple[BatchHint, Call | None]]:
    """Asks a batch, once, for the outcomes of calls that the webhook told; None while one is not final.

    Where the batch is gone the webhook's own word holds. Raises UpstreamError.
    """
    try:
        batch = await api.batch(batch_id)
    except UpstreamError as error:
        if error.status == 404:
            return [(hint, hint.call) for hint in hints]
        raise
    return [(hint, outcome_of(batch, hint)) for hint in hints]


class _CutShortError(Exception):
    """The service can't or won't answer: the rest of the round would fail too."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(error.message)
        self.error = error


class _Round:
    def __init__(self, api: ElevenLabs, book: CallBook, now: Moment, concurrency: int, budget: int) -> None:
        self._api, self._book, self._now = api, book, now
        self._lane, self._slice, self._budget = asyncio.Semaphore(concurrency), 4 * concurrency, budget
        self.fault: UpstreamError | None = None
        self._trouble: UpstreamError | None = None
        self._away: UpstreamError | None = None
        self._in_a_row = self._read_well = 0
        self._batches = self._fetched = self._calls = self._skipped = 0
        self._more = False

    async def run(self, agent_ids: Sequence[str]) -> None:
        settled = await self._book.settled_batches()
        listed: list[BatchSummary] = []
        for agent_id in agent_ids or (None,):
            await self._list(agent_id, listed)
        self._batches = len({batch.id for batch in listed})
        for summary in worth_reading(listed, settled):
            await self._batch(summary)

    def report(self) -> PollReport:
        return PollReport(
            batches=self._batches,
            fetched=self._fetched,
            calls=self._calls,
            skipped=self._skipped,
            # Away for all that was asked for is away altogether.
            fault=self.fault or (None if self._read_well else self._away),
            trouble=self._trouble,
            more=self._more,
        )

    async def _list(self, agent_id: str | None, listed: list[BatchSummary]) -> None:
        try:
            async for page in self._api.batch_pages(agent_id):
                listed += page.batches
                self._skipped += page.skipped
        except UpstreamError as error:
            # What was listed before is still read: it is the newest.
            self.fault = self.fault or error
            if error.status in _HOPELESS:
                raise _CutShortError(error) from error

    async def _batch(self, summary: BatchSummary) -> None:
        if self._budget <= 0 and summary.status not in OPEN_BATCHES:
            self._more = True
            return
        try:
            settled = await self._read(summary)
        except UpstreamError as error:
            if error.status != 404:
                self._failed(error)
            return
        self._in_a_row = 0
        self._read_well += 1
        if settled:
            # The mark is from before the detail was read: what changed in between shows as another one.
            await self._book.settle_batch(summary.id, summary.mark)

    async def _read(self, summary: BatchSummary) -> bool:
        """Reads a batch and records its calls; True when it has nothing left to tell."""
        batch = await self._api.batch(summary.id)
        self._fetched += 1
        self._skipped += batch.skipped
        # In a thread: a batch may have tens of thousands of recipients, and the loop serves webhooks.
        found = await asyncio.to_thread(survey, batch, self._now)
        return await self._deal(batch, found.ended) and not found.unsettled

    async def _deal(self, batch: Batch, ended: Mapping[str, Recipient]) -> bool:
        """Records the calls that the book wants; True when none of them is left."""
        wanted: set[str] = set()
        for keys in _slices(list(ended), KEYS_AT_ONCE):
            wanted |= await self._book.wanted(keys)
        recipients = [recipient for key, recipient in ended.items() if key in wanted]
        attempts = [attempt(batch.summary, r) for r in recipients if r.conversation_id is None]
        await self._record([call for call in attempts if call is not None])
        dealt = True
        for some in _slices([r for r in recipients if r.conversation_id is not None], self._slice):
            if self._budget <= 0:
                self._more = True
                return False
            dealt = await self._fetch_calls(batch.summary, some) and dealt
        return dealt

    async def _fetch_calls(self, batch: BatchSummary, recipients: Sequence[Recipient]) -> bool:
        """Fetches and records some calls, a few at a time; True when none has to be asked for again.

        One bad conversation stops nothing; where all are refused the first fault is raised.
        """
        self._budget -= len(recipients)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._conversation(batch, recipient)) for recipient in recipients]
        calls, faults, dealt = [], [], True
        for recipient, told in zip(recipients, (task.result() for task in tasks), strict=True):
            if isinstance(told, UpstreamError):
                faults.append(told)
            elif told is not None and end_may_come(batch, recipient, told, self._now):
                dealt = False
            elif call := finished(batch, recipient, told):
                calls.append(call)
            else:
                # Fetched again and again they would use up the budget before any call of an older batch.
                self._book.dismiss([recipient.conversation_id or ""])
        await self._record(calls)
        for fault in faults:
            self._note(fault)
        if len(faults) == len(recipients):
            raise faults[0]
        return dealt and not faults

    async def _conversation(self, batch: BatchSummary, recipient: Recipient) -> Conversation | UpstreamError | None:
        """Fetches a recipient's conversation, None when it can't be had any more.

        A fault is handed back, not raised: the calls beside it go on.
        """
        async with self._lane:
            try:
                return await self._api.conversation(recipient.conversation_id or "")
            except UpstreamError as error:
                late = stale(self._now, recipient.updated_at, batch.updated_at)
                return None if error.status == 404 or (late and _about_one(error)) else error

    async def _record(self, calls: Sequence[Call]) -> None:
        for some in _slices(calls, RECORDS_AT_ONCE):
            await self._book.record_polled(some)
            self._calls += len(some)

    def _note(self, error: UpstreamError) -> None:
        self._trouble = self._trouble or error
        if error.status in _HOPELESS:
            raise _CutShortError(error)

    def _failed(self, error: UpstreamError) -> None:
        """Notes that a batch could not be read; raises _CutShortError when the next ones won't be either."""
        self._note(error)
        if _about_one(error):
            return
        self._away = self._away or error
        self._in_a_row += 1
        if self._in_a_row >= FAULTS_IN_A_ROW:
            raise _CutShortError(error)


def _about_one(error: UpstreamError) -> bool:
    """True when the service is there and only this one thing can't be had: no reason to rest."""
    return error.status is not None and error.status < 500 and error.status not in _HOPELESS


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
