"""Changes of several operations by one statement."""

from __future__ import annotations

import sqlite3

import pytest

from wa_relay.ledger.deferred_changes import Change, DeferredChanges, Several, combined
from wa_relay.ledger.parameter_sets import MOST_SETS, SETS, table

INSERT = "insert into notes (id, said) values (:id, 'at :id ' || :said)"
UPDATE = "update notes set said = (select max(n.said) from notes n where n.id < :id) || :said where id = :id"


def _change(number: int, sql: str = "a", rows: int | None = None) -> Change:
    return Change(sql, {"id": number, "said": "x", "other": 1}, rows)


def test_rows_are_inserted_together() -> None:
    (made,) = combined([_change(1, INSERT), _change(2, INSERT)]) or []
    assert made == Several(
        f"insert into notes (id, said) select given.column2, 'at :id ' || given.column3 from {table('ab', SETS)}"
        " where given.column1 < ?",
        [1, "x", 2, "x", *[None] * (2 * SETS - 4), 2],
        2,
    )


def test_rows_with_certain_ids_are_updated_together() -> None:
    (made,) = combined([_change(1, UPDATE), _change(2, UPDATE)]) or []
    assert made.sql == (
        "update notes set said = (select max(n.said) from notes n where n.id < given.column2) || given.column3"
        f" from {table('ab', SETS)} where id = given.column2 and given.column1 < ?"
    )
    assert made.parameters == [1, "x", 2, "x", *[None] * (2 * SETS - 4), 2]


@pytest.mark.parametrize("count", [1, SETS - 1, SETS, SETS + 1, MOST_SETS, 2 * MOST_SETS + 7])
def test_exactly_the_given_rows_change(count: int) -> None:
    with sqlite3.connect(":memory:") as db:
        db.execute("create table notes (id integer primary key, said text)")
        for sql in (INSERT, "update notes set said = said || :said where id = :id"):
            made = combined([_change(number, sql) for number in range(count)]) or []
            assert sum(each.changes for each in made) == count
            for text, parameters, changes in made:
                assert db.execute(text, parameters).rowcount == changes
        found = db.execute("select id, said from notes order by id").fetchall()
    db.close()
    assert found == [(number, "at :id xx") for number in range(count)]


def test_few_texts_serve_any_number_of_rows() -> None:
    made = [combined([_change(number, INSERT) for number in range(count)]) or [] for count in range(1, 100)]
    assert len({each.sql for some in made for each in some}) == MOST_SETS // SETS


def test_what_might_do_something_else_for_several_is_not_combined() -> None:
    # Two changes of one row: only one of them would happen.
    assert combined([_change(1, UPDATE), _change(1, UPDATE)]) is None
    for sql in (
        f"{INSERT} on conflict do nothing",
        "insert into notes (id, said) values (:id, :said) on conflict (id) do update set said = (:said)",
        f"{INSERT} returning id",
        "insert into notes (id, said) select :id, :said",
        "insert into notes (id, said) values (:id, :said), (-:id, :said)",
        f"{UPDATE} returning id",
        "update notes set said = :said where other = :other",
        "delete from notes where id = :id",
    ):
        assert combined([_change(1, sql), _change(2, sql)]) is None, sql
    assert combined([Change("insert into notes (id) values (?)", (1,)), Change("", (2,))]) is None


def _taken(*operations: list[Change]) -> list[list[Change]]:
    deferred = DeferredChanges()
    for changes in operations:
        deferred.begin_operation()
        for change in changes:
            deferred.add(change)
    return deferred.take()


def test_operations_of_the_same_changes_share_them_in_order() -> None:
    taken = _taken([_change(1, "a"), _change(1, "b")], [_change(2, "a"), _change(2, "b")], [_change(3, "b")])
    assert taken == [[_change(1, "a"), _change(2, "a")], [_change(1, "b"), _change(2, "b")], [_change(3, "b")]]


def test_a_change_of_a_certain_number_of_rows_is_another_change() -> None:
    assert len(_taken([_change(1, "a", 1)], [_change(2, "a")])) == 2


def test_nothing_is_taken_twice_and_the_last_operation_may_go_on() -> None:
    deferred = DeferredChanges()
    deferred.begin_operation()
    deferred.add(_change(1))
    had = [deferred.has_changes]
    taken = [deferred.take()]
    had.append(deferred.has_changes)
    deferred.add(_change(2))
    taken.append(deferred.take())
    deferred.add(_change(3))
    deferred.clear()
    assert [*taken, deferred.take()] == [[[_change(1)]], [[_change(2)]], []]
    assert had == [True, False]
