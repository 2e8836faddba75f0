"""Polls ElevenLabs' batch calls for finished calls.

A schedule rings the bell. The rounds themselves run here, one at a time, and back off while the service refuses or is
unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import batches, calls
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, warn
from wa_relay.loops.bell import Bell
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.model import Call, Moment
from wa_relay.policy import retry_delay
from wa_relay.sources import poller
from wa_relay.sources.batch_outcomes import Rejection
from wa_relay.sources.poll_memory import PollMemory

POLL_BACKOFF_BASE, POLL_BACKOFF_CAP = 5.0, 300.0
LONGEST_REST = 3600.0


@dataclass(slots=True)
class PollHealth:
    """The results of the poller's last rounds, as `/health` shows them."""

    last_success_at: Moment | None = None
    consecutive_failures: int = 0


class _Book:
    """The poller's call book: the ledger, and the log."""

    def __init__(self, announcements: CallAnnouncements, ledger: LedgerThread, clock: Callable[[], Moment]) -> None:
        self._announcements = announcements
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
            self._announcements.announce(by_key[state.key], state, "poll")

    def reject(self, rejection: Rejection) -> None:
        self._announcements.reject(rejection, "poll")


class Polling:
    """Brings finished calls from ElevenLabs' batches into the ledger.

    `horizon` is in seconds: calls that ended longer ago are not followed up.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        api: ElevenLabs,
        clock: Callable[[], Moment],
        bell: Bell,
        announcements: CallAnnouncements,
        *,
        agent_ids: Sequence[str],
        horizon: float,
    ) -> None:
        self._api = api
        self._clock = clock
        self._bell = bell
        self._agent_ids = tuple(agent_ids)
        self._book = _Book(announcements, ledger, clock)
        self._memory = PollMemory(horizon)
        self._resting_until = 0.0
        self.health = PollHealth()

    async def run(self) -> None:
        """Runs until cancelled: a round whenever the bell rings, none during a pause after a failure."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            # A clock that is set back does not make the pause longer.
            if not 0.0 < self._resting_until - self._clock() <= LONGEST_REST:
                await self.poll_once()

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
            self._bell.ring()

    def _poll_failed(self, why: str, retry_after: float | None) -> None:
        self.health.consecutive_failures += 1
        # The schedule rings on, but a service that refuses is left alone; its own Retry-After counts first.
        pause = retry_delay(self.health.consecutive_failures, retry_after, base=POLL_BACKOFF_BASE, cap=POLL_BACKOFF_CAP)
        self._resting_until = self._clock() + pause
        warn("poll_failed", why=why, failures=self.health.consecutive_failures, again_in=round(pause, 1))
