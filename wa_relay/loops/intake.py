"""Calls on their way in from ElevenLabs: the poll rounds, hinted outcomes, and calls' details.

A schedule rings the poller's bell. The rounds themselves run here, one at a time, and back off
while the service refuses or is unavailable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wa_relay import metrics
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import batches, call_details, calls, waiting, wanted_details
from wa_relay.ledger.calls import CallState
from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.thread import LedgerThread
from wa_relay.ledger.waiting import Decided
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.model import BatchHint, Call, CallDetails, Moment, Source, UpstreamError
from wa_relay.policy import retry_delay
from wa_relay.sources import poller
from wa_relay.sources.memory import PollMemory
from wa_relay.sources.survey import Rejection

POLL_BACKOFF_BASE, POLL_BACKOFF_CAP = 5.0, 300.0
LONGEST_REST = 3600.0
HINTS_AT_ONCE, DETAILS_AT_ONCE, DECISIONS_AT_ONCE = 200, 8, 50
CHECK_EVERY = 60.0
"""Seconds after which a new call's details are fetched although nobody needs them: a key that ElevenLabs refuses is to
show in `/health` before a customer writes."""

DETAILS_DEADLINE = 5.0
"""Seconds that a turn waits for the call's details before it is asked without them."""

_EVENTS = {
    "number_unusable": ("call_number_unusable", logging.WARNING),
    "not_a_phone_call": ("call_ignored", logging.INFO),
    "never_ended": ("call_never_ended", logging.WARNING),
    "unreadable_entries": ("batch_entries_unreadable", logging.WARNING),
    "batch_not_found": ("batch_not_found", logging.WARNING),
}
"""The log event and level of each rejection."""


@dataclass(slots=True)
class PollHealth:
    """The results of the poller's last rounds, as `/health` shows them."""

    last_success_at: Moment | None = None
    consecutive_failures: int = 0


class _Book:
    """The poller's call book: the ledger, and the log."""

    def __init__(self, intake: Intake, ledger: LedgerThread, clock: Callable[[], Moment]) -> None:
        self._intake = intake
        self._ledger = ledger
        self._clock = clock

    async def settled_batches(self) -> Mapping[str, str]:
        return await self._ledger.run(batches.read_settled)

    async def settle_batch(self, batch_id: str, mark: str) -> None:
        await self._ledger.run(batches.mark_settled, batch_id, mark)

    async def unknown(self, keys: Sequence[str]) -> set[str]:
        return await self._ledger.run(calls.unknown_calls, keys)

    async def record_polled(self, polled: Sequence[Call]) -> None:
        by_key = {call.key: call for call in polled}
        for state in await self._ledger.run(calls.record_calls, polled, self._clock()):
            self._intake.announce_new_call(by_key[state.key], state, "poll")

    def reject(self, rejection: Rejection) -> None:
        self._intake.reject(rejection, "poll")


class Intake:
    """Brings finished calls from ElevenLabs into the ledger.

    `horizon` is in seconds: calls that ended longer ago are not followed up.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        api: ElevenLabs,
        clock: Callable[[], Moment],
        wakers: Wakers,
        *,
        agent_ids: Sequence[str],
        horizon: float,
    ) -> None:
        self._ledger = ledger
        self._api = api
        self._clock = clock
        self._agent_ids = tuple(agent_ids)
        self.wakers = wakers
        self._book = _Book(self, ledger, clock)
        self._memory = PollMemory(horizon)
        self._resting_until = 0.0
        self._unusable: set[str] = set()
        self._checks: int | None = None
        self._checked_at = -CHECK_EVERY
        self.health = PollHealth()
        self.failures = 0

    def announce_new_call(self, call: Call, state: CallState, source: Source) -> None:
        """Logs a call that was not known before, and wakes the loops that act on it."""
        if not state.created:
            return
        metrics.count_call(source, call.outcome)
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
        if state.details == "later" and not 0.0 <= self._clock() - self._checked_at < CHECK_EVERY:
            self._checks = state.conversation_id
        if state.details == "due" or self._checks is not None:
            self.wakers.follow_up.ring()

    def announce_repeated_call(self, state: CallState) -> None:
        """Wakes the sender after a repeated report: the opening may have stopped waiting for a name."""
        if state.message_status == "queued":
            self._ring_sender(state)

    def _ring_sender(self, state: CallState) -> None:
        now = self._clock()
        self.wakers.send.ring_at(now if state.due_at is None else state.due_at, now)

    def reject(self, rejection: Rejection, source: Source) -> None:
        """Logs something that is not stored as a call; an unusable number counts once per call."""
        if rejection.reason == "number_unusable" and rejection.key is not None:
            # The poller meets the same recipient in every round.
            if rejection.key in self._unusable:
                return
            self._unusable.add(rejection.key)
            metrics.count_call(source, "unusable_number")
        event, level = _EVENTS[rejection.reason]
        say(
            event,
            level=level,
            call=rejection.key,
            batch=rejection.batch_id,
            recipient=rejection.recipient_id,
            source=source,
            phone=rejection.phone,
            count=rejection.count if rejection.count > 1 else None,
        )

    async def poll(self) -> None:
        """Runs until cancelled: a round whenever the bell rings, none during a pause after a failure."""
        while True:
            await self.wakers.poll.wait()
            self.wakers.poll.clear()
            # A clock that is set back does not make the pause longer.
            if not 0.0 < self._resting_until - self._clock() <= LONGEST_REST:
                await self.poll_once()

    async def follow_up(self) -> None:
        """Runs until cancelled: asks batches for hinted outcomes, and conversations for calls' details."""
        while True:
            self.wakers.follow_up.clear()
            try:
                busy = await self._hints() + await self._details() + await self._decisions()
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
            # The customer waits: the agent is asked without the summary rather than late.
            async with asyncio.timeout(DETAILS_DEADLINE):
                await self._detail(call_id, key)
        except TimeoutError:
            say("details_late", call=key)

    async def poll_once(self) -> None:
        """Runs one round, and notes in `health` how it went."""
        try:
            report = await poller.poll(
                self._api, self._book, self._memory, agent_ids=self._agent_ids, now=self._clock()
            )
        except StorageUnavailable as error:
            self._poll_failed(error.message, None)
        except Exception as error:
            fail("poll_fault", error)
            self._poll_failed(f"unexpected: {type(error).__name__}", None)
        else:
            self._round_ended(report)

    def _round_ended(self, report: poller.PollReport) -> None:
        if report.failure is not None:
            self._poll_failed(report.failure.message, report.failure.retry_after)
            return
        self.health.last_success_at = self._clock()
        self.health.consecutive_failures = 0
        if report.trouble is not None:
            warn("poll_trouble", why=report.trouble.message)
        # The round ended at its limit of requests: the next one continues at once.
        if report.more:
            self.wakers.poll.ring()

    def _poll_failed(self, why: str, retry_after: float | None) -> None:
        self.health.consecutive_failures += 1
        # The schedule rings on, but a service that refuses is left alone; its own Retry-After counts first.
        pause = retry_delay(self.health.consecutive_failures, retry_after, base=POLL_BACKOFF_BASE, cap=POLL_BACKOFF_CAP)
        self._resting_until = self._clock() + pause
        warn("poll_failed", why=why, failures=self.health.consecutive_failures, again_in=round(pause, 1))

    async def _hints(self) -> int:
        hints = await self._ledger.run(batches.take_due_hints, HINTS_AT_ONCE, self._clock())
        # A campaign ends many calls at a time: its batch is read once for all of them.
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
            self.failures += 1
            warn("batch_outcome_missing", batch=batch_id, why=error.message)
            outcomes = [(hint, None) for hint in hints]
        else:
            self.failures = 0
        for hint, outcome in outcomes:
            call = outcome or self._without_batch(hint)
            if call is not None:
                await self._record_hinted(call)

    async def _record_hinted(self, call: Call) -> None:
        try:
            state = await self._ledger.run(calls.record_call, call, self._clock())
        # The hint is dropped all the same: it would conflict at every try.
        except CallConflict as error:
            warn("call_conflict", call=call.key, what=error.message)
        else:
            self.announce_new_call(call, state, "webhook")
        await self._ledger.run(batches.drop_hint, call.key)

    def _without_batch(self, hint: BatchHint) -> Call | None:
        """Returns the call with the webhook's own status once it has waited long enough for its batch."""
        return hint.call if self._clock() >= hint.reported_at + batches.HINT_PATIENCE else None

    async def _details(self) -> int:
        if self._checks is not None:
            conversation_id, self._checks = self._checks, None
            await self._ledger.run(wanted_details.want, conversation_id, self._clock())
        due = await self._ledger.run(wanted_details.due_details, DETAILS_AT_ONCE, self._clock())
        await asyncio.gather(*(self._detail(call_id, key) for call_id, key in due))
        return len(due)

    async def _detail(self, call_id: int, key: str) -> None:
        try:
            conversation = await self._api.conversation(key)
        except UpstreamError as error:
            say("details_missing", call=key, why=error.message)
            # An unknown conversation is an answer about it, and no failure of the service.
            self.failures = 0 if error.status == 404 else self.failures + 1
            if error.status == 404:
                self._checked_at = self._clock()
                await self._ledger.run(wanted_details.no_details, call_id)
            return
        self.failures = 0
        self._checked_at = self._clock()
        details = CallDetails(
            conversation.summary,
            conversation.transcript,
            conversation.variables,
            conversation.length,
            conversation.collected,
            final=conversation.status in ("done", "failed"),
        )
        decided = await self._ledger.run(call_details.save_details, call_id, details, self._clock())
        if decided is not None:
            self._announce_decision(decided)

    async def _decisions(self) -> int:
        """Decides the calls whose length or collected values did not become known in time."""
        overdue = await self._ledger.run(waiting.decide_overdue, DECISIONS_AT_ONCE, self._clock())
        for decided in overdue:
            self._announce_decision(decided)
        return len(overdue)

    def _announce_decision(self, decided: Decided) -> None:
        """Logs the decision about a call that waited for facts, and wakes the sender for its opening."""
        say(
            "call_decided",
            call=decided.key,
            conversation=decided.conversation_id,
            message=decided.message_id,
            skipped=decided.skipped,
        )
        if decided.due_at is not None:
            self.wakers.send.ring_at(decided.due_at, self._clock())
