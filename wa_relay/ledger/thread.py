"""The ledger's only asynchronous door: one thread that owns the connection.

All operations that wait run in one transaction and share its commit, since a commit's sync costs far more than what
it makes durable. An operation that fails (a conflict) undoes itself and nothing else: one that has not changed anything
yet costs nothing; when one fails half-way, the group is undone and runs once more, with a savepoint for each operation.

A savepoint for every operation from the start took 9 of 121 µs of this thread for a stored webhook on SQLite, and two
round trips on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from queue import SimpleQueue
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from wa_relay.ledger import store
from wa_relay.ledger.ahead import begins_with_query, read_ahead
from wa_relay.ledger.faults import CommitLost, LeaseLost, StorageUnavailable
from wa_relay.ledger.store import Ledger

P = ParamSpec("P")
T = TypeVar("T")

GROUP = 256
"""Operations that share a commit at most: bounds how long the first of them waits."""

BACKLOG = 20_000
"""Operations that may wait; beyond it further ones are refused."""


LONGEST = 1.0
"""Seconds after which a group begins no further operation on a server: other daemons wait for the lock, 5 s at most."""

FIND_COMMIT_EVERY = 0.2
"""Seconds between two tries to find out whether a commit was made."""


class _Job(NamedTuple):
    operation: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]

    def is_like(self, other: _Job) -> bool:
        """True for a job of the same operation."""
        return other.operation is self.operation


class _Outcome(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class _HalfWay(Exception):
    """An operation failed after it had changed something: the group has to be undone."""


class LedgerThread:
    """Runs operations on the ledger, in the order in which they were handed over."""

    def __init__(
        self,
        ledger: Ledger,
        on_commit: Callable[[float], None] = lambda _seconds: None,
        on_lost: Callable[[], None] = lambda: None,
        is_checked: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._is_checked = is_checked
        self._clock = clock
        self._on_commit = on_commit
        self._on_lost = on_lost
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closing = False
        self._later: deque[_Job] = deque()
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
        if self._jobs.qsize() >= BACKLOG or self._closing:
            raise StorageUnavailable("the database can't keep up: try again in a moment.", retry_after=1.0)
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(operation, args, future))
        return future

    async def scrub(self, place: int) -> int | None:
        """Removes what was erased from the database's log and free space, from a place on.

        Returns where to continue, None at the end. Raises `StorageUnavailable` while a reader is in the way.
        """
        future: asyncio.Future[int | None] = self._loop.create_future()
        self._jobs.put(_Job(_scrub, (place,), future))
        return await future

    async def close(self) -> None:
        """Finishes what waits, marks the stop as clean if the file has been checked, and closes the connection."""
        self._closing = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while group := self._next_group():
            outcomes = self._alone(group[0]) if group[0].operation is _scrub else self._commit(group)
            # What a transaction had no more time for comes first in the next one.
            self._later.extendleft(reversed(group[len(outcomes) :]))
            # The event loop is gone when the process ends: no caller waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_deliver, outcomes)
            # After the results are handed out: nobody waits for upkeep.
            self._ledger.db.rest(len(group))
        with contextlib.suppress(Exception):
            store.end_run(self._ledger, is_checked=self._is_checked())
            self._ledger.db.finish()
        self._ledger.db.close()

    def _next_group(self) -> list[_Job]:
        """Waits for an operation and takes it with those behind it; nothing once the ledger is closed."""
        group: list[_Job] = []
        while (job := self._next_job()) is not None:
            if job.operation is _scrub and group:
                # It runs in no transaction: after those before it.
                self._later.appendleft(job)
                return group
            group.append(job)
            if len(group) == GROUP or job.operation is _scrub or not (self._later or not self._jobs.empty()):
                return group
        if group:
            # The end is met again after what came before it.
            self._jobs.put(None)
        return group

    def _next_job(self) -> _Job | None:
        return self._later.popleft() if self._later else self._jobs.get()

    def _alone(self, job: _Job) -> list[_Outcome]:
        """Runs one job outside a transaction."""
        db = self._ledger.db
        try:
            db.rollback()
            return [_Outcome(job.future, _scrub(self._ledger, *job.arguments), None)]
        except Exception as error:
            return [_Outcome(job.future, None, self._refusal(error))]

    def _commit(self, group: list[_Job]) -> list[_Outcome]:
        try:
            try:
                outcomes = self._transaction(group, self._operation)
            except _HalfWay:
                outcomes = self._transaction(group, self._operation_with_savepoint)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, _HalfWay) else error
            refusal = self._refusal(cause if isinstance(cause, Exception) else error)
            return [_Outcome(job.future, None, refusal) for job in group]
        self.fault = None
        return outcomes

    def _transaction(self, group: list[_Job], run: Callable[[_Job], _Outcome]) -> list[_Outcome]:
        """Runs a group and commits it; undoes the whole group when the storage fails, and raises that error."""
        db = self._ledger.db
        # The last one may not have been rolled back: then it is now.
        db.rollback()
        # At once for writing: a deferred transaction that reads first loses its snapshot to any other writer.
        db.begin()
        try:
            outcomes = self._run_all(group, run)
            began = time.monotonic()
            try:
                self._find_culprits(db.commit)
            except CommitLost:
                # Only the answer was lost if the marker is there: run again, the group would be stored twice.
                if not self._find_commit():
                    raise
            self._on_commit(time.monotonic() - began)
        except BaseException:
            db.rollback()
            raise
        return outcomes

    def _run_all(self, group: list[_Job], run: Callable[[_Job], _Outcome]) -> list[_Outcome]:
        """Runs the operations of a group in order; on a server fewer of them when they take longer than `LONGEST`."""
        if not self._ledger.db.is_shared:
            return [run(job) for job in group]
        outcomes, read_to = list[_Outcome](), 0
        ends = self._clock() + LONGEST
        for place, job in enumerate(group):
            if outcomes and self._clock() > ends:
                break
            if place >= read_to:
                read_to = place + self._find_culprits(self._read_ahead, job, islice(group, place, None))
            outcomes.append(run(job))
        return outcomes

    def _read_ahead(self, job: _Job, following: Iterable[_Job]) -> int:
        """Reads what a job and those like it behind it ask first. Returns for how many of them it holds."""
        self._ledger.db.forget_ahead()
        if not begins_with_query(job.operation):
            return 1
        return read_ahead(self._ledger, job.operation, [each.arguments for each in takewhile(job.is_like, following)])

    def _find_culprits(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Takes a step that also makes deferred changes. The operation whose change fails is found with savepoints."""
        try:
            return step(*args, **kwargs)
        except Exception as error:
            if isinstance(error, CommitLost) or self._ledger.db.is_unavailable(error):
                raise
            raise _HalfWay from error

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

    def _operation(self, job: _Job) -> _Outcome:
        """Runs one operation; what it raises is its own result, unless it has changed something before."""
        db = self._ledger.db
        before = db.total_changes
        try:
            return _Outcome(job.future, job.operation(self._ledger, *job.arguments), None)
        except Exception as error:
            if db.is_unavailable(error) or not db.in_transaction:
                raise
            if db.total_changes != before:
                raise _HalfWay from error
            return _Outcome(job.future, None, error)

    def _operation_with_savepoint(self, job: _Job) -> _Outcome:
        """Runs one operation; what it raises is its own result, and what it changed is undone."""
        db = self._ledger.db
        db.savepoint()
        try:
            outcome = _Outcome(job.future, job.operation(self._ledger, *job.arguments), None)
        except Exception as error:
            # SQLite ends the whole transaction when the disk is full: there is nothing to go back to then.
            if db.is_unavailable(error) or not db.in_transaction:
                raise
            db.undo()
            return _Outcome(job.future, None, error)
        db.release()
        return outcome

    def lease_holds(self) -> bool:
        """True while no other daemon can have taken over: outside work that begins now is still this daemon's."""
        return self._ledger.db.lease_holds()

    def _refusal(self, error: Exception) -> Exception:
        if isinstance(error, LeaseLost):
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._on_lost)
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


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
