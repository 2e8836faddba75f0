"""The daemon's health, as `/health` and `/metrics` show it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from wa_relay import __version__, metrics
from wa_relay.ledger import runs
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.queue_health import QueueHealth, queue_health
from wa_relay.ledger.runs import Alive
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.answering import TurnWorker
from wa_relay.loops.call_facts import CallFacts
from wa_relay.loops.file_check import FileCheck
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.lease import CLOCK_LIMIT, Lease
from wa_relay.loops.media import MediaWorker
from wa_relay.loops.polling import Polling
from wa_relay.loops.reconcile import Reconciler
from wa_relay.loops.sending import SendWorker
from wa_relay.model import Moment
from wa_relay.moments import optional_stamp, stamp

Status = Literal["ok", "degraded", "down"]
AWAY_AFTER = 3
"""Failures in a row after which a service counts as away."""

STORE_WITHIN = 2.0
"""Seconds after which a database that has not answered counts as unavailable."""


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the daemon. `queue` is None if the database does not answer."""

    status: Status
    instance: str
    uptime: float
    queue: QueueHealth | None
    polling: bool
    last_poll_at: Moment | None
    poll_failures: int
    upstreams: dict[str, int]
    daemons: tuple[Alive, ...] | None = None
    clock_offset: float = 0.0
    is_checking: bool = False

    def to_json(self, *, inside: bool) -> dict[str, Any]:
        """Returns the object of `GET /health`; `inside` adds what strangers must not see."""
        queue = self.queue
        shown: dict[str, Any] = {
            "status": self.status,
            "version": __version__,
            "instance": self.instance,
            "uptime_seconds": round(self.uptime, 3),
            "database": "unavailable" if not queue else "checking" if self.is_checking else "ok",
            "paused": queue.paused if queue else None,
            "queue": {
                "pending": queue.pending if queue else None,
                "oldest_seconds": _rounded(queue.oldest_seconds) if queue else None,
                "uncertain": queue.uncertain if queue else None,
                "dead": queue.dead if queue else None,
            },
        }
        if inside:
            shown["poller"] = {
                "enabled": self.polling,
                "last_success_at": optional_stamp(self.last_poll_at),
                "consecutive_failures": self.poll_failures,
            }
            shown["templates"] = [
                {"content_sid": hold.name, "error_code": hold.code, "since": stamp(hold.since)}
                for hold in (queue.templates if queue else ())
            ]
        if self.daemons is not None:
            shown["clock_offset_seconds"] = round(self.clock_offset, 3)
        if self.daemons is not None and inside:
            shown["daemons"] = [daemon.to_json() for daemon in self.daemons]
        shown["upstreams"] = {
            name: {"status": "away" if failures >= AWAY_AFTER else "ok", "consecutive_failures": failures}
            for name, failures in self.upstreams.items()
        }
        return shown


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of the daemon whose health is shown."""

    ledger: LedgerThread
    sending: SendWorker
    answering: TurnWorker
    media: MediaWorker
    polling: Polling
    call_facts: CallFacts
    reconciler: Reconciler
    signs: Signs
    lease: Lease | None = None
    check: FileCheck | None = None


class Checkup:
    """Looks at the daemon's parts. `instance` names this start of the daemon."""

    def __init__(self, parts: Watched, clock: Callable[[], Moment], *, polling: bool, instance: str) -> None:
        self._parts = parts
        self._clock = clock
        self._polling = polling
        self._instance = instance
        self._began = clock()

    async def look(self) -> Health:
        """Returns the health; a daemon that can't store anything within 2 s is `down`."""
        queue, daemons, lease = None, None, self._parts.lease
        shared = lease is not None and lease.shared
        try:
            async with asyncio.timeout(STORE_WITHIN):
                queue = await self._parts.ledger.run(queue_health, self._clock())
                if shared:
                    daemons = await self._parts.ledger.run(runs.daemons_alive, self._clock())
        except (StorageUnavailable, TimeoutError):
            pass
        now, polled = self._clock(), self._parts.polling.health
        upstreams = {
            "twilio": max(
                self._parts.sending.circuit.failures, self._parts.sending.refusals, self._parts.reconciler.failures
            ),
            "elevenlabs": max(
                polled.consecutive_failures, self._parts.call_facts.failures, self._parts.answering.failures
            ),
        }
        signs = self._parts.signs
        noticed = signs.found_by_listing.reached(now) or signs.refused_signatures.reached(now)
        offset = lease.clock_offset if lease is not None else 0.0
        noticed = noticed or self._parts.media.speech_refused or (shared and abs(offset) > CLOCK_LIMIT)
        return Health(
            daemons=daemons,
            clock_offset=offset,
            status=judge(queue, list(upstreams.values()), noticed=noticed),
            instance=self._instance,
            uptime=now - self._began,
            queue=queue,
            polling=self._polling,
            last_poll_at=polled.last_success_at,
            poll_failures=polled.consecutive_failures,
            upstreams=upstreams,
            is_checking=self._parts.check is not None and self._parts.check.is_running,
        )


def judge(queue: QueueHealth | None, failures: list[int], *, noticed: bool) -> Status:
    """Returns `down` if nothing can be stored, `degraded` if an operator should look, else `ok`."""
    if queue is None:
        return "down"
    held = queue.paused or queue.limited or queue.templates
    if queue.uncertain or held or noticed or any(count >= AWAY_AFTER for count in failures):
        return "degraded"
    return "ok"


def exposition(health: Health) -> bytes:
    """Returns the metrics, with the gauges set to this look."""
    queue = health.queue
    metrics.UP.set(health.status != "down")
    metrics.POLL_FAILURES.set(health.poll_failures)
    metrics.set_pause(queue.paused if queue else None)
    if queue is not None:
        metrics.QUEUE_PENDING.set(queue.pending)
        metrics.QUEUE_OLDEST.set(queue.oldest_seconds or 0.0)
        metrics.QUEUE_UNCERTAIN.set(queue.uncertain)
        metrics.QUEUE_DEAD.set(queue.dead)
    return metrics.exposition()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
