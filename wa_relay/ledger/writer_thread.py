"""The ledger's only asynchronous door: one thread that owns the connection.

It takes what waits as one group; `group_commit` runs the group in one transaction.

On a file the event loop stands aside while a group's operations run, and works again while the group is committed. Both
threads need the interpreter: side by side, every statement waited for it, and each change of threads cost as much as
the statement. Standing aside took 8 to 11 % off the processor time of a stored webhook, and 13 % off a whole message.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple

from wa_relay.ledger import store
from wa_relay.ledger.faults import LeaseLost, StorageUnavailable
from wa_relay.ledger.group_commit import GroupCommit, Job, Outcome
from wa_relay.ledger.store import Ledger

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GROUP = 256
"""Operations that share a commit at most: bounds how long the first of them waits."""

BACKLOG = 20_000
"""Operations that may wait; beyond it further ones are refused."""

STAND_ASIDE = 0.01
"""Seconds for which the event loop stands aside at most: a disk that has to be read, or a long operation, stops no
timer for longer."""

LARGE, MOST, TURNS = 8, 0.93, 80
"""After a group of `LARGE` operations or more, the next one waits until `MOST` of as many are handed over, for `TURNS`
turns of the event loop at most."""

FIND_COMMIT_EVERY = 0.2
"""Seconds between two tries to find out whether a commit was made."""


class LedgerThread:
    """Runs operations on the ledger, in the order in which they were handed over.

    `beside_commit` is work for which nobody waits. On a file it is called on the event loop while a group is committed:
    the loop has least to do then, and the commit does not need the interpreter.
    """

    def __init__(
        self,
        ledger: Ledger,
        on_commit: Callable[[float], None] = lambda _seconds: None,
        on_lost: Callable[[], None] = lambda: None,
        is_checked: Callable[[], bool] = lambda: True,
        beside_commit: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._is_checked = is_checked
        self._beside_commit = beside_commit
        self._operations_ran = threading.Event()
        self._group_commit = GroupCommit(ledger, on_commit, self._find_commit, clock)
        self._on_lost = on_lost
        self._handed_over: list[Job] = []
        self._works = False
        self._last_group = 0
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._closing = False
        self._later: deque[Job] = deque()
        self._loop = asyncio.get_running_loop()
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """The number of this run."""
        return self._ledger.epoch

    async def run(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs one operation and returns its result once it is durable.

        Cancelling the caller does not cancel the operation: it has been handed over.
        Raises `StorageUnavailable` when it could not be stored, and whatever the operation raises.
        """
        return await self.hand_over(operation, *args, **kwargs)

    def hand_over(
        self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Queues one operation: operations that are handed over later find its changes.

        The future brings what `run` returns and raises.
        """
        assert not kwargs, "operations take positional arguments"
        if len(self._handed_over) + self._jobs.qsize() >= BACKLOG or self._closing:
            raise StorageUnavailable("the database can't keep up: try again in a moment.", retry_after=1.0)
        future: asyncio.Future[T] = self._loop.create_future()
        self._handed_over.append(Job(operation, args, future))
        if len(self._handed_over) == 1 and not self._works:
            self._loop.call_soon(self._take_turn)
        return future

    async def scrub(self, place: int) -> int | None:
        """Removes what was erased from the database's log and free space, from a place on.

        Returns where to continue, None at the end. Raises `StorageUnavailable` while a reader is in the way.
        """
        return await self._run_alone(_scrub, (place,))

    async def run_alone(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs upkeep, for which nobody waits, in a transaction of its own between two groups.

        On a file the event loop works meanwhile, on the answers to the group before. Raises what `run` raises.
        """
        assert not kwargs, "operations take positional arguments"
        return await self._run_alone(operation, args)

    async def close(self) -> None:
        """Finishes what waits, marks the stop as clean if the file has been checked, and closes the connection."""
        self._closing = True
        self._pass_on()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run_alone(self, operation: Callable[..., T], arguments: tuple[Any, ...]) -> asyncio.Future[T]:
        if self._closing:
            raise StorageUnavailable("wa-relay is stopping.", retry_after=1.0)
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(Job(operation, arguments, future, alone=True))
        return future

    def _take_turn(self) -> None:
        """Passes on what one turn of the event loop has handed over; on a file, when the thread has ended its last."""
        if self._works or not self._handed_over:
            return
        if self._ledger.db.is_shared:
            self._pass_on()
            return
        self._works = True
        self._last_group = len(self._handed_over)
        self._operations_ran.clear()
        self._pass_on()
        self._operations_ran.wait(STAND_ASIDE)
        self._beside_commit()

    def _pass_on(self) -> None:
        for job in self._handed_over:
            self._jobs.put(job)
        self._handed_over.clear()

    def _end_turn(self) -> None:
        self._works = False
        if self._handed_over:
            # After the answers to the last group, which are on their way.
            self._loop.call_soon(self._gather, TURNS)

    def _gather(self, turns: int) -> None:
        """Takes a turn. After a large group it waits first: the many callers who were just answered may come back.

        With 32 connections that wait for each answer, groups of 31 and 1, or of 20 and 12, took turns, each with a
        commit of its own.
        """
        if turns and self._last_group >= LARGE and len(self._handed_over) < MOST * self._last_group:
            self._loop.call_soon(self._gather, turns - 1)
        else:
            self._take_turn()

    def _run(self) -> None:
        while group := self._next_group():
            outcomes = self._run_alone_job(group[0]) if group[0].alone else self._run_group(group)
            # What a transaction had no more time for comes first in the next one.
            self._later.extendleft(reversed(group[len(outcomes) :]))
            self._call_soon(_deliver, outcomes)
            # After the results are handed out: nobody waits for upkeep.
            self._ledger.db.rest(len(group))
            if self._works and not self._later and self._jobs.empty():
                self._call_soon(self._end_turn)
        with contextlib.suppress(Exception):
            store.end_run(self._ledger, is_checked=self._is_checked())
            self._ledger.db.finish()
        self._ledger.db.close()

    def _call_soon(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        # The event loop is gone when the process ends: no caller waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _next_group(self) -> list[Job]:
        """Waits for an operation and takes it with those behind it; nothing once the ledger is closed."""
        group: list[Job] = []
        while (job := self._next_job()) is not None:
            if job.alone and group:
                self._later.appendleft(job)
                return group
            group.append(job)
            if len(group) == GROUP or job.alone or not (self._later or not self._jobs.empty()):
                return group
        if group:
            # The end is met again after what came before it.
            self._jobs.put(None)
        return group

    def _next_job(self) -> Job | None:
        return self._later.popleft() if self._later else self._jobs.get()

    def _run_group(self, group: list[Job]) -> list[Outcome]:
        """Runs a group, for whose operations the event loop stands aside."""
        try:
            return self._commit(group, self._operations_ran.set)
        finally:
            self._operations_ran.set()

    def _run_alone_job(self, job: Job) -> list[Outcome]:
        """Runs a scrub outside a transaction, anything else in one of its own."""
        if job.operation is not _scrub:
            return self._commit([job])
        db = self._ledger.db
        try:
            db.rollback()
            return [Outcome(job.future, _scrub(self._ledger, *job.arguments), None)]
        except Exception as error:
            return [Outcome(job.future, None, self._refusal(error))]

    def _commit(self, group: list[Job], on_ran: Callable[[], None] = lambda: None) -> list[Outcome]:
        try:
            outcomes = self._group_commit.run(group, on_ran)
        except Exception as error:
            refusal = self._refusal(error)
            return [Outcome(job.future, None, refusal) for job in group]
        self.fault = None
        return outcomes

    def _find_commit(self) -> bool:
        """Waits until the database says whether a commit happened whose answer was lost."""
        db = self._ledger.db
        while True:
            try:
                return db.find_commit()
            except Exception as error:
                if self._closing or not db.is_unavailable(error):
                    raise
                self.fault = str(error)
                time.sleep(FIND_COMMIT_EVERY)

    def lease_holds(self) -> bool:
        """True while no other daemon can have taken over: outside work that begins now is still this daemon's."""
        return self._ledger.db.lease_holds()

    def _refusal(self, error: Exception) -> Exception:
        if isinstance(error, LeaseLost):
            self._call_soon(self._on_lost)
            self.fault = error.message
        if not self._ledger.db.is_unavailable(error):
            return error
        self.fault = str(error)
        refusal = StorageUnavailable(
            f"it could not be stored: {error}. It is tried again automatically.", retry_after=2.0
        )
        refusal.__cause__ = error
        return refusal


def _scrub(ledger: Ledger, place: int) -> int | None:
    """The one job that runs outside a transaction."""
    return ledger.db.scrub(place)


def _deliver(outcomes: list[Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
