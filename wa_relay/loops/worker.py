"""The base of both workers: a loop around a claim, the running jobs, and a clean stop.

The ledger keeps the order within a conversation; a worker starts all that a claim gives it at once.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from wa_relay.ledger.faults import LeaseLost, StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, warn
from wa_relay.loops.bell import Bell
from wa_relay.model import Moment

P = ParamSpec("P")
T = TypeVar("T")

IDLE = 1.0
"""Seconds after which a worker looks without having been rung for."""


class Worker(abc.ABC):
    """The base of both workers: the loop around a claim, the running jobs, and a clean stop."""

    def __init__(self, ledger: LedgerThread, clock: Callable[[], Moment], bell: Bell, slots: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._slots = slots
        self.bell = bell
        self._jobs: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._looking = asyncio.Lock()
        # True while something is due that the last look could not claim: the end of a job may free it.
        self._held_back = False

    async def run(self) -> None:
        """Works until `stop`. While the storage fails it waits and tries again."""
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
        """Starts no new job, gives the running ones `grace` seconds to end, then cancels them."""
        self._stopping = True
        self.bell.ring()
        # A claim that is under way still becomes a job.
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
        """The number of further jobs that may run."""
        return self._slots - len(self._jobs)

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        error = None if task.cancelled() else task.exception()
        # What a lost lease ends is the work of another daemon by then.
        if error is not None and not isinstance(error, LeaseLost):
            fail("job_fault", error, worker=type(self).__name__)
        if self.room == 1:  # it was full until now
            self.bell.ring()

    async def _persist(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Stores a result, however long the storage is unavailable: what happened outside can't be undone."""
        pause = 0.2
        while True:
            try:
                return await self._ledger.run(operation, *args, **kwargs)
            except LeaseLost:
                raise
            except StorageUnavailable as error:
                warn("storage_away", message=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)


def rest_until(due: Moment | None, now: Moment) -> float:
    """Returns how long a worker may sleep, in seconds. What is due and was not claimed waits for the bell."""
    return IDLE if due is None or due <= now else min(IDLE, due - now)
