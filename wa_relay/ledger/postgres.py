"""The engine on PostgreSQL, over psycopg.

All writers take one advisory lock for each transaction. PostgreSQL frees it after the commit is visible, so the next
writer sees all that the one before wrote. One lock is simpler than a lock for each conversation, and what holds on
SQLite by its one writer holds here by the same argument. A daemon shares one transaction among all operations that
wait, so the lock is taken once for up to 256 of them.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import tuple_row

from wa_relay.ledger.connecting import SESSION, options_for
from wa_relay.ledger.engine import EngineName, Parameters, Query, Work, asked, wrong_number
from wa_relay.ledger.faults import CommitLost, LeaseLost
from wa_relay.ledger.foretold_ids import SELECT_NEXT_IDS, ForetoldIds, table_of_insert, with_id
from wa_relay.ledger.leases import LEASE
from wa_relay.ledger.prepared_statements import CursorRows, Rows, Statements, Unusual
from wa_relay.model import Moment

WRITER = 0x77617231
"""The key of the advisory lock that one writer at a time holds."""

TAKE_WRITER_LOCK = f"select pg_advisory_xact_lock({WRITER})"
CHANNEL = "wa_relay"
"""Where daemons announce what has become due (`listening`)."""

NOTIFY = "select pg_notify(:channel, :payload)"
FIND_LEASE = """
    select 1 from runs
    where id = :run and ended_at is null and lease_until > extract(epoch from clock_timestamp())"""
MARK_COMMIT = """
    update runs set marker = :marker, seen_at = extract(epoch from clock_timestamp()),
        lease_until = extract(epoch from clock_timestamp()) + cast(:lease as double precision)
    where id = :run"""
FIND_MARKER = "select marker from runs where id = :run"
LEASE_MARGIN = 1.0
"""Seconds before the end of the lease from which on no work begins."""

_TOKENS = re.compile(r"'(?:[^']|'')*'|::|:([a-z_]\w*)|%|\?")
_SELECT = re.compile(r"\s*select\b", re.IGNORECASE)


class Row(tuple[Any, ...]):
    """A row that is read by column name or by position; each set of columns has its own subclass."""

    __slots__ = ()
    _places: Mapping[str, int] = {}

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self._places[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self._places)


@lru_cache(maxsize=1024)
def _row_class(names: tuple[str, ...]) -> type[Row]:
    return type("Row", (Row,), {"__slots__": (), "_places": {name: place for place, name in enumerate(names)}})


def row_factory(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    """Makes psycopg return `Row`s."""
    return _row_class(tuple(column.name for column in cursor.description or ()))


@lru_cache(maxsize=4096)
def translated(sql: str) -> str:
    """Writes named marks as psycopg does: `:name` becomes `%(name)s`, outside of quoted text."""

    def mark(found: re.Match[str]) -> str:
        if found[1]:
            return f"%({found[1]})s"
        if found[0] == "?":
            return "%s"
        return found[0].replace("%", "%%")

    return _TOKENS.sub(mark, sql)


class PostgresEngine:
    """A connection to a server. Its transactions begin with `begin`, as SQLite's do; outside of one it commits itself.

    Raises psycopg's errors.
    """

    name: EngineName = "postgres"
    Error = psycopg.Error

    def __init__(self, url: str, session: Mapping[str, str] = SESSION) -> None:
        self._url = url
        self._session = session
        self.total_changes = 0
        self._changes_before = 0
        self._run: int | None = None
        self._marker = 0
        self._lease_ends = 0.0
        self._has_savepoint = False
        self._ids = ForetoldIds()
        self._ahead: dict[Query, Rows] = {}
        self._announced: dict[Work, Moment] = {}
        self._connect()

    def _connect(self) -> None:
        self.connection = psycopg.connect(self._url, autocommit=True, **options_for(self._url, self._session))
        self._statements = Statements(self.connection, _row_class)

    def execute(self, sql: str, parameters: Parameters | None = None, /) -> Rows | CursorRows:
        """Runs a statement with named parameters. A daemon's are prepared (`Statements`)."""
        if self._run is not None:
            if self._ahead and (rows := self._ahead.pop(asked(sql, parameters or ()), None)) is not None:
                return rows
            self._note_ids(sql)
            self.total_changes += 1
            try:
                rows = self._statements.execute(sql, parameters or ())
                if _SELECT.match(sql):
                    self.total_changes -= 1
                return rows
            except Unusual:
                self.total_changes -= 1
                self._statements.flush()
        # One cursor for all would end the result that a caller still reads.
        cursor = self.connection.cursor(row_factory=row_factory)
        # An error dooms the transaction, so a statement that fails counts too.
        self.total_changes += 1
        if parameters:
            cursor.execute(translated(sql), _without_nul(parameters))
        else:
            # psycopg reads marks, and the `%%` of a single `%`, only where values are given.
            cursor.execute(sql)
        if _SELECT.match(sql):
            self.total_changes -= 1
        return CursorRows(cursor)

    def write(self, sql: str, parameters: Parameters, rows: int | None = None) -> None:
        """Makes a change whose result nobody reads; it goes to the server with the next statement.

        An error of it fails the whole group, which is then repeated with a savepoint for each operation
        (`group_commit`).
        """
        if self._run is not None and not self._has_savepoint and self.in_transaction:
            self._note_ids(sql)
            self.total_changes += 1
            with contextlib.suppress(Unusual):
                self._statements.defer(sql, parameters, rows)
                return
        changed = self.execute(sql, parameters).rowcount
        if rows is not None and changed != rows:
            raise wrong_number(sql, changed, rows)

    def read_ahead(self, queries: Sequence[Query], *, independent: bool = False) -> list[list[Any]]:  # noqa: ARG002
        """Reads the rows of several queries in one round trip, and keeps them for the next `execute` of each."""
        if self._run is None or self._has_savepoint:
            return []
        try:
            results = self._statements.execute_all(queries)
        except Unusual:
            return []
        self._ahead.update(zip((asked(*query) for query in queries), results, strict=True))
        return [rows.peek() for rows in results]

    def forget_ahead(self) -> None:
        """Drops what was read ahead: it may have changed."""
        self._ahead.clear()

    def next_operation(self) -> None:
        """Changes go to the server in their order."""

    def tuples(self, sql: str, parameters: Parameters) -> CursorRows:
        """Runs a query whose rows are plain tuples."""
        self._statements.flush()
        cursor = self.connection.cursor(row_factory=tuple_row)
        cursor.execute(translated(sql), _without_nul(parameters))
        return CursorRows(cursor)

    @property
    def in_transaction(self) -> bool:
        """True while a transaction is open on a connection that lives."""
        return self.connection.pgconn.transaction_status not in (
            pq.TransactionStatus.IDLE,
            pq.TransactionStatus.UNKNOWN,
        )

    def begin(self) -> None:
        """Begins a transaction and waits for its turn; connects again first where that is needed.

        Raises `LeaseLost` if another daemon may have taken over.
        """
        if self.connection.closed:
            self._connect()
        self._changes_before = self.total_changes
        self._has_savepoint = False
        self._ahead.clear()
        if self._run is None:
            self._send(("begin", ()), (TAKE_WRITER_LOCK, ()))
            return
        *_, lease, ids = self._send(
            ("begin", ()), (TAKE_WRITER_LOCK, ()), (FIND_LEASE, {"run": self._run}), (SELECT_NEXT_IDS[self.name], ())
        )
        if lease.fetchone() is None:
            self.rollback()
            raise LeaseLost(
                "this daemon was away for over 10 s, and others have taken over its work. It starts again.",
                retry_after=2.0,
            )
        self._ids.begin(ids.fetchone())

    def version(self) -> object:
        """The transactions that are over."""
        return self.execute("select cast(pg_current_snapshot() as text)").fetchone()[0]

    def begin_snapshot(self) -> None:
        """Begins a transaction that reads one moment."""
        self._send(("begin isolation level repeatable read read only", ()))

    def commit(self) -> None:
        """Makes the transaction durable, in one round trip with the changes that were deferred.

        A transaction that changed something renews the lease and counts a marker, by which `find_commit` recognises
        it. Raises `CommitLost` if the connection ended before the server's answer, and the error of a change.
        """
        self._statements.verify()
        notes = self._notes_of_ids()
        self._ids.forget()
        last: list[Query] = [*self._notifications(), ("commit", ())]
        if self._run is None or self.total_changes == self._changes_before:
            self._send(*last)
            return
        self._marker += 1
        began = _boot_time()
        mark = {"run": self._run, "marker": self._marker, "lease": LEASE}
        try:
            self._send(*notes, (MARK_COMMIT, mark), *last)
        except psycopg.Error as error:
            if self.connection.closed:
                raise CommitLost(f"the connection was lost during a commit: {error}", retry_after=2.0) from error
            raise
        self._lease_ends = began + LEASE

    def announce(self, work: Work, due: Moment) -> None:
        """Wakes the other daemons once the transaction is committed; the earliest time of each kind of work counts."""
        self._announced[work] = min(due, self._announced.get(work, due))

    def _notifications(self) -> list[Query]:
        """The statement that announces what this transaction makes due; none without anything."""
        words = " ".join(f"{work}={due:.3f}" for work, due in self._announced.items())
        self._announced.clear()
        return [(NOTIFY, {"channel": CHANNEL, "payload": f"{self._run or 0} {words}"})] if words else []

    @property
    def is_shared(self) -> bool:
        """Any number of daemons may run."""
        return True

    def now(self, clock: Moment) -> Moment:  # noqa: ARG002 - the other engine needs it
        """The server's clock."""
        return float(self.execute("select extract(epoch from clock_timestamp()) as at").fetchone()["at"])

    def hold_lease(self, run: int) -> None:
        """Makes every transaction one of this run. The current one, which began it, counts already."""
        self._run = run
        self._lease_ends = _boot_time() + LEASE

    def lease_holds(self) -> bool:
        """True for 10 s from before the last commit that renewed the lease, less a second for what is under way."""
        return self._run is None or _boot_time() < self._lease_ends - LEASE_MARGIN

    def find_commit(self) -> bool:
        """Looks for the marker of the last commit, once the transaction that was lost is over on the server."""
        if self.connection.closed:
            self._connect()
        *_, found = self._send(("begin", ()), (TAKE_WRITER_LOCK, ()), (FIND_MARKER, {"run": self._run}))
        row = found.fetchone()
        self.rollback()
        return row is not None and row["marker"] >= self._marker

    def rollback(self) -> None:
        """Undoes the transaction; a connection that was lost has undone it."""
        self._statements.forget_deferred()
        self._announced.clear()
        self._ahead.clear()
        self._ids.forget()
        self._has_savepoint = False
        if self.in_transaction:
            self._statements.command("rollback")

    def insert(self, sql: str, parameters: Parameters) -> int:
        """Inserts a row, and returns its key. Where that is foretold, the row goes with the next statement."""
        table = table_of_insert(sql)
        if table is not None and not self._has_savepoint and isinstance(parameters, Mapping):
            foretold = with_id(sql)
            if foretold is not None and (row_id := self._ids.take(table)) is not None:
                with contextlib.suppress(Unusual):
                    self._statements.defer(foretold, {**parameters, "foretold_id": row_id})
                    self.total_changes += 1
                    return row_id
        row = self.execute(sql if "returning id" in sql else f"{sql} returning id", parameters).fetchone()
        if row is None:
            raise LookupError(f"no row was inserted: {' '.join(sql.split())[:120]}")
        return int(row[0])

    def savepoint(self) -> None:
        """Begins an operation. Nothing is deferred in it: its errors are its own."""
        self._has_savepoint = True
        self._statements.command("savepoint operation")

    def release(self) -> None:
        """Ends an operation."""
        self._statements.command("release savepoint operation")

    def undo(self) -> None:
        """Undoes an operation."""
        self._statements.command("rollback to savepoint operation; release savepoint operation")

    def rest(self, operations: int) -> None:
        """PostgreSQL keeps itself."""

    def scrub(self, place: int) -> int | None:
        """Removes old versions of rows. The server's log, replicas and archives keep them until they are recycled."""
        del place
        self._statements.flush()
        self._statements.command("vacuum")
        return None

    def finish(self) -> None:
        """PostgreSQL keeps itself."""

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    def is_unavailable(self, error: BaseException) -> bool:
        """True for faults of the storage: the connection, the server, its disk, a lock or a rule of concurrency."""
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError)

    def _send(self, *queries: Query) -> list[Rows]:
        """Runs statements in one round trip, after the changes that were deferred."""
        return self._statements.execute_all(queries)

    def _note_ids(self, sql: str) -> None:
        """Brings the sequence up to date before the server itself gives an id."""
        if (table := table_of_insert(sql)) is not None:
            for note, parameters in self._notes_of_ids():
                self._statements.defer(note, parameters)
            self._ids.stop(table)

    def _notes_of_ids(self) -> list[Query]:
        return [(sql, {"last": last}) for sql, last in self._ids.notes()]


def _without_nul(parameters: Parameters) -> Parameters:
    """PostgreSQL's text holds no U+0000, which JSON from outside may bring."""
    values = parameters.values() if isinstance(parameters, Mapping) else parameters
    if not any(isinstance(value, str) and "\x00" in value for value in values):
        return parameters
    if isinstance(parameters, Mapping):
        return {key: without_nul(value) for key, value in parameters.items()}
    return [without_nul(value) for value in parameters]


def without_nul(value: Any) -> Any:
    """A value with U+0000, which PostgreSQL's text can't hold, replaced."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def _boot_time() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
