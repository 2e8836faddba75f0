"""The engine: the few operations that the ledger needs of a database, the same for SQLite and PostgreSQL.

Every statement is written once, in SQL that both take (docs/architecture.md, "One SQL for two engines"). What has to
differ is a mapping by engine name: `SELECT_X[ledger.db.name]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from wa_relay.basics import Moment

EngineName = Literal["sqlite", "postgres"]
Work = Literal["send", "turn", "media", "moved"]
"""What a daemon does when it is due: sends a message, asks about a turn, fetches a file, looks at a moved message."""

Parameters = Mapping[str, Any] | Sequence[Any]
Query = tuple[str, Parameters]
"""A statement with its parameters."""


class Row(Protocol):
    """A row, read by column name or by position."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Rows(Protocol):
    """The result of a statement. A row is read by column name or by position."""

    @property
    def rowcount(self) -> int:
        """The number of rows that a change touched."""
        ...

    def fetchone(self) -> Any:
        """The next row, None after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Queries(Protocol):
    """A connection as the read side sees it."""

    @property
    def name(self) -> EngineName:
        """Names the engine, for the few statements that differ."""
        ...

    @property
    def Error(self) -> type[Exception]:  # noqa: N802 - the name of both libraries
        """The base of the errors that `execute` raises."""
        ...

    def execute(self, sql: str, parameters: Any = ..., /) -> Rows:
        """Runs a statement with named parameters (`:name`)."""
        ...

    def tuples(self, sql: str, parameters: Parameters) -> Rows:
        """Runs a query whose rows are plain tuples: for the reports, which read millions."""
        ...

    def version(self) -> object:
        """A value that differs from the last one if another connection has committed since."""
        ...

    def begin_snapshot(self) -> None:
        """Begins a transaction in which every query sees the same moment."""
        ...

    def rollback(self) -> None:
        """Undoes the transaction."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...

    def now(self, clock: Moment) -> Moment:
        """Returns the database's time, or `clock` if it keeps none."""
        ...

    def is_unavailable(self, error: BaseException) -> bool:
        """True for a fault of the storage, false for one of the statement or of the operation."""
        ...


class Engine(Queries, Protocol):
    """A connection that writes. All writers of a database take turns: one transaction at a time.

    Therefore an operation may read and then write what it read, and the journal's ids grow in the order in which
    entries become visible.
    """

    @property
    def in_transaction(self) -> bool:
        """True between `begin` and the transaction's end, also if that end came by an error."""
        ...

    @property
    def total_changes(self) -> int:
        """Grows with each change; an error that leaves the transaction unusable counts as one."""
        ...

    def begin(self) -> None:
        """Begins a transaction once no other writer is in one. Raises if that takes too long."""
        ...

    def commit(self) -> None:
        """Makes the transaction durable; raises the error of a change that was deferred, if it failed."""
        ...

    def write(self, sql: str, parameters: Parameters, rows: int | None = None) -> None:
        """Makes a change whose result nobody reads; its error may come with a later statement, or with `commit`.

        A change of another number of rows than `rows` is such an error (`LookupError`).
        """
        ...

    def read_ahead(self, queries: Sequence[Query], *, independent: bool = False) -> list[list[Any]]:
        """Reads what will be asked, at once if that saves time. Returns the rows of each query, or [].

        Each of these queries then finds its rows, once, until `forget_ahead`: only for rows that nothing changes before
        they are asked for. They are `independent` if each is of another operation (`next_operation`), and none of
        these changes what another one reads or changes: then their changes may be carried out together.
        """
        ...

    def forget_ahead(self) -> None:
        """Drops what was read ahead and not asked for; what follows may depend on every change before it."""
        ...

    def next_operation(self) -> None:
        """Says that another operation begins."""
        ...

    def announce(self, work: Work, due: Moment) -> None:
        """Wakes the other daemons for what this transaction makes due, once it is committed."""
        ...

    def insert(self, sql: str, parameters: Parameters) -> int:
        """Inserts a row into a table with a key, and returns that key.

        Raises `LookupError` if a conflict left the row out.
        """
        ...

    def savepoint(self) -> None:
        """Begins an operation, which can be undone alone."""
        ...

    def release(self) -> None:
        """Ends an operation."""
        ...

    def undo(self) -> None:
        """Undoes the operation, and keeps the rest of the transaction."""
        ...

    @property
    def is_shared(self) -> bool:
        """True if several daemons may run on the database."""
        ...

    def hold_lease(self, run: int) -> None:
        """Makes every transaction from now on one of this run: without its lease none begins (`LeaseLost`)."""
        ...

    def lease_holds(self) -> bool:
        """True while no other daemon can have taken over. May be called from any thread."""
        ...

    def find_commit(self) -> bool:
        """After `CommitLost`: true if that transaction was committed. Raises while the database is away."""
        ...

    def rest(self, operations: int) -> None:
        """Does upkeep after a commit, while no caller waits; `operations` is the number in that commit."""
        ...

    def scrub(self, place: int) -> int | None:
        """Removes what was erased from log and free space, outside a transaction, from a place on (first 0).

        Returns where to continue, None at the end. Raises `StorageUnavailable` while a reader is in the way.
        """
        ...

    def finish(self) -> None:
        """Does upkeep before the connection is closed."""
        ...


def asked(sql: str, parameters: Parameters) -> Query:
    """A query as a key, equal for equal parameters."""
    return sql, tuple(parameters.values()) if isinstance(parameters, dict) else tuple(parameters)


def wrong_number(sql: str, changed: int | None, wanted: int) -> LookupError:
    """The error of a change of another number of rows than it must be."""
    return LookupError(f"{changed} rows instead of {wanted}: {' '.join(sql.split())[:120]}")


E_co = TypeVar("E_co", bound=Engine, covariant=True)


@dataclass(frozen=True, slots=True)
class Opened(Generic[E_co]):
    """A database that is open for writing.

    `created` is true for one that was made just now, `unclean` for a file whose last daemon did not stop.
    """

    connection: E_co
    created: bool
    unclean: bool
