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

from wa_relay.ledger.engine import Parameters

ANY_TYPE, BOOL, INT4, INT8, FLOAT8, BYTEA = 0, 16, 23, 20, 701, 17
"""PostgreSQL's numbers of types; the server decides about a text, and about a null that was never anything else."""

_TOKENS = re.compile(r"'(?:[^']|'')*'|::|:([a-z_]\w*)|\?")
_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


MakeRow = Callable[[Sequence[Any]], Any]
_Bound = tuple[list[bytes | None], bytes]


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
        self._readable = select.poll()
        self._readable.register(self._pgconn.socket, select.POLLIN)

    def execute(self, sql: str, parameters: Parameters) -> Rows:
        """Runs a statement; raises psycopg's errors, and `Unusual` before anything is sent."""
        prepared = self._known(sql, parameters)
        values, name = self._bound(prepared, parameters)
        if self._deferred:
            result = self._send_together((values, name))
        else:
            # psycopg's stub leaves out that a null is None.
            result = self._pgconn.exec_prepared(name, values)  # type: ignore[arg-type]
            self._check(result)
        return Rows(result, self._read(result, prepared) if result.ntuples else [])

    def defer(self, sql: str, parameters: Parameters) -> None:
        """Keeps a change, whose result nobody reads, until the next statement: both take one round trip."""
        # Binding may flush, which begins another list.
        bound = self._bound(self._known(sql, parameters), parameters)
        self._deferred.append(bound)

    def forget_deferred(self) -> None:
        """Drops what was deferred: its transaction is undone."""
        self._deferred.clear()

    def flush(self) -> None:
        """Carries out what was deferred; raises the error of the first change that fails."""
        if self._deferred:
            self._send_together(None)

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

    def _send_together(self, last: _Bound | None) -> pq.abc.PGresult:
        """Sends what was deferred, and `last`, in libpq's pipeline mode. Returns the result of the last one."""
        bound = self._deferred if last is None else [*self._deferred, last]
        self._deferred = []
        try:
            results = self._pipeline(bound)
        except psycopg.Error:
            # The connection would stay in pipeline mode, in which every later command fails.
            self._pgconn.finish()
            raise
        for result in results:
            self._check(result)
        return results[-1]

    def _pipeline(self, bound: list[_Bound]) -> list[pq.abc.PGresult]:
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        for values, name in bound:
            pgconn.send_query_prepared(name, values)
        pgconn.pipeline_sync()
        pgconn.flush()
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
            name = b"wa_%d" % next(self._numbers)
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

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = self._rows, []
        rows.reverse()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.pop()


def _in_order(names: tuple[str, ...], parameters: Parameters) -> Sequence[Any]:
    if isinstance(parameters, Mapping):
        return [parameters[name] for name in names]
    return parameters
