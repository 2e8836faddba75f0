"""The plans of the statements on both engines: none walks through a table that grows with the messages."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from tests.engines import Cluster
from tests.ledger.conftest import NOW
from wa_relay import ledger, reports
from wa_relay.ledger import file, schema
from wa_relay.ledger import server as servers
from wa_relay.ledger.combined_queries import combine
from wa_relay.ledger.deferred_changes import Change, combined
from wa_relay.ledger.engine import EngineName
from wa_relay.ledger.foretold_ids import table_of_insert, with_id
from wa_relay.ledger.postgres import PostgresEngine
from wa_relay.ledger.prepared_statements import numbered

GROW = ("conversation_messages", "conversation_state", "calls", "turns", "journal", "receipts")
SQL = re.compile(r"\s*(select|update|insert|delete)\b")
WALK = re.compile(r"SCAN \w+ USING (?:COVERING )?INDEX (\w+)")
SHORT = {
    *("one_turn_asking", "one_in_flight", "queued_in_order", "queued_openings", "uncertain_lookups"),
    *("media_overdue", "handed_over"),
    # Read in their order, with a limit.
    *("journal_of_console", "journal_of_everybody"),
}
"""Indexes of what is under way, or of what people did: they hold few rows, however many messages there are."""

WHOLE_TABLE = re.compile(rf"SCAN ({'|'.join(GROW)}|[a-z])(?! USING)\b")


def _modules(*packages: ModuleType) -> Iterator[ModuleType]:
    for package in packages:
        for found in pkgutil.iter_modules(package.__path__):
            yield importlib.import_module(f"{package.__name__}.{found.name}")


NOT_ON_BOTH = {"server", "server_checks", "postgres", "foretold_ids", "copying", "search_schema"}
"""Modules of one engine, and one whose statements are those of triggers."""


def _statements(engine: EngineName) -> dict[str, str]:
    """The statements on an engine, by module and name; those that have placeholders of ours are left out."""
    found: dict[str, str] = {}
    for module in _modules(ledger, reports):
        if module.__name__.rpartition(".")[2] in NOT_ON_BOTH:
            continue
        for name, value in vars(module).items():
            text = value.get(engine) if isinstance(value, Mapping) else value
            if name.isupper() and isinstance(text, str) and SQL.match(text) and not re.search("[{]|pg_stat_", text):
                found[f"{module.__name__}.{name}"] = text
    return found


def _for_several() -> dict[str, str]:
    """What the file's writer makes of a statement for two operations."""
    found, statements = dict[str, str](), _statements("sqlite")
    for name in (
        *("customers.SELECT_WRITER", "calls.SELECT_REPORTED", "send_results.SELECT_ACCEPTED"),
        "asked_turns.SELECT_ENDING_TURN",
    ):
        sql = statements[f"wa_relay.ledger.{name}"]
        query = combine([(sql, dict.fromkeys(re.findall(r":(\w+)", sql), 1))] * 2)
        assert query is not None
        found[f"wa_relay.ledger.{name} for two"] = query[0]
    for name, sql in statements.items():
        given = with_id(sql) if table_of_insert(sql) else sql
        names = set(re.findall(r":(\w+)", given or ""))
        changes = [Change(given or "", dict.fromkeys(names, number)) for number in range(2)]
        if given and (made := combined(changes)):
            found[f"{name} for two"] = made[0].sql
    return found


STATEMENTS, ON_SERVER = _statements("sqlite"), _statements("postgres")
FOR_SEVERAL = _for_several()
# Beside a trigger, SQLite plans to look for children of each new row. It does so only while a foreign key is violated
# (OP_FkIfZero), and ours are checked at once.
OF_EVERYTHING = {"wa_relay.ledger.turns.INSERT_TURN", "wa_relay.ledger.held_turns.INSERT_HELD_TURN"}
OF_EVERYTHING |= {f"{name} for two" for name in OF_EVERYTHING}
# The same, for more than one row.
OF_EVERYTHING |= {f"wa_relay.ledger.calls.{name} for two" for name in ("INSERT_CALL", "INSERT_CALLED_CONVERSATION")}
OF_EVERYTHING |= {"wa_relay.ledger.inbox.INSERT_STRANGERS_CONVERSATION for two"}
# Once in a customer's life (ledger/merging.py).
OF_EVERYTHING |= {"wa_relay.ledger.merging.MOVE_TURNS", "wa_relay.ledger.merging.DELETE_CONVERSATION"}
# At a restore, before the daemon starts.
OF_EVERYTHING |= {"wa_relay.ledger.restoring.FAIL_OPEN_TURNS", "wa_relay.ledger.restoring.CLEAR_UNANSWERED_TURNS"}
# After a restore.
OF_EVERYTHING |= {"wa_relay.ledger.erasing.SELECT_ALL_CALLS", "wa_relay.ledger.erasing.SELECT_ALL_MESSAGES"}
# Once a day, on the reader.
OF_EVERYTHING |= {"wa_relay.ledger.erasing.SELECT_OLD_THREADS", "wa_relay.ledger.erasing.COUNT_OLD_THREADS"}
REPORTS_ON_EVERYTHING = {
    "wa_relay.reports.group_names.SELECT_CUSTOMER_OF_CALLS",
    "wa_relay.reports.stats_queries.COUNT_MESSAGES_BY_CALL",
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("plans") / "relay.db"
    connection = file.open_for_writing(path, account_sid="AC1", now=NOW).connection
    yield connection
    connection.close()


def _plan(db: sqlite3.Connection, sql: str) -> list[str]:
    names = set(re.findall(r":(\w+)", sql))
    given = dict.fromkeys(names, 1) if names else [1] * sql.count("?")
    return [row["detail"] for row in db.execute(f"explain query plan {sql}", given)]


@pytest.mark.parametrize("name", sorted((STATEMENTS | FOR_SEVERAL).keys() - OF_EVERYTHING))
def test_no_statement_walks_through_a_whole_table(empty: sqlite3.Connection, name: str) -> None:
    walks = [step for step in _plan(empty, (STATEMENTS | FOR_SEVERAL)[name]) if WHOLE_TABLE.match(step)]
    assert walks == []


def test_the_changes_of_a_message_and_of_a_call_are_made_for_several_at_once() -> None:
    ledgers = "wa_relay.ledger"
    assert FOR_SEVERAL.keys() >= {
        f"{ledgers}.{name} for two"
        for name in (
            *("turns.INSERT_TURN", "turns.EXTEND_TURN", "inbox.INSERT_INBOUND", "inbox.NOTE_INBOUND"),
            *("calls.INSERT_CALLED_CONVERSATION", "calls.INSERT_CALL", "calls.POINT_AT_FIRST_CALL"),
            *("outbox.INSERT_OUTBOUND", "outbox.COUNT_OUTBOUND", "journal.INSERT_ENTRY", "customers.INSERT_ADDRESS"),
        )
    }


@pytest.mark.parametrize("name", sorted((STATEMENTS | FOR_SEVERAL).keys() - OF_EVERYTHING - REPORTS_ON_EVERYTHING))
def test_no_statement_walks_through_an_index_of_all_rows(empty: sqlite3.Connection, name: str) -> None:
    grow = {row["name"] for row in empty.execute("select name, tbl_name from sqlite_master") if row["tbl_name"] in GROW}
    walked = {found[1] for step in _plan(empty, (STATEMENTS | FOR_SEVERAL)[name]) if (found := WALK.match(step))}
    assert walked & grow <= SHORT


def test_no_constraint_makes_a_list_for_each_new_row(empty: sqlite3.Connection) -> None:
    tables = re.findall(r"create table (\w+)", "".join(schema.EVERY_TABLE))
    listed = [
        table
        for table in tables
        if "OpenEphemeral" in [step["opcode"] for step in empty.execute(f"explain insert into {table} default values")]
    ]
    assert listed == []


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    url = cluster.copy(NOW)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
    cluster.drop(url)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_is_one_that_both_engines_take(server: psycopg.Connection[Any], name: str) -> None:
    marks = list(dict.fromkeys(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"'[^']*'", "", ON_SERVER[name]))))
    sql = re.sub(
        r"(?<!:):([a-z]\w*)",
        lambda found: f"${marks.index(found[1]) + 1}" if found[1] in marks else found[0],
        ON_SERVER[name],
    )
    server.execute(f"prepare looked_at as {sql}".encode())
    server.execute("deallocate looked_at")


@pytest.fixture(scope="module")
def writer(cluster: Cluster) -> Iterator[PostgresEngine]:
    url = cluster.copy(NOW)
    engine = servers.open_for_writing(url, account_sid="AC1", now=NOW).connection
    yield engine
    engine.close()
    cluster.drop(url)


@pytest.mark.parametrize("name", sorted(ON_SERVER.keys() - OF_EVERYTHING))
def test_the_writers_plan_on_an_empty_server_walks_through_no_table(writer: PostgresEngine, name: str) -> None:
    sql = numbered(ON_SERVER[name]).sql
    with writer.connection.cursor() as cursor:
        plan = "\n".join(row[0] for row in cursor.execute(b"explain (generic_plan) " + sql))
    assert not re.findall(rf"Seq Scan on (?:{'|'.join(GROW)})\b", plan), plan


def test_the_schema_is_written_with_portable_types() -> None:
    text = re.sub(r"'[^']*'", "", "\n".join([schema.TABLES, *schema.STEPS.values()]))
    assert not re.findall(
        r"\b(real|blob|strict|boolean|autoincrement|cast|primary key \()\b|integer primary key| in \(0, 1\)", text
    )


def test_most_statements_are_looked_at() -> None:
    assert len(STATEMENTS) > 90
    assert STATEMENTS.keys() == ON_SERVER.keys()


def test_a_walk_would_be_seen(empty: sqlite3.Connection) -> None:
    (step,) = _plan(empty, "select 1 from turns t where t.state in ('open', 'asking')")
    assert WHOLE_TABLE.match(step)
    (step,) = _plan(empty, "select conversation_id, count(*) from conversation_messages group by conversation_id")
    assert WALK.match(step)
