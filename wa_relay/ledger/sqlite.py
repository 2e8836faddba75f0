"""The engine on SQLite: Python's own connection, with the verbs of `Engine`."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wa_relay.basics import Moment
from wa_relay.ledger import free_space
from wa_relay.ledger.engine import EngineName, Parameters, Query, Work, wrong_number
from wa_relay.ledger.faults import StorageUnavailable

CHECKPOINT_EVERY, CHECKPOINT_SHARE = 32, 0.1
"""Operations after which the log is brought into the main file, once their results are on their way, and the part of
the time that its two syncs may take: where a sync is slow it is done as much less often.

SQLite does it by itself inside the commit that makes the log 1,000 pages long, and the caller of that commit
waits for two more syncs and for as many pages as different people wrote. In small and frequent steps beside the event
loop's work on the answers, most of that time is hidden.
"""

CHECKPOINT = "pragma wal_checkpoint(passive)"
LAST_CHECKPOINT = "pragma wal_checkpoint(truncate)"


class SqliteEngine(sqlite3.Connection):
    """A connection to a file; `execute` is sqlite3's own, so that an engine costs SQLite nothing."""

    name: EngineName = "sqlite"
    _in_log = 0
    _checkpoint_from = 0.0
    _commit_takes = 0.0
    _changes_before = 0

    def tuples(self, sql: str, parameters: Parameters) -> sqlite3.Cursor:
        """Runs a query whose rows are plain tuples."""
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, parameters)

    def write(self, sql: str, parameters: Parameters, rows: int | None = None) -> None:
        """Makes a change whose result nobody reads; raises `LookupError` for another number of rows than `rows`."""
        changed = self.execute(sql, parameters).rowcount
        if rows is not None and changed != rows:
            raise wrong_number(sql, changed, rows)

    def read_ahead(self, queries: Sequence[Query]) -> list[list[Any]]:
        """A file answers each query at once."""
        del queries
        return []

    def forget_ahead(self) -> None:
        """Nothing is read ahead."""

    def announce(self, work: Work, due: Moment) -> None:
        """A file has one daemon."""

    def begin(self) -> None:
        """Takes the file's writing lock."""
        self.execute("begin immediate")
        self._changes_before = self.total_changes

    def version(self) -> object:
        """SQLite's count of the other connections' commits."""
        return self.execute("pragma data_version").fetchone()[0]

    def begin_snapshot(self) -> None:
        """Begins a transaction that reads."""
        self.execute("begin")

    def commit(self) -> None:
        """Makes the transaction durable."""
        began = time.monotonic()
        self.execute("commit")
        if self.total_changes == self._changes_before:
            # It wrote nothing and synced nothing. Counted, each idle look of a worker made the disk look fast: with
            # syncs of 20 ms, checkpoints took half of the time.
            return
        # A commit is a sync and little else; one that was held up counts twice the one before at the most.
        took = time.monotonic() - began
        self._commit_takes = min(took, 2.0 * self._commit_takes) if self._commit_takes else took

    def rollback(self) -> None:
        """Undoes the transaction; a full disk may have ended it already."""
        if self.in_transaction:
            self.execute("rollback")

    def insert(self, sql: str, parameters: Parameters) -> int:
        """Inserts a row, and returns its key.

        Not by `returning`: SQLite carries that out as a trigger, and beside a trigger it looks for children of each
        new row in tables that have no index for it.
        """
        cursor = self.execute(sql, parameters)
        row = cursor.fetchone()
        if row is not None:
            return int(row[0])
        # Where a conflict left the row out, `lastrowid` is that of an earlier one.
        if cursor.rowcount != 1 or cursor.lastrowid is None:
            raise LookupError(f"no row was inserted: {' '.join(sql.split())[:120]}")
        return cursor.lastrowid

    def savepoint(self) -> None:
        """Begins an operation."""
        self.execute("savepoint operation")

    def release(self) -> None:
        """Ends an operation."""
        self.execute("release operation")

    def undo(self) -> None:
        """Undoes an operation."""
        self.execute("rollback to operation")
        self.execute("release operation")

    is_shared = False

    def now(self, clock: Moment) -> Moment:
        """A file has no clock."""
        return clock

    def hold_lease(self, run: int) -> None:
        """The file's lock makes sure that one daemon runs."""

    def lease_holds(self) -> bool:
        """A file's daemon can't lose it to another."""
        return True

    def find_commit(self) -> bool:
        """A commit that failed did not happen."""
        return False

    def rest(self, operations: int) -> None:
        """Brings the log into the main file from time to time."""
        self._in_log += operations
        if self._in_log < CHECKPOINT_EVERY or time.monotonic() < self._checkpoint_from:
            return
        # A failed one loses nothing: the log is durable, and the next one includes it.
        with contextlib.suppress(sqlite3.Error):
            self.execute(CHECKPOINT).fetchone()
        self._in_log = 0
        self._checkpoint_from = time.monotonic() + 2.0 * self._commit_takes / CHECKPOINT_SHARE

    def scrub(self, place: int) -> int | None:
        """Brings the log into the main file, cuts it, and clears the free space of some pages (see `free_space`)."""
        if self.execute(LAST_CHECKPOINT).fetchone()[0]:
            raise StorageUnavailable("another program reads the database. Try again in a moment.", retry_after=1.0)
        # The pages in memory have the old free space, which the next change would write back.
        self.execute("pragma shrink_memory")
        path = Path(self.execute("pragma database_list").fetchone()["file"])
        return free_space.clear(path, place)

    def finish(self) -> None:
        """Brings the whole log into the main file."""
        self.execute(LAST_CHECKPOINT)

    def is_unavailable(self, error: BaseException) -> bool:
        """True for faults of the storage (SQLite ends the transaction when the disk is full)."""
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError
        )


def add_functions(connection: sqlite3.Connection) -> None:
    """Gives SQLite the functions that PostgreSQL has, with its treatment of nulls (0.2 µs a call)."""
    connection.create_function("greatest", -1, _greatest, deterministic=True)
    connection.create_function("least", -1, _least, deterministic=True)


def _greatest(*values: Any) -> Any:
    return max((value for value in values if value is not None), default=None)


def _least(*values: Any) -> Any:
    return min((value for value in values if value is not None), default=None)
