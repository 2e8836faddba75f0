"""Calls on their way in from ElevenLabs: the poll rounds, hinted outcomes, and calls' details.

A schedule rings the poller's bell; the rounds themselves run here, one at a time, and back off
while the service refuses or is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import batches, calls
from wa_relay.ledger.calls import CallState
from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.model import BatchHint, Call, Moment, UpstreamError
from wa_relay.policy import retry_delay
from wa_relay.sources import poller

POLL_BACKOFF_BASE, POLL_BACKOFF_CAP = 5.0, 300.0
LONGEST_REST = 3600.0
HINTS_AT_ONCE, DETAILS_AT_ONCE = 200, 8
DETAILS_DEADLINE = 5.0
"""Seconds that a turn waits for the call's details before it goes on without them."""


@dataclass(slots=True)
class PollHealth:
    """How the poller fares, as `/health` shows it."""

    last_success_at: Moment | None = None
    consecutive_failures: int = 0


class Intake:
    """Brings finished calls from ElevenLabs into the ledger. It is the poller's call book."""

    def __init__(
        self,
        ledger: LedgerThread,
        api: ElevenLabs,
        clock: Callable[[], Moment],
        wakers: Wakers,
        *,
        agent_ids: Sequence[str],
        patience: float,
    ) -> None:
        self._ledger, self._api, self._clock = ledger, api, clock
        self._agent_ids, self._patience, self.wakers = tuple(agent_ids), patience, wakers
        self.health, self._resting_until = PollHealth(), 0.0
        self._no_calls: set[str] = set()

    async def settled_batches(self) -> Mapping[str, str]:
        """The batches that have nothing left to tell, with their marks."""
        return await self._ledger.run(batches.settled)

    async def settle_batch(self, batch_id: str, mark: str) -> None:
        """Remembers that a batch has nothing left to tell at this mark."""
        await self._ledger.run(batches.settle, batch_id, mark)

    async def wanted(self, keys: Sequence[str]) -> set[str]:
        """Those of the calls that are not known."""
        return await self._ledger.run(calls.unknown_calls, keys) - self._no_calls

    def dismiss(self, keys: Iterable[str]) -> None:
        """Remembers that these conversations are no calls."""
        self._no_calls.update(keys)

    async def record_polled(self, polled: Sequence[Call]) -> None:
        """Stores calls that a round found, each once."""
        for state in await self._ledger.run(calls.record_calls, polled, self._clock()):
            self.announce_new_call(state, "poll")

    def announce_new_call(self, state: CallState, source: str) -> None:
        """Logs a new call, and wakes the sender and the follow-up; does nothing for a known one."""
        if not state.created:
            return
        say(
            "call_received",
            call=state.key,
            conversation=state.conversation_id,
            message=state.message_id,
            source=source,
            skipped=state.skipped,
        )
        if state.message_id is not None:
            self._ring_sender(state)
        self.wakers.follow_up.ring()

    def announce_repeated_call(self, state: CallState) -> None:
        """Wakes the sender for a call that is reported again: its opening may have waited for a name."""
        if state.message_status == "queued":
            self._ring_sender(state)

    def _ring_sender(self, state: CallState) -> None:
        now = self._clock()
        self.wakers.send.ring_at(now if state.due_at is None else state.due_at, now)

    async def poll(self) -> None:
        """Runs for ever: a round when the bell rings, none while it backs off."""
        while True:
            await self.wakers.poll.wait()
            self.wakers.poll.clear()
            # A clock that is set back does not make the rest longer.
            if not 0.0 < self._resting_until - self._clock() <= LONGEST_REST:
                await self._round()

    async def follow_up(self) -> None:
        """Runs for ever: asks batches for hinted outcomes, and conversations for calls' details."""
        while True:
            self.wakers.follow_up.clear()
            try:
                busy = await self._hints() + await self._details()
            except StorageUnavailable:
                busy = 0
            except Exception as error:
                fail("follow_up_fault", error)
                busy = 0
            if not busy:
                await self.wakers.follow_up.wait(1.0)

    async def fetch_details(self, call_id: int, key: str) -> None:
        """Fetches one call's summary and variables, for a turn that is about to be asked."""
        try:
            async with asyncio.timeout(DETAILS_DEADLINE):
                await self._detail(call_id, key)
        except TimeoutError:
            say("details_late", call=key)

    async def _round(self) -> None:
        try:
            report = await poller.poll(self._api, self, agent_ids=self._agent_ids, now=self._clock())
        except UpstreamError as error:
            self._poll_failed(error.message, error.retry_after)
        except StorageUnavailable as error:
            self._poll_failed(error.message, None)
        except Exception as error:
            fail("poll_fault", error)
            self._poll_failed(f"unexpected: {type(error).__name__}", None)
        else:
            if report.fault is not None:
                self._poll_failed(report.fault.message, report.fault.retry_after)
                return
            self.health.last_success_at, self.health.consecutive_failures = self._clock(), 0
            if report.trouble is not None:
                warn("poll_trouble", why=report.trouble.message)
            if report.more:
                self.wakers.poll.ring()

    def _poll_failed(self, why: str, retry_after: float | None) -> None:
        self.health.consecutive_failures += 1
        pause = retry_delay(self.health.consecutive_failures, retry_after, base=POLL_BACKOFF_BASE, cap=POLL_BACKOFF_CAP)
        self._resting_until = self._clock() + pause
        warn("poll_failed", why=why, failures=self.health.consecutive_failures, again_in=round(pause, 1))

    async def _hints(self) -> int:
        hints = await self._ledger.run(batches.due_hints, HINTS_AT_ONCE, self._clock())
        by_batch: dict[str, list[BatchHint]] = {}
        for hint in hints:
            by_batch.setdefault(hint.batch_id, []).append(hint)
        await asyncio.gather(*(self._resolve(*same) for same in by_batch.items()))
        return len(hints)

    async def _resolve(self, batch_id: str, hints: Sequence[BatchHint]) -> None:
        """Takes the outcomes of several calls from their batch, which is read once."""
        outcomes: list[tuple[BatchHint, Call | None]]
        try:
            outcomes = await poller.resolve_hints(self._api, batch_id, hints)
        except UpstreamError as error:
            warn("batch_not_told", batch=batch_id, why=error.message)
            outcomes = [(hint, None) for hint in hints]
        for hint, outcome in outcomes:
            call = outcome or self._given_up(hint)
            if call is None:
                continue
            with contextlib.suppress(CallConflict):
                self.announce_new_call(await self._ledger.run(calls.record_call, call, self._clock()), "webhook")
            await self._ledger.run(batches.drop_hint, hint.call.key)

    def _given_up(self, hint: BatchHint) -> Call | None:
        """The webhook's own word, once it is too old for an opening anyway."""
        ended_at = hint.told_at if hint.call.ended_at is None else hint.call.ended_at
        return hint.call if ended_at + self._patience < self._clock() else None

    async def _details(self) -> int:
        due = await self._ledger.run(calls.due_details, DETAILS_AT_ONCE, self._clock())
        await asyncio.gather(*(self._detail(call_id, key) for call_id, key in due))
        return len(due)

    async def _detail(self, call_id: int, key: str) -> None:
        try:
            told = await self._api.conversation(key)
        except UpstreamError as error:
            say("details_not_told", call=key, why=error.message)
            if error.status == 404:
                await self._ledger.run(calls.no_details, call_id)
            return
        final = told.status in ("done", "failed")
        await self._ledger.run(
            calls.save_details, call_id, told.summary, told.transcript, told.variables, final, self._clock()
        )
