"""Opens a database on a PostgreSQL server: for writing by any number of daemons, for reading by everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from wa_relay.ledger import schema
from wa_relay.ledger.connecting import WRITING
from wa_relay.ledger.engine import Opened
from wa_relay.ledger.faults import (
    AlreadyServed,
    DatabaseFault,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseMoved,
    DatabaseUnusable,
    RoleRefused,
    ServerAway,
    TablesMissing,
    WrongAccount,
)
from wa_relay.ledger.file import SCHEMA_VERSION
from wa_relay.ledger.postgres import PostgresEngine, without_nul
from wa_relay.model import Moment

OLDEST_SERVER = 140_000
"""PostgreSQL 14, as the server counts its versions."""

STREAMED = 5_000
"""Rows that a large read holds in memory."""

MIGRATION = 0x77617232
"""The key of the advisory lock that one migration at a time holds."""

TAKE_MIGRATION_LOCK = f"select pg_advisory_xact_lock({MIGRATION})"
FIND_SCHEMA_TABLE = "select to_regclass('wa_relay_schema') is not null as there"
FIND_FOREIGN_TABLE = "select to_regclass('relay') is not null or to_regclass('calls') is not null as there"
CREATE_SCHEMA_TABLE = "create table wa_relay_schema (version integer not null)"
INSERT_SCHEMA_VERSION = "insert into wa_relay_schema (version) values (:version)"
SELECT_SCHEMA_VERSION = "select version from wa_relay_schema"
SET_SCHEMA_VERSION = "update wa_relay_schema set version = :version"
SELECT_ALIVE = """
    select host, pid, version from runs
    where ended_at is null and lease_until > extract(epoch from clock_timestamp()) order by id"""
ALLOW_PAUSES = "set local idle_in_transaction_session_timeout = 0"
INSERT_RELAY = "insert into relay (id, fence, swept_to) values (1, :now, :now)"
SELECT_ACCOUNT = "select account_sid, moved_to from relay"
SET_ACCOUNT = "update relay set account_sid = :account_sid"

_WRONG_ROLE = re.compile(
    r"password|authentication|role .* does not exist|pg_hba|permission denied for database", re.IGNORECASE
)
_NO_DATABASE = re.compile(r"database .* does not exist", re.IGNORECASE)


def open_for_writing(url: str, *, account_sid: str, now: Moment | None) -> Opened[PostgresEngine]:
    """Opens, makes or migrates the database; raises a `DatabaseFault` that says what to do.

    Without `now` the fence of a new database is the server's time, which every host on it shares.
    Everything that changes the shape is one transaction under a lock, so that of daemons that start together one does
    it, and a kill leaves the old shape or the new one.
    """
    try:
        engine = PostgresEngine(url, WRITING)
    except psycopg.Error as error:
        raise fault_of(error) from error
    try:
        _refuse_old_server(engine)
        created = migrate(engine, engine.now(0.0) if now is None else now)
        _own(engine, account_sid)
        return Opened(engine, created=created, unclean=False)
    except psycopg.Error as error:
        engine.close()
        raise fault_of(error) from error
    except BaseException:
        engine.close()
        raise


def open_for_reading(url: str) -> PostgresEngine:
    """Opens the database read-only; raises `DatabaseMissing` and the other faults."""
    try:
        engine = PostgresEngine(url)
    except psycopg.Error as error:
        raise fault_of(error) from error
    try:
        if not engine.execute(FIND_SCHEMA_TABLE).fetchone()["there"]:
            raise TablesMissing("the database has no tables yet: `wa-relay serve` makes them.", permanent=True)
        _refuse_newer(version_of(engine))
        engine.execute("set default_transaction_read_only = on")
        return engine
    except psycopg.Error as error:
        engine.close()
        raise fault_of(error) from error
    except BaseException:
        engine.close()
        raise


def migrate(
    engine: PostgresEngine, now: Moment, *, steps: Mapping[int, str] = schema.STEPS, to: int = SCHEMA_VERSION
) -> bool:
    """Brings the database to version `to`, in one transaction. True if it made the tables."""
    engine.execute("begin")
    try:
        engine.execute(TAKE_MIGRATION_LOCK)
        there = engine.execute(FIND_SCHEMA_TABLE).fetchone()["there"]
        if not there:
            _create(engine, now, to)
        else:
            version = version_of(engine)
            _refuse_newer(version, to)
            if version < to:
                _refuse_beside_daemons(engine)
            for step in range(version, to):
                schema.apply(engine, steps[step], "postgres")
            if version < to:
                engine.execute(SET_SCHEMA_VERSION, {"version": to})
        engine.commit()
    except BaseException:
        engine.rollback()
        raise
    return not there


def _refuse_beside_daemons(engine: PostgresEngine) -> None:
    """A daemon of the older version must not find its tables changed."""
    alive = [f"{row['version']} (pid {row['pid']} on {row['host']})" for row in engine.execute(SELECT_ALIVE)]
    if alive:
        raise AlreadyServed(f"daemons of an older version run on this database: {', '.join(alive)}. Stop them first.")


def version_of(engine: PostgresEngine) -> int:
    """The schema's version; raises psycopg's error without the table."""
    row = engine.execute(SELECT_SCHEMA_VERSION).fetchone()
    if row is None:
        raise DatabaseForeign("the table wa_relay_schema has no row: this is not a wa-relay database.", permanent=True)
    return int(row["version"])


def fault_of(error: psycopg.Error) -> DatabaseFault:
    """Turns psycopg's error into what happened and what to do. No message of it holds the password."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if _NO_DATABASE.search(text) or error.sqlstate == "3D000":
        return DatabaseMissing(
            f"the database can't be opened: {text}. Create it, or correct database.url.", permanent=True
        )
    if _WRONG_ROLE.search(text) or (error.sqlstate or "").startswith("28"):
        return RoleRefused(
            f"PostgreSQL refuses the role or its password: {text}. Correct database.url.", permanent=True
        )
    if isinstance(error, psycopg.ProgrammingError):
        if error.sqlstate == "42501":
            return RoleRefused(f"the role lacks a right: {text}. Make it the owner of the database.", permanent=True)
        return DatabaseUnusable(f"the database can't be used: {text}.", permanent=True)
    return ServerAway(f"PostgreSQL is not available: {text}. Start it, or check database.url and the network.")


def _create(engine: PostgresEngine, now: Moment, version: int) -> None:
    if engine.execute(FIND_FOREIGN_TABLE).fetchone()["there"]:
        raise DatabaseForeign(
            "the database holds tables of another program under the same names. Give wa-relay its own database.",
            permanent=True,
        )
    schema.create(engine, "postgres")
    engine.execute(CREATE_SCHEMA_TABLE)
    engine.execute(INSERT_SCHEMA_VERSION, {"version": version})
    # The fence: calls that ended before this moment are history, from any source.
    engine.execute(INSERT_RELAY, {"now": now})


def _own(engine: PostgresEngine, account_sid: str) -> None:
    row = engine.execute(SELECT_ACCOUNT).fetchone()
    owner = row["account_sid"]
    if row["moved_to"] and account_sid:
        raise DatabaseMoved(f"this database was moved to {row['moved_to']}: serve that one.", permanent=True)
    if owner and account_sid and owner != account_sid:
        raise WrongAccount(
            f"the database holds the messages of Twilio account {owner}, and the configuration names {account_sid}. "
            "Put the first account back, or give the new one its own database (database.url).",
            permanent=True,
        )
    if not owner and account_sid:
        engine.execute(SET_ACCOUNT, {"account_sid": account_sid})


def _refuse_old_server(engine: PostgresEngine) -> None:
    version = engine.connection.info.server_version
    if version < OLDEST_SERVER:
        raise DatabaseUnusable(
            f"this PostgreSQL is version {version // 10_000}, and wa-relay needs 14 or later.", permanent=True
        )


def _refuse_newer(version: int, known: int = SCHEMA_VERSION) -> None:
    if version > known:
        raise DatabaseForeign(
            f"the database was made by a newer version of wa-relay (schema {version}; this version knows {known}). "
            "Install that version.",
            permanent=True,
        )


def connect_to(url: str) -> PostgresEngine:
    """Connects without looking at what is there; raises a `DatabaseFault`."""
    try:
        return PostgresEngine(url)
    except psycopg.Error as error:
        raise fault_of(error) from error


def drop_tables(engine: PostgresEngine, tables: Iterable[str]) -> None:
    """Removes the tables of an empty database."""
    for table in (*tables, "wa_relay_schema"):
        engine.execute(f"drop table if exists {table} cascade")


def allow_pauses(engine: PostgresEngine) -> None:
    """Lets the open transaction wait for the other side of a copy: making its indexes takes longer than 5 s."""
    engine.execute(ALLOW_PAUSES)


def stream_rows(engine: PostgresEngine, sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query in an open transaction, `STREAMED` at a time; otherwise psycopg fetches all at once."""
    with engine.connection.cursor(name="wa_relay_rows", row_factory=tuple_row) as cursor:
        cursor.itersize = STREAMED
        yield from cursor.execute(sql.encode())


def copy_rows(engine: PostgresEngine, table: str, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> int:
    """Fills a table with PostgreSQL's own COPY, and returns the number of rows."""
    number = 0
    named = ", ".join(columns)
    with (
        engine.connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({named}) from stdin".encode()) as into,
    ):
        for row in rows:
            into.write_row(tuple(without_nul(value) for value in row))
            number += 1
    return number


def number_on(engine: PostgresEngine, tables: Iterable[str], version: int) -> None:
    """Lets new ids follow those that were copied, and notes the schema's version."""
    for table in tables:
        sequence = (
            engine.execute("select pg_get_serial_sequence(:name, 'id') as name", {"name": table})
            if _has_id(engine, table)
            else None
        )
        if sequence is not None and (name := sequence.fetchone()["name"]) is not None:
            engine.execute(f"select setval('{name}', (select coalesce(max(id), 0) + 1 from {table}), false)")
    engine.execute(CREATE_SCHEMA_TABLE)
    engine.execute(INSERT_SCHEMA_VERSION, {"version": version})


def _has_id(engine: PostgresEngine, table: str) -> bool:
    found = "select 1 from information_schema.columns where table_name = :name and column_name = 'id'"
    return engine.execute(found, {"name": table}).fetchone() is not None
