"""The durations of many turns, ranked in SQL, and reports that two connections share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.big_ledger import NOW, make
from tests.story import BOGOTA
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.file import open_for_reading, open_for_writing
from wa_relay.ledger.sqlite import SqliteEngine
from wa_relay.reports import stats_queries
from wa_relay.reports.snapshot import TRIES, snapshots
from wa_relay.reports.spans import Span
from wa_relay.reports.stats_queries import Grouping
from wa_relay.reports.turn_durations import rank_turns

PEOPLE = 2_500
LAST_DAYS = Span(NOW - 40 * 86400.0, NOW - 2 * 86400.0)
EVERYTHING = {"since": float("-inf"), "until": float("inf")}
SPOIL = (
    "update turns set replied_at = null where id % 7 = 0",
    "update turns set replied_at = last_at - 5 where id % 11 = 0",
    "update turns set state = 'failed' where id % 13 = 0",
)
"""Answers that have not gone out yet, answers before the question (a clock that was off), failures."""
COUNT_TIMED = """
    select count(replied_at) from turns where state = 'answered' and finished_at >= :since and finished_at < :until"""
SET_ALL_LENGTHS = "update turns set replied_at = last_at + 4.25"
SET_ALL_LONG_DECIMALS = "update turns set replied_at = last_at + 6.400000095367432"
SET_UNLIKE_SAMPLE = "update turns set replied_at = last_at + case when id % 2 = 1 then 1.0 else 60.0 + id end"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with 11,000 turns."""
    made = tmp_path_factory.mktemp("lengths") / "relay.db"
    make(made, PEOPLE)
    change(made, *SPOIL)
    return made


@pytest.fixture
def db(path: Path) -> Iterator[SqliteEngine]:
    """The first connection."""
    opened = open_for_reading(path)
    yield opened
    opened.close()


@pytest.fixture
def second(path: Path) -> Iterator[SqliteEngine]:
    """The connection beside it."""
    opened = open_for_reading(path)
    yield opened
    opened.close()


def change(path: Path, *statements: str) -> None:
    """Changes rows as nothing in the product does."""
    connection = open_for_writing(path, account_sid="AC1", now=NOW).connection
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("span", [Span(), LAST_DAYS, Span(NOW + 1.0, None)])
@pytest.mark.parametrize("by", [None, "day", "batch", "conversation"])
def test_two_connections_report_what_one_reports(
    db: SqliteEngine, second: SqliteEngine, span: Span, by: Grouping | None
) -> None:
    alone = stats_queries.stats(db, span=span, by=by, timezone=BOGOTA)
    assert stats_queries.stats(db, span=span, by=by, timezone=BOGOTA, beside=second) == alone


def test_the_ranks_of_many_turns_are_found_in_sql(db: SqliteEngine) -> None:
    ranked = rank_turns(db, EVERYTHING)
    figures = stats_queries.stats(db, span=Span(), by=None, timezone=BOGOTA).total
    assert ranked is not None
    assert (ranked.answered, ranked.median, ranked.p95) == (
        figures.answered,
        figures.median_turn_seconds,
        figures.p95_turn_seconds,
    )


def test_the_ranks_of_a_span_are_exact_whether_its_turns_are_odd_or_even_in_number(db: SqliteEngine) -> None:
    parities = set()
    for hours in range(12):
        span = Span(NOW - 40 * 86400.0, NOW - (5 * 86400.0 + hours * 3600.0))
        bounds = {"since": span.since, "until": span.until}
        ranked = rank_turns(db, bounds)
        figures = stats_queries.stats(db, span=span, by=None, timezone=BOGOTA).total
        assert ranked is not None
        assert (ranked.median, ranked.p95) == (figures.median_turn_seconds, figures.p95_turn_seconds)
        parities.add(db.tuples(COUNT_TIMED, bounds).fetchall()[0][0] % 2)
    assert parities == {0, 1}


def test_lengths_that_json_rounds_are_ranked_in_sql(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    make(path, PEOPLE)
    change(path, SET_ALL_LONG_DECIMALS)
    db = open_for_reading(path)
    ranked = rank_turns(db, EVERYTHING)
    assert ranked is not None
    assert (ranked.median, ranked.p95) == (6.4, 6.4)
    db.close()


def test_few_turns_are_not_ranked_in_sql(db: SqliteEngine) -> None:
    assert rank_turns(db, {"since": NOW - 3600.0, "until": NOW}) is None


@pytest.mark.parametrize("lengths", [SET_ALL_LENGTHS, SET_ALL_LONG_DECIMALS, SET_UNLIKE_SAMPLE])
def test_ranks_are_exact_also_where_all_lengths_are_equal_or_the_sample_misleads(tmp_path: Path, lengths: str) -> None:
    path = tmp_path / "relay.db"
    make(path, PEOPLE)
    change(path, lengths)
    db, second = open_for_reading(path), open_for_reading(path)
    alone = stats_queries.stats(db, span=Span(), by=None, timezone=BOGOTA)
    assert stats_queries.stats(db, span=Span(), by=None, timezone=BOGOTA, beside=second) == alone
    db.close()
    second.close()


def _count(db: Queries) -> int:
    return int(db.execute("select count(*) from opt_outs").fetchone()[0])


def _opt_out(writer: SqliteEngine, number: int) -> None:
    writer.execute(
        "insert into opt_outs (phone_number, opted_out_at, source) values (:phone, 1, 'test')",
        {"phone": f"+57300{number:07d}"},
    )


def test_both_connections_see_the_moment_at_which_they_began(tmp_path: Path) -> None:
    writer = open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=NOW).connection
    db, second = open_for_reading(tmp_path / "relay.db"), open_for_reading(tmp_path / "relay.db")
    _opt_out(writer, 1)
    with snapshots(db, second) as shared:
        assert shared is second
        _opt_out(writer, 2)
        assert (_count(db), _count(second)) == (1, 1)
    assert (_count(db), _count(second)) == (2, 2)
    for connection in (db, second, writer):
        connection.close()


class _BusyWriter(SqliteEngine):
    """A first connection beside which somebody commits whenever it begins."""

    writer: SqliteEngine
    commits = 0
    busy = TRIES

    def begin_snapshot(self) -> None:
        """Begins, and lets the writer commit before the second connection can begin."""
        super().begin_snapshot()
        self.version()
        if self.commits < self.busy:
            self.commits += 1
            _opt_out(self.writer, self.commits)


@pytest.mark.parametrize(("busy", "meet"), [(3, True), (TRIES, False)])
def test_two_connections_that_saw_different_moments_begin_again_or_one_works_alone(
    tmp_path: Path, busy: int, meet: bool
) -> None:
    path = tmp_path / "relay.db"
    writer = open_for_writing(path, account_sid="AC1", now=NOW).connection
    db, second = _BusyWriter(path, isolation_level=None), open_for_reading(path)
    db.writer, db.busy = writer, busy
    with snapshots(db, second) as shared:
        assert (shared is second) == meet
        assert db.commits == busy
        assert _count(db) == busy
        if shared is not None:
            assert _count(shared) == busy
    for connection in (db, second, writer):
        connection.close()
