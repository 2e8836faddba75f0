"""Queries of several operations by one statement."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from wa_relay.ledger.combined_queries import combine
from wa_relay.ledger.parameter_sets import SETS

QUERY = """
    select n.said, (select count(*) from notes o where o.id < :id) as before, 'from (:id)' as words
    from notes n left join names m on m.note = n.id and m.name <> :name where n.id = :id or n.said = :said"""


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("create table notes (id integer primary key, said text)")
        db.execute("create table names (note integer, name text)")
        db.executemany("insert into notes values (?, ?)", [(number, f"say {number % 3}") for number in range(9)])
        db.executemany("insert into names values (?, ?)", [(1, "ana"), (1, "eva"), (2, "eva")])
        yield db


@pytest.mark.parametrize("count", [1, 2, SETS - 1, SETS, SETS + 1, 3 * SETS])
def test_each_query_has_the_rows_that_it_has_alone(db: sqlite3.Connection, count: int) -> None:
    chance = random.Random(count)
    given: list[dict[str, Any]] = [
        {
            "id": chance.choice([*range(12), None]),
            "name": chance.choice(["ana", "eva", None]),
            "said": chance.choice(["say 1", "nothing", None]),
        }
        for _ in range(count)
    ]
    combined = combine([(QUERY, parameters) for parameters in given])
    assert combined is not None
    found: dict[int, list[tuple[Any, ...]]] = {}
    for *row, place in db.execute(*combined):
        found.setdefault(place, []).append(tuple(row))
    alone = [sorted(db.execute(QUERY, parameters).fetchall()) for parameters in given]
    assert [sorted(found.get(place, [])) for place in range(count)] == alone
    assert any(alone)


def test_few_texts_are_prepared() -> None:
    texts = {(combine([(QUERY, {"id": 1, "name": "", "said": ""})] * count) or ("",))[0] for count in range(1, 33)}
    assert len(texts) == 32 // SETS


@pytest.mark.parametrize(
    "sql",
    [
        "select said from notes where id < :id order by id",
        "select said from notes where id < :id limit 1",
        "select count(*) from notes group by said",
        "select said from notes where id = :id union select name from names",
        "select 1",
    ],
)
def test_what_might_return_other_rows_is_not_combined(sql: str) -> None:
    assert combine([(sql, {"id": 1})] * 2) is None


def test_different_queries_and_parameters_by_place_are_not_combined() -> None:
    sql = "select said from notes where id = :id"
    assert combine([(sql, {"id": 1}), (f"{sql} ", {"id": 1})]) is None
    assert combine([("select said from notes where id = ?", [1])] * 2) is None
