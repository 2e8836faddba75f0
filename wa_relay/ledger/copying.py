"""Copies a whole database from one engine to another: ids, times and the fence stay as they are.

The tables are made first, then filled, then indexed, and given their references and triggers: triggers would add
journal entries to the copied ones, and an index that grows row by row takes longer than one made at once. The target is
one transaction on a server, and a file that takes its place when it is complete.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wa_relay.ledger import file, schema
from wa_relay.ledger.dialects import checks_of, statements
from wa_relay.ledger.engine import EngineName, Queries
from wa_relay.ledger.faults import AlreadyServed, DatabaseFault, DatabaseMissing
from wa_relay.ledger.leases import SEEN_WITHIN
from wa_relay.ledger.location import Location
from wa_relay.ledger.lock import DatabaseLock
from wa_relay.ledger.runs import Alive, read_daemons
from wa_relay.ledger.sqlite import SqliteEngine, add_functions
from wa_relay.model import Moment

EVERY = re.findall(r"^create table (\w+)", "".join(schema.EVERY_TABLE), re.MULTILINE)
TABLES = [table for table in EVERY if not table.startswith("search_")]
"""Every table that is copied, in the order in which they are made. A job of the target rebuilds the search index."""

HOLD_NOTHING = ("relay", "runs", "holds", "settled_batches")
"""Tables that have rows in a database in which nothing has happened."""

SELECT_ALIVE = "select host, pid from runs where ended_at is null and lease_until > :at order by id limit 1"
SELECT_TIME = "select extract(epoch from clock_timestamp()) as at"
SELECT_SERVER = "select current_setting('server_version') as version, pg_database_size(current_database()) as size"
END_RUNS = "update runs set ended_at = seen_at where ended_at is null"
STOP_CLEANLY = "update relay set clean_stop = true, leader = null"
MARK_MOVED = "update relay set moved_to = :place"


@dataclass(frozen=True, slots=True)
class Described:
    """A database: its engine's version, and its size."""

    version: str
    size_bytes: int


class NotEmpty(DatabaseFault):
    """The target of a copy is not empty."""

    exit_code = 1


def copy(source: Location, target: Location, on_table: Callable[[str, int], None]) -> dict[str, int]:
    """Copies everything, and returns the rows of each table. `on_table` is called after each.

    Raises `NotEmpty` for a target that is not empty, `AlreadyServed` if a daemon runs on either side.
    """
    with closing(_open_source(source)) as read:
        _refuse_target(target)
        read.begin_snapshot()
        if source.is_shared:
            _allow_pauses(read)
        filled = _fill_server if target.is_shared else _fill_file
        counts = filled(read, target, on_table)
        read.rollback()
    with closing(target.open_for_reading()) as copied:
        if (found := count_rows(copied)) != counts:
            raise DatabaseFault(f"the copy has other counts than its source: {found} and {counts}.", permanent=True)
    return counts


def mark_moved(source: Location, target: Location, now: Moment) -> None:
    """Marks a database as moved: no daemon serves it any more."""
    opened = source.open_for_writing(account_sid="", now=now)
    with closing(opened.connection) as db:
        db.begin()
        db.execute(MARK_MOVED, {"place": target.shown})
        db.commit()


def count_rows(db: Queries) -> dict[str, int]:
    """The number of rows of each table."""
    return {table: int(db.execute(f"select count(*) as rows from {table}").fetchone()["rows"]) for table in TABLES}


def daemon_on(place: Location) -> str | None:
    """Describes the daemons on a database for display; None without a daemon."""
    if not place.is_shared:
        lock = DatabaseLock(place.path)
        try:
            lock.take("")
        except AlreadyServed as error:
            return error.message
        lock.release()
        return None
    with closing(place.open_for_reading()) as db:
        row = db.execute(SELECT_ALIVE, {"at": float(db.execute(SELECT_TIME).fetchone()["at"])}).fetchone()
    return (
        None if row is None else f"a daemon runs on {place.shown} (pid {row['pid']} on {row['host']}): stop it first."
    )


def describe(db: Queries, path: Path) -> Described:
    """Describes the database that a connection reads; `path` is its file's, if it is a file."""
    if db.name == "sqlite":
        size = sum(each.stat().st_size for suffix in ("", "-wal") if (each := Path(f"{path}{suffix}")).exists())
        return Described(sqlite3.sqlite_version, size)
    row = db.execute(SELECT_SERVER).fetchone()
    return Described(row["version"], int(row["size"]))


def list_daemons(db: Queries, place: Location) -> tuple[Alive, ...]:
    """The daemons that run on a database."""
    if daemon_on(place) is None:
        return ()
    at = 0.0 if db.name == "sqlite" else float(db.execute(SELECT_TIME).fetchone()["at"]) - SEEN_WITHIN
    return read_daemons(db, at)


def _open_source(source: Location) -> Queries:
    db = source.open_for_reading()
    if (busy := daemon_on(source)) is not None:
        db.close()
        raise AlreadyServed(busy)
    return db


def _refuse_target(target: Location) -> None:
    try:
        with closing(target.open_for_reading()) as db:
            rows = {table: number for table, number in count_rows(db).items() if number and table not in HOLD_NOTHING}
    except DatabaseMissing as error:
        # A server's database must exist; its tables, or a file, are created.
        if target.is_shared and not error.no_tables:
            raise
        return
    if rows:
        raise NotEmpty(f"{target.shown} holds something already: copy into an empty database.", permanent=True)
    if (busy := daemon_on(target)) is not None:
        raise AlreadyServed(busy)


def _parts(engine: EngineName) -> tuple[list[str], list[str]]:
    """The statements that make the tables, and those that come after their rows."""
    every = list(statements("".join(schema.EVERY_TABLE), engine))
    first = [each for each in every if each.startswith("create table")]
    return first, [each for each in every if not each.startswith("create table")]


def _columns(db: Queries, table: str) -> list[str]:
    query = {
        "sqlite": "select name from pragma_table_info(:name)",
        "postgres": "select column_name from information_schema.columns where table_name = :name"
        " and table_schema = 'public' order by ordinal_position",
    }[db.name]
    return [str(row[0]) for row in db.execute(query, {"name": table})]


def _rows(db: Queries, table: str, columns: list[str], flags: set[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table; a flag is a bool, which SQLite stores as an integer."""
    places = [place for place, column in enumerate(columns) if column in flags]
    for row in _stream(db, f"select {', '.join(columns)} from {table}"):
        if not places:
            yield tuple(row)
            continue
        values = list(row)
        for place in places:
            values[place] = None if values[place] is None else bool(values[place])
        yield tuple(values)


def _allow_pauses(db: Queries) -> None:
    # psycopg is an extra.
    from wa_relay.ledger import server

    server.allow_pauses(db)  # type: ignore[arg-type]


def _stream(db: Queries, sql: str) -> Iterable[tuple[Any, ...]]:
    """The rows of a query, a few at a time: a table may be larger than the memory."""
    if db.name == "sqlite":
        return db.tuples(sql, {})
    # psycopg is an extra.
    from wa_relay.ledger import server

    return server.stream_rows(db, sql)  # type: ignore[arg-type]


def _flags(table: str) -> set[str]:
    text = "".join(schema.EVERY_TABLE)
    found = re.search(rf"^create table {table} \((.*?)^\);", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^ {4}(\w+) flag\b", found[1], re.MULTILINE)) if found else set()


def _fill_file(read: Queries, target: Location, on_table: Callable[[str, int], None]) -> dict[str, int]:
    unfinished = target.path.with_name(target.path.name + ".copying")
    _remove(unfinished)
    old_umask = os.umask(0o077)
    try:
        with closing(sqlite3.connect(unfinished, isolation_level=None, factory=SqliteEngine)) as db:
            add_functions(db)
            db.row_factory = sqlite3.Row
            db.execute("pragma journal_mode = wal")
            db.begin()
            first, later = _parts("sqlite")
            for statement in first:
                db.execute(statement)
            counts = {}
            for table in TABLES:
                columns = _columns(read, table)
                marks = ", ".join("?" * len(columns))
                insert = f"insert into {table} ({', '.join(columns)}) values ({marks})"
                counts[table] = _insert(db, insert, _rows(read, table, columns, set()))
                on_table(table, counts[table])
            _finish(db, later)
            db.execute(f"pragma application_id = {file.APPLICATION_ID}")
            db.execute(f"pragma user_version = {file.SCHEMA_VERSION}")
            db.commit()
            if db.execute("pragma foreign_key_check").fetchone() is not None:
                raise DatabaseFault("the source has a reference to a missing row: it is damaged.", permanent=True)
            db.finish()
    finally:
        os.umask(old_umask)
    for suffix in ("-wal", "-shm"):
        target.path.with_name(target.path.name + suffix).unlink(missing_ok=True)
    unfinished.replace(target.path)
    return counts


def _insert(db: SqliteEngine, sql: str, rows: Iterable[tuple[Any, ...]]) -> int:
    before = db.total_changes
    db.executemany(sql, rows)
    return db.total_changes - before


def _fill_server(read: Queries, target: Location, on_table: Callable[[str, int], None]) -> dict[str, int]:
    # psycopg is an extra: a copy between two files must work without it.
    from wa_relay.ledger import server

    with closing(server.connect_to(target.url)) as db:
        db.execute("begin")
        try:
            server.allow_pauses(db)
            server.drop_tables(db, (*EVERY, "search_index", "search_names"))
            first, later = _parts("postgres")
            for statement in first:
                db.execute(statement)
            counts = {}
            for table in TABLES:
                columns = _columns(read, table)
                rows = _rows(read, table, columns, _flags(table))
                counts[table] = server.copy_rows(db, table, columns, rows)
                on_table(table, counts[table])
            _finish(db, later)
            _refuse_invalid(db)
            server.number_on(db, TABLES, file.SCHEMA_VERSION)
            db.commit()
        except BaseException:
            db.rollback()
            raise
    return counts


def _refuse_invalid(db: Any) -> None:
    """The triggers that stand for the checks there are made after the rows."""
    for table, check in checks_of("".join(schema.EVERY_TABLE)).items():
        if db.execute(f"select 1 from {table} where ({check}) is false limit 1").fetchone() is not None:
            raise DatabaseFault(
                f"a row of {table} in the source violates a check: it is damaged. Put a backup back.", permanent=True
            )


def _finish(db: Any, later: list[str]) -> None:
    db.execute(END_RUNS)
    db.execute(STOP_CLEANLY)
    for statement in later:
        db.execute(statement)
    schema.create_rest(db, db.name)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
