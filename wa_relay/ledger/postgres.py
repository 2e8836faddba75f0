"""The engine on PostgreSQL, over psycopg.

All writers take one advisory lock for each transaction. PostgreSQL frees it after the commit is visible, so the next
writer sees all that the one before wrote. One lock is simpler than a lock for each conversation, and what holds on
SQLite by its one writer holds here by the same argument. A daemon shares one transaction among all operations that
wait, so the lock is taken once for up to 256 of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from wa_relay.ledger.engine import EngineName, Parameters, Work
from wa_relay.ledger.faults import CommitLost, LeaseLost, NotInserted
from wa_relay.ledger.leases import LEASE
from wa_relay.ledger.prepared import Rows, Statements, Unusual
from wa_relay.model import Moment

WRITER = 0x77617231
"""The key of the advisory lock that one writer at a time holds."""

TAKE_WRITER_LOCK = f"select pg_advisory_xact_lock({WRITER})"
CHANNEL = "wa_relay"
"""Where daemons announce what has become due (`listening`)."""

NOTIFY = "select pg_notify('{channel}', '{payload}')"
FIND_LEASE = """
    select 1 from runs
    where id = {run} and ended_at is null and lease_until > extract(epoch from clock_timestamp())"""
MARK_COMMIT = """
    update runs set marker = {marker}, seen_at = extract(epoch from clock_timestamp()),
        lease_until = extract(epoch from clock_timestamp()) + {lease}
    where id = {run}"""
FIND_MARKER = "select marker from runs where id = {run}"
LEASE_MARGIN = 1.0
"""Seconds before the end of the lease from which on no work begins."""

SESSION = {
    # Each at most 5 s: a daemon that hangs holds up the others no longer.
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "tcp_user_timeout": "5s",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "standard_conforming_strings": "on",
    "search_path": "public",
    "TimeZone": "UTC",
    # Each query of the writer asks for a few rows: nothing to compile.
    "jit": "off",
}
WRITING = SESSION | {
    # Planned while a table is still empty, a statement would walk through it until PostgreSQL has analyzed the table,
    # with thousands of rows for each message in the first minute of a campaign.
    "enable_seqscan": "off",
}
CONNECTION = {
    "connect_timeout": 5,
    "tcp_user_timeout": 5000,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "application_name": "wa-relay",
}

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
        self._found: Any = None
        self._has_savepoint = False
        self._announced: dict[Work, Moment] = {}
        self._connect()

    def _connect(self) -> None:
        self.connection = psycopg.connect(self._url, autocommit=True, **options_for(self._url, self._session))
        self._statements = Statements(self.connection, _row_class)

    def execute(self, sql: str, parameters: Parameters | None = None, /) -> Rows | _Result:
        """Runs a statement with named parameters. A daemon's are prepared (`Statements`)."""
        if self._run is not None:
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
        return _Result(cursor)

    def write(self, sql: str, parameters: Parameters) -> None:
        """Makes a change whose result nobody reads; it goes to the server with the next statement.

        An error of it fails the whole group, which is then repeated with a savepoint for each operation (`thread`).
        """
        if self._run is None or self._has_savepoint or not self.in_transaction:
            self.execute(sql, parameters)
            return
        self.total_changes += 1
        try:
            self._statements.defer(sql, parameters)
        except Unusual:
            self.execute(sql, parameters)

    def flush(self) -> None:
        """Makes the changes that wait for the next statement."""
        self._statements.flush()

    def tuples(self, sql: str, parameters: Parameters) -> _Result:
        """Runs a query whose rows are plain tuples."""
        self._statements.flush()
        cursor = self.connection.cursor(row_factory=tuple_row)
        cursor.execute(translated(sql), _without_nul(parameters))
        return _Result(cursor)

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
        if self._run is None:
            self._command(f"begin; {TAKE_WRITER_LOCK}")
            return
        self._command(f"begin; {TAKE_WRITER_LOCK}; {FIND_LEASE.format(run=self._run)}")
        if self._found is None:
            self.rollback()
            raise LeaseLost(
                "this daemon was away for over 10 s, and others have taken over its work. It starts again.",
                retry_after=2.0,
            )

    def version(self) -> object:
        """The transactions that are over."""
        return self.execute("select cast(pg_current_snapshot() as text)").fetchone()[0]

    def begin_snapshot(self) -> None:
        """Begins a transaction that reads one moment."""
        self._command("begin isolation level repeatable read read only")

    def commit(self) -> None:
        """Makes the transaction durable.

        A transaction that changed something renews the lease and counts a marker, by which `find_commit` recognises
        it. Raises `CommitLost` if the connection ended before the server's answer.
        """
        notify = self._notification()
        if self._run is None or self.total_changes == self._changes_before:
            self._command(f"{notify}commit")
            return
        self._marker += 1
        began = _boot_time()
        mark = MARK_COMMIT.format(run=self._run, marker=self._marker, lease=LEASE)
        try:
            self._command(f"{mark}; {notify}commit")
        except psycopg.Error as error:
            if self.connection.closed:
                raise CommitLost(f"the connection was lost during a commit: {error}", retry_after=2.0) from error
            raise
        self._lease_ends = began + LEASE

    def announce(self, work: Work, due: Moment) -> None:
        """Wakes the other daemons once the transaction is committed; the earliest time of each kind of work counts."""
        self._announced[work] = min(due, self._announced.get(work, due))

    def _notification(self) -> str:
        """The statement that announces what this transaction makes due, "" without anything."""
        words = " ".join(f"{work}={due:.3f}" for work, due in self._announced.items())
        self._announced.clear()
        return f"{NOTIFY.format(channel=CHANNEL, payload=f'{self._run or 0} {words}')}; " if words else ""

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
        self._command(f"begin; {TAKE_WRITER_LOCK}; {FIND_MARKER.format(run=self._run)}")
        row = self._found
        self.rollback()
        return row is not None and row["marker"] >= self._marker

    def rollback(self) -> None:
        """Undoes the transaction; a connection that was lost has undone it."""
        self._statements.forget_deferred()
        self._announced.clear()
        self._has_savepoint = False
        if self.in_transaction:
            self._command("rollback")

    def insert(self, sql: str, parameters: Parameters) -> int:
        """Inserts a row, and returns its key."""
        row = self.execute(sql if "returning id" in sql else f"{sql} returning id", parameters).fetchone()
        if row is None:
            raise NotInserted(f"no row was inserted: {' '.join(sql.split())[:120]}")
        return int(row[0])

    def savepoint(self) -> None:
        """Begins an operation. Nothing is deferred in it: its errors are its own."""
        self._has_savepoint = True
        self._command("savepoint operation")

    def release(self) -> None:
        """Ends an operation."""
        self._command("release savepoint operation")

    def undo(self) -> None:
        """Undoes an operation."""
        self._command("rollback to savepoint operation")
        self._command("release savepoint operation")

    def rest(self, operations: int) -> None:
        """PostgreSQL keeps itself."""

    def scrub(self, place: int) -> int | None:
        """Removes old versions of rows. The server's log, replicas and archives keep them until they are recycled."""
        del place
        self._command("vacuum")
        return None

    def finish(self) -> None:
        """PostgreSQL keeps itself."""

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    def is_unavailable(self, error: BaseException) -> bool:
        """True for faults of the storage: the connection, the server, its disk, a lock or a rule of concurrency."""
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError)

    def _command(self, sql: str) -> None:
        """Runs statements without parameters in one round trip; the row that stays is the first of the last one."""
        self._found = None
        self._statements.flush()
        self._found = self._statements.command(sql).fetchone()


class _Result:
    """The rows of a statement; none for a change, for which psycopg would raise."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        return self._cursor.fetchone() if self._cursor.description else None

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall() if self._cursor.description else []

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor if self._cursor.description else ())


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


def options_for(url: str, session: Mapping[str, str] = SESSION) -> dict[str, Any]:
    """What libpq is given beside the URL: the limits of `CONNECTION`, and a session's settings."""
    options_of_libpq: dict[str, Any] = dict(CONNECTION)
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    wanted = conninfo_to_dict(url)
    several = "," in str(wanted.get("host", "")) or "," in str(wanted.get("hostaddr", ""))
    if several and "target_session_attrs" not in wanted:
        # Of several servers, the one that takes writes: after a failover that is another one.
        options_of_libpq["target_session_attrs"] = "read-write"
    return options_of_libpq | {"options": options}
