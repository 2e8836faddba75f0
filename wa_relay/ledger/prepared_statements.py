"""Prepared statements straight over libpq, for the daemon's writer.

Each statement of an operation is a round trip that other daemons wait for. psycopg's cursor takes 50 µs of processor
time for one, libpq by `psycopg.pq` 10 µs, and the server plans each text once. Rows are read by psycopg's own loaders,
so that types are the same as by a cursor.
"""

from __future__ import annotations

import itertools
import re
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Transformer

from wa_relay.ledger.engine import Parameters, Query, wrong_number

ANY_TYPE, BOOL, INT4, INT8, FLOAT8, BYTEA = 0, 16, 23, 20, 701, 17
"""PostgreSQL's numbers of types; the server decides about a text, and about a null that was never anything else."""

_TOKENS = re.compile(r"'(?:[^']|'')*'|::|:([a-z_]\w*)|\?")
_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


_BY_NAME = (b"begin", b"commit")

MakeRow = Callable[[Sequence[Any]], Any]
_Bound = tuple[list[bytes | None], bytes]
_Expected = tuple[str, int]
"""A statement, and the number of rows that it must change."""


class Unusual(Exception):
    """A value of a type that only psycopg's cursor knows."""


@dataclass(frozen=True, slots=True)
class Text:
    """A statement with numbered marks; `names` has the parameter of each, () where they are given in order."""

    sql: bytes
    names: tuple[str, ...]


@dataclass(slots=True)
class _Prepared:
    """A statement on the server: the name of each list of types, and the types that each parameter had last."""

    text: Text
    types: list[int]
    names: dict[tuple[int, ...], bytes] = field(default_factory=dict)
    row: MakeRow | None = None


def numbered(sql: str) -> Text:
    """Writes marks as PostgreSQL does: each `:name` becomes its number, `?` the next one, outside of quoted text."""
    places: dict[str, int] = {}
    positions = itertools.count(1)

    def mark(found: re.Match[str]) -> str:
        if found[1]:
            return f"${places.setdefault(found[1], len(places) + 1)}"
        return f"${next(positions)}" if found[0] == "?" else found[0]

    return Text(_TOKENS.sub(mark, sql).encode(), tuple(places))


def encoded(value: Any) -> tuple[bytes | None, int]:
    """A value as libpq takes it, with its type; raises `Unusual`."""
    kind = type(value)
    if value is None:
        return None, ANY_TYPE
    if kind is str:
        # PostgreSQL's text holds no U+0000, which JSON from outside may bring.
        return (value.replace("\x00", "\ufffd") if "\x00" in value else value).encode(), ANY_TYPE
    if kind is int:
        return b"%d" % value, INT4 if -0x80000000 <= value <= 0x7FFFFFFF else INT8
    if kind is float:
        return repr(value).encode(), FLOAT8
    if kind is bool:
        return (b"t" if value else b"f"), BOOL
    if kind is bytes:
        return b"\\x" + value.hex().encode(), BYTEA
    raise Unusual(kind.__name__)


class Statements:
    """The prepared statements of one connection."""

    def __init__(self, connection: psycopg.Connection[Any], row_class: Callable[[tuple[str, ...]], MakeRow]) -> None:
        self._pgconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._row_class = row_class
        self._numbers = itertools.count(1)
        self._prepared: dict[str, _Prepared] = {}
        self._deferred: list[_Bound] = []
        self._expected: dict[int, _Expected] = {}
        self._readable, self._either = select.poll(), select.poll()
        self._readable.register(self._pgconn.socket, select.POLLIN)
        self._either.register(self._pgconn.socket, select.POLLIN | select.POLLOUT)

    def execute(self, sql: str, parameters: Parameters) -> Rows:
        """Runs a statement; raises psycopg's errors, and `Unusual` before anything is sent."""
        prepared = self._known(sql, parameters)
        values, name = self._bound(prepared, parameters)
        if self._deferred:
            result = self._send_together([(values, name)])[-1]
        else:
            # psycopg's stub leaves out that a null is None.
            result = self._pgconn.exec_prepared(name, values)  # type: ignore[arg-type]
            self._check(result)
        return Rows(result, self._read(result, prepared) if result.ntuples else [])

    def execute_all(self, queries: Sequence[Query]) -> list[Rows]:
        """Runs several statements in one round trip, behind what was deferred; the first that fails ends it."""
        if not queries:
            return []
        known = [(self._known(sql, parameters), parameters) for sql, parameters in queries]
        # Binding may prepare a statement, which makes a round trip of its own.
        bound = [self._bound(prepared, parameters) for prepared, parameters in known]
        results = self._send_together(bound)[-len(bound) :]
        return [
            Rows(result, self._read(result, prepared) if result.ntuples else [])
            for result, (prepared, _) in zip(results, known, strict=True)
        ]

    def defer(self, sql: str, parameters: Parameters, rows: int | None = None) -> None:
        """Keeps a change, whose result nobody reads, until the next statement: both take one round trip."""
        # Binding may flush, which begins another list.
        bound = self._bound(self._known(sql, parameters), parameters)
        if rows is not None:
            self._expected[len(self._deferred)] = (sql, rows)
        self._deferred.append(bound)

    def verify(self) -> None:
        """Carries out what was deferred if it must change a certain number of rows: before a commit, not after it."""
        if self._expected:
            self.flush()

    def forget_deferred(self) -> None:
        """Drops what was deferred: its transaction is undone."""
        self._deferred.clear()
        self._expected.clear()

    def flush(self) -> None:
        """Carries out what was deferred; raises the error of the first change that fails."""
        if self._deferred:
            self._send_together([])

    def command(self, sql: str) -> Rows:
        """Runs statements without parameters in one round trip; the rows are those of the last one."""
        result = self._pgconn.exec_(sql.encode())
        self._check(result)
        return Rows(result, self._read(result, None) if result.ntuples else [])

    def _known(self, sql: str, parameters: Parameters) -> _Prepared:
        prepared = self._prepared.get(sql)
        if prepared is None:
            text = numbered(sql)
            prepared = self._prepared[sql] = _Prepared(text, [ANY_TYPE] * len(text.names or parameters))
        return prepared

    def _send_together(self, last: list[_Bound]) -> list[pq.abc.PGresult]:
        """Sends what was deferred, and `last`, in libpq's pipeline mode. Returns the results of all."""
        bound, self._deferred = [*self._deferred, *last], []
        expected, self._expected = self._expected, {}
        try:
            results = self._pipeline(bound)
        except psycopg.Error:
            # The connection would stay in pipeline mode, in which every later command fails.
            self._pgconn.finish()
            raise
        for result in results:
            self._check(result)
        for place, (sql, rows) in expected.items():
            if results[place].command_tuples != rows:
                raise wrong_number(sql, results[place].command_tuples, rows)
        return results

    def _pipeline(self, bound: list[_Bound]) -> list[pq.abc.PGresult]:
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        for values, name in bound:
            pgconn.send_query_prepared(name, values)
        pgconn.pipeline_sync()
        # What the socket does not hold waits: the server takes more of it only while its answers are read.
        while pgconn.flush():
            self._either.poll()
            pgconn.consume_input()
        results: list[pq.abc.PGresult] = []
        while (result := self._next_result()) is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
            if result is not None:
                results.append(result)
            elif pgconn.status == pq.ConnStatus.BAD:
                # Between two statements there is a None, and nothing else once the connection is lost.
                raise psycopg.OperationalError(pgconn.get_error_message("utf-8"))
        pgconn.exit_pipeline_mode()
        return results

    def _next_result(self) -> pq.abc.PGresult | None:
        # libpq's own wait would keep the interpreter's lock.
        while self._pgconn.is_busy():
            self._readable.poll()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _bound(self, prepared: _Prepared, parameters: Parameters) -> _Bound:
        values: list[bytes | None] = []
        types = prepared.types
        for place, value in enumerate(_in_order(prepared.text.names, parameters)):
            written, kind = encoded(value)
            values.append(written)
            # A null has the type that its parameter had before: it needs no statement of its own.
            if kind != types[place] and written is not None:
                types[place] = kind
        key = tuple(types)
        name = prepared.names.get(key)
        if name is None:
            self.flush()
            # A trace of the protocol shows where transactions begin and end.
            name = prepared.text.sql if prepared.text.sql in _BY_NAME else b"wa_%d" % next(self._numbers)
            self._check(self._pgconn.prepare(name, prepared.text.sql, key))
            prepared.names[key] = name
        return values, name

    def _read(self, result: pq.abc.PGresult, prepared: _Prepared | None) -> list[Any]:
        """The rows, last one first."""
        row = None if prepared is None else prepared.row
        if row is None:
            row = self._row_class(tuple((result.fname(place) or b"").decode() for place in range(result.nfields)))
            if prepared is not None:
                prepared.row = row
        self._transformer.set_pgresult(result)
        rows: list[Any] = self._transformer.load_rows(0, result.ntuples, row)
        rows.reverse()
        return rows

    def _check(self, result: pq.abc.PGresult) -> None:
        if result.status in _OK:
            return
        error = errors.error_from_result(result, encoding="utf-8")
        if self._pgconn.status != pq.ConnStatus.BAD and error.sqlstate is not None:
            raise error
        # Without a code it is libpq's own: the connection is lost, or half-way through a pipeline.
        message = self._pgconn.get_error_message("utf-8")
        self._pgconn.finish()
        raise psycopg.OperationalError(message)


class Rows:
    """The rows of a statement; a change has none."""

    __slots__ = ("_result", "_rows")

    def __init__(self, result: pq.abc.PGresult, rows: list[Any]) -> None:
        self._result = result
        self._rows = rows

    @property
    def rowcount(self) -> int:
        """The number of rows that a change touched, or a query found."""
        touched = self._result.command_tuples
        return -1 if touched is None else touched

    def fetchone(self) -> Any:
        """The next row, None after the last."""
        return self._rows.pop() if self._rows else None

    def peek(self) -> list[Any]:
        """All rows that are left; they stay."""
        return self._rows[::-1]

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = self._rows, []
        rows.reverse()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.pop()


class CursorRows:
    """The same of psycopg's cursor, which raises for a change."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """The number of rows that a change touched, or a query found."""
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        """The next row, None after the last."""
        return self._cursor.fetchone() if self._cursor.description else None

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return self._cursor.fetchall() if self._cursor.description else []

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor if self._cursor.description else ())


def _in_order(names: tuple[str, ...], parameters: Parameters) -> Sequence[Any]:
    if isinstance(parameters, Mapping):
        return [parameters[name] for name in names]
    return parameters
