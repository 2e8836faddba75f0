"""What both workers share: a loop around a claim, the running jobs, and a clean stop.

Order within a conversation is the ledger's doing; a worker takes whatever a claim gives it, all at once.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.logs import fail, warn
from wa_relay.loops.bell import Bell
from wa_relay.model import Moment

P = ParamSpec("P")
T = TypeVar("T")

IDLE = 1.0
"""The net under the bell: a worker looks by itself at least this often (seconds)."""


class Worker(abc.ABC):
    """What both workers share: the loop around a claim, the running jobs, and a clean stop."""

    def __init__(self, ledger: LedgerThread, clock: Callable[[], Moment], slots: int) -> None:
        self._ledger, self._clock, self._slots = ledger, clock, slots
        self._jobs: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._looking = asyncio.Lock()
        # True while something is due that the last look could not take: the end of a job may free it.
        self._held_back = False
        self.bell = Bell()

    async def run(self) -> None:
        """Works until `stop`; storage that fails is waited out."""
        while not self._stopping:
            self.bell.clear()
            try:
                async with self._looking:
                    busy, pause = (False, 0.0) if self._stopping else await self._look()
            except StorageUnavailable:
                busy, pause = False, IDLE
            except Exception as error:
                fail("worker_fault", error, worker=type(self).__name__)
                busy, pause = False, IDLE
            if not busy:
                await self.bell.wait(pause)

    async def stop(self, grace: float) -> None:
        """Takes no new job, lets the running ones end within `grace` seconds, then ends them."""
        self._stopping = True
        self.bell.ring()
        # What is being claimed just now becomes a job yet.
        async with self._looking:
            pass
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=grace)
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    @abc.abstractmethod
    async def _look(self) -> tuple[bool, float]:
        """Claims and starts what is due. Returns whether there may be more, and how long to rest if not."""

    @property
    def room(self) -> int:
        """How many more jobs may run."""
        return self._slots - len(self._jobs)

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            fail("job_fault", error, worker=type(self).__name__)
        if not self.room - 1:
            self.bell.ring()

    async def _persist(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Stores a result however long the storage is away: what happened outside can't be undone."""
        pause = 0.2
        while True:
            try:
                return await self._ledger.run(operation, *args, **kwargs)
            except StorageUnavailable as error:
                warn("storage_away", message=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)


def rest_until(due: Moment | None, now: Moment) -> float:
    """How long a worker may sleep, in seconds. What is due already and was not claimed waits for the bell."""
    return IDLE if due is None or due <= now else min(IDLE, due - now)
