"""Prepared statements straight over libpq: types, nulls, and changes that are deferred."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from tests.engines import Cluster
from tests.ledger.conftest import NOW, RULES
from wa_relay.ledger import server, store
from wa_relay.ledger.prepared_statements import numbered
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread

NOTE_PROBE = "update relay set probed_at = :at"
BREAK_A_RULE = "update relay set id = :id"


@pytest.fixture
def ledger(cluster: Cluster) -> Iterator[Ledger]:
    url = cluster.copy(NOW - 3600.0)
    made = Ledger(server.open_for_writing(url, account_sid="AC1", now=NOW).connection, RULES)
    store.begin_run(made, NOW)
    yield made
    made.db.close()
    cluster.drop(url)


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        ("integer", 7, 7),
        ("bigint", 2**40, 2**40),
        ("double precision", 1795916658.754814, 1795916658.754814),
        ("boolean", True, True),
        ("text", "¿Qué? 50 % \\ 'x' 🇨🇴", "¿Qué? 50 % \\ 'x' 🇨🇴"),
        ("text", "a\x00b", "a\ufffdb"),
        ("bytea", b"\x00\xff\\", b"\x00\xff\\"),
        ("numeric", 3, Decimal(3)),
        ("bigint[]", [1, 2], [1, 2]),
    ],
)
def test_a_value_comes_back_as_by_psycopgs_cursor(ledger: Ledger, type_: str, value: object, read: object) -> None:
    for given, wanted in ((None, None), (value, read), (None, None)):
        row = ledger.one(f"select cast(:value as {type_}) as value", {"value": given})
        assert row["value"] == wanted
        assert type(row["value"]) is type(wanted)


def test_a_null_needs_no_statement_of_its_own(ledger: Ledger) -> None:
    for value in (1, None, 2, None):
        ledger.one("select cast(:value as integer) as value", {"value": value})
    mine = "select count(*) as found from pg_prepared_statements where statement like '%cast($1 as integer) as value'"
    assert ledger.one(mine)["found"] == 1


def test_marks_in_quoted_text_and_casts_stay_as_they_are() -> None:
    text = numbered("select ':no', 'it''s :no', :a::text, :b, :a where 1 = ?")
    assert text.sql == b"select ':no', 'it''s :no', $1::text, $2, $1 where 1 = $1"
    assert text.names == ("a", "b")


def test_a_deferred_change_is_seen_by_the_next_statement_and_undone_with_its_transaction(ledger: Ledger) -> None:
    for number in (1.0, 2.0):
        ledger.db.begin()
        ledger.write(NOTE_PROBE, {"at": number})
        assert ledger.need_one("select probed_at from relay")["probed_at"] == number
        ledger.write(NOTE_PROBE, {"at": 9.0})
        if number == 1.0:
            ledger.db.commit()
        else:
            ledger.db.rollback()
    assert ledger.need_one("select probed_at from relay")["probed_at"] == 9.0


def test_a_change_that_is_new_to_the_server_is_made_behind_one_that_is_deferred(ledger: Ledger) -> None:
    ledger.db.begin()
    ledger.write(NOTE_PROBE, {"at": 1.0})
    for number in range(1, 4):
        ledger.write(f"update relay set probed_at = probed_at * 10 + {number}")
    ledger.db.commit()
    assert ledger.need_one("select probed_at from relay")["probed_at"] == 1123.0


def test_a_deferred_change_that_fails_is_the_fault_of_its_own_operation(ledger: Ledger) -> None:
    def fails(ledger: Ledger) -> None:
        ledger.write(BREAK_A_RULE, {"id": 2})

    def works(ledger: Ledger) -> int:
        ledger.write(NOTE_PROBE, {"at": 5.0})
        return 5

    async def scenario() -> None:
        thread = LedgerThread(ledger)
        found = await asyncio.gather(*map(thread.run, (works, fails, works)), return_exceptions=True)
        assert [type(each) for each in found] == [int, psycopg.errors.CheckViolation, int]
        assert await thread.run(lambda held: held.need_one("select probed_at from relay")["probed_at"]) == 5.0
        await thread.close()

    asyncio.run(scenario())
