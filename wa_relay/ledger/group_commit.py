"""Runs the operations that wait in one transaction: they share its commit.

A commit's sync costs far more than what it makes durable. An operation that fails (a conflict) undoes itself and
nothing else: one that has not changed anything yet costs nothing; when one fails half-way, the group is undone and runs
once more, with a savepoint for each operation.

A savepoint for every operation from the start took 9 of 121 µs of the ledger's thread for a stored webhook on SQLite,
and two round trips on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, takewhile
from typing import Any, NamedTuple, ParamSpec, TypeVar

from wa_relay.ledger.faults import CommitLost
from wa_relay.ledger.read_ahead import begins_with_query, read_ahead
from wa_relay.ledger.store import Ledger

P = ParamSpec("P")
T = TypeVar("T")

LONGEST = 1.0
"""Seconds after which a group begins no further operation on a server: other daemons wait for the lock, 5 s at most."""


class Job(NamedTuple):
    """An operation that was handed over, and the future of its result. One that runs `alone` shares no transaction."""

    operation: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    alone: bool = False

    def is_like(self, other: Job) -> bool:
        """True for a job of the same operation."""
        return other.operation is self.operation


class Outcome(NamedTuple):
    """What an operation brought: its result, or what it raised."""

    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class _HalfWay(Exception):
    """An operation failed after it had changed something: the group has to be undone."""


class GroupCommit:
    """Runs groups of operations on the ledger, on the thread that owns it.

    `on_commit` is called with the seconds that a commit took. `find_commit` waits until the database says whether a
    commit happened whose answer was lost. `clock` is monotonic.
    """

    def __init__(
        self,
        ledger: Ledger,
        on_commit: Callable[[float], None],
        find_commit: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._on_commit = on_commit
        self._find_commit = find_commit
        self._clock = clock

    def run(self, group: Sequence[Job], on_ran: Callable[[], None] = lambda: None) -> list[Outcome]:
        """Runs a group in one transaction and commits it.

        `on_ran` is called when its operations have run, with the changes that a file's engine deferred.
        Returns the outcomes of its operations, in order; on a server it may be those of the first ones only.
        Raises what kept the group from being stored: nothing of it is stored then.
        """
        try:
            return self._transaction(group, on_ran, one_by_one=False)
        except _HalfWay:
            pass
        try:
            return self._transaction(group, on_ran, one_by_one=True)
        except _HalfWay as error:
            raise error.__cause__ or error from None

    def _transaction(self, group: Sequence[Job], on_ran: Callable[[], None], *, one_by_one: bool) -> list[Outcome]:
        """Runs a group and commits it; undoes the whole group when the storage fails, and raises that error."""
        db = self._ledger.db
        # The last one may not have been rolled back: then it is now.
        db.rollback()
        # At once for writing: a deferred transaction that reads first loses its snapshot to any other writer.
        db.begin()
        try:
            outcomes = self._run_all(group, one_by_one=one_by_one)
            # On a file, before the event loop works again: these few statements would wait for the interpreter too.
            self._find_culprits(db.forget_ahead)
            on_ran()
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

    def _run_all(self, group: Sequence[Job], *, one_by_one: bool) -> list[Outcome]:
        """Runs the operations of a group in order; on a server fewer of them when they take longer than `LONGEST`."""
        outcomes, read_to = list[Outcome](), len(group) if one_by_one else 0
        run = self._operation_with_savepoint if one_by_one else self._operation
        ends = self._clock() + LONGEST if self._ledger.db.is_shared else math.inf
        for place, job in enumerate(group):
            if outcomes and self._clock() > ends:
                break
            if place >= read_to:
                read_to = place + self._find_culprits(self._read_ahead, job, islice(group, place, None))
            self._ledger.db.next_operation()
            outcomes.append(run(job))
        return outcomes

    def _read_ahead(self, job: Job, following: Iterable[Job]) -> int:
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

    def _operation(self, job: Job) -> Outcome:
        """Runs one operation; what it raises is its own result, unless it has changed something before."""
        db = self._ledger.db
        before = db.total_changes
        try:
            return Outcome(job.future, job.operation(self._ledger, *job.arguments), None)
        except Exception as error:
            if db.is_unavailable(error) or not db.in_transaction:
                raise
            if db.total_changes != before:
                raise _HalfWay from error
            return Outcome(job.future, None, error)

    def _operation_with_savepoint(self, job: Job) -> Outcome:
        """Runs one operation; what it raises is its own result, and what it changed is undone."""
        db = self._ledger.db
        db.savepoint()
        try:
            outcome = Outcome(job.future, job.operation(self._ledger, *job.arguments), None)
        except Exception as error:
            # SQLite ends the whole transaction when the disk is full: there is nothing to go back to then.
            if db.is_unavailable(error) or not db.in_transaction:
                raise
            db.undo()
            return Outcome(job.future, None, error)
        db.release()
        return outcome
