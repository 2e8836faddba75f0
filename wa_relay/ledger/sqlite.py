"""The engine on SQLite: Python's own connection, with the verbs of `Engine`."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wa_relay.basics import Moment
from wa_relay.ledger import free_space
from wa_relay.ledger.combined_queries import combine
from wa_relay.ledger.deferred_changes import Change, DeferredChanges, Several, combined
from wa_relay.ledger.engine import EngineName, Parameters, Query, Work, asked, wrong_number
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.foretold_ids import SELECT_NEXT_IDS, ForetoldIds, table_of_insert, with_id
from wa_relay.ledger.parameter_sets import MOST_SETS

CHECKPOINT_EVERY, CHECKPOINT_SHARE = 32, 0.1
"""Operations after which the log is brought into the main file, once their results are on their way, and the part of
the time that its two syncs may take: where a sync is slow it is done as much less often.

SQLite does it by itself inside the commit that makes the log 1,000 pages long, and the caller of that commit
waits for two more syncs and for as many pages as different people wrote. In small and frequent steps beside the event
loop's work on the answers, most of that time is hidden.
"""

FEWEST = 6
"""Operations whose changes are worth deferring: 4 take as long as before, 2 longer (docs/performance.md)."""

CHECKPOINT = "pragma wal_checkpoint(passive)"
LAST_CHECKPOINT = "pragma wal_checkpoint(truncate)"
_SELECT = re.compile(r"\s*select\b")


class KeptRows:
    """Rows that were read before somebody asked for them."""

    rowcount = -1

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchone(self) -> Any:
        """The next row, None after the last."""
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class SqliteEngine(sqlite3.Connection):
    """A connection to a file. Its errors are sqlite3's."""

    name: EngineName = "sqlite"
    _in_log = 0
    _checkpoint_from = 0.0
    _commit_takes = 0.0
    _changes_before = 0
    _defers = False
    _times_deferred = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ahead: dict[Query, KeptRows] = {}
        self._deferred = DeferredChanges()
        self._ids = ForetoldIds()

    def execute(self, sql: str, parameters: Parameters = (), /) -> sqlite3.Cursor | KeptRows:  # type: ignore[override]
        """Runs a statement, after the changes that were deferred; finds the rows of one that was read ahead."""
        if self._defers:
            if (rows := self._ahead.pop(asked(sql, parameters), None)) is not None:
                return rows
            reads = _SELECT.match(sql) is not None
            # A query may depend on its own operation's changes only.
            if not reads or self._deferred.has_changes:
                self._carry_out()
            if not reads:
                # It may insert rows itself.
                self._ids.forget()
        return super().execute(sql, parameters)

    @property
    def total_changes(self) -> int:
        """Grows with each change, and with each that was deferred."""
        return super().total_changes + self._times_deferred

    def tuples(self, sql: str, parameters: Parameters) -> sqlite3.Cursor:
        """Runs a query whose rows are plain tuples."""
        self._carry_out()
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, parameters)

    def write(self, sql: str, parameters: Parameters, rows: int | None = None) -> None:
        """Makes a change whose result nobody reads; raises `LookupError` for another number of rows than `rows`."""
        if self._defers:
            self._defer(Change(sql, parameters, rows))
            return
        changed = self.execute(sql, parameters).rowcount
        if rows is not None and changed != rows:
            raise wrong_number(sql, changed, rows)

    def read_ahead(self, queries: Sequence[Query], *, independent: bool = False) -> list[list[Any]]:
        """Reads for operations that are `independent`, and defers their changes. A file has no round trips to save."""
        if not independent or len(queries) < FEWEST:
            return []
        found = self._read_together(queries)
        self._ahead = {asked(*query): KeptRows(rows) for query, rows in zip(queries, found, strict=True)}
        self._ids.begin(super().execute(SELECT_NEXT_IDS[self.name]).fetchone())
        self._defers = True
        return found

    def _read_together(self, queries: Sequence[Query]) -> list[list[Any]]:
        """Runs queries by few statements. Returns the rows of each."""
        found = [list[Any]() for _ in queries]
        for first in range(0, len(queries), MOST_SETS):
            some = queries[first : first + MOST_SETS]
            together = combine(some)
            if together is None:
                found[first : first + len(some)] = [super().execute(*query).fetchall() for query in some]
                continue
            cursor = self.cursor()
            cursor.row_factory = None
            for *row, place in cursor.execute(*together):
                if place < len(some):
                    found[first + place].append(sqlite3.Row(cursor, tuple(row)))
        return found

    def forget_ahead(self) -> None:
        """Carries out what was deferred, and defers nothing more."""
        self._carry_out()
        self._stop_deferring()

    def next_operation(self) -> None:
        """What follows is of another operation."""
        if self._defers:
            self._deferred.begin_operation()

    def _defer(self, change: Change) -> None:
        self._times_deferred += 1
        self._deferred.add(change)

    def _carry_out(self) -> None:
        for changes in self._deferred.take() if self._defers else ():
            # What fails here is not the fault of the operation that happens to run.
            self._times_deferred += 1
            sql, _, rows = changes[0]
            statements = combined(changes) if len(changes) > 1 else None
            if statements is None:
                statements = [Several(sql, change.parameters, 1) for change in changes]
            for text, values, count in statements:
                changed = super().execute(text, values).rowcount
                if rows is not None and changed != rows * count:
                    raise wrong_number(text, changed, rows * count)

    def _stop_deferring(self) -> None:
        self._defers = False
        self._deferred.clear()
        self._ahead.clear()
        self._ids.forget()

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
        """Makes the transaction durable, after the changes that were deferred."""
        self.forget_ahead()
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
        self._stop_deferring()
        if self.in_transaction:
            self.execute("rollback")

    def insert(self, sql: str, parameters: Parameters) -> int:
        """Inserts a row, and returns its key. Where that is foretold, the row may come later.

        Not by `returning`: SQLite carries that out as a trigger, and beside a trigger it looks for children of each
        new row in tables that have no index for it.
        """
        if self._defers and (table := table_of_insert(sql)) and isinstance(parameters, dict):
            foretold = with_id(sql)
            if foretold is not None and (row_id := self._ids.take(table)) is not None:
                self._defer(Change(foretold, {**parameters, "foretold_id": row_id}))
                return row_id
        cursor = self.execute(sql, parameters)
        assert isinstance(cursor, sqlite3.Cursor)
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
