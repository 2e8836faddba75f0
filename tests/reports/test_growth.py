"""The growth of a report's cost with one customer's calls: counted in SQLite's steps, so that no clock decides."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.story import Story
from wa_relay.ledger.file import open_for_reading
from wa_relay.reports import stats_queries
from wa_relay.reports.spans import Span
from wa_relay.reports.stats_queries import ACCEPTED, COUNT_MESSAGES, SELECT_CALLS, Grouping

FEW, MANY = 100, 400


def _steps(path: Path, by: Grouping | None) -> int:
    db = open_for_reading(path)
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    db.set_progress_handler(count, 100)
    found = stats_queries.stats(db, span=Span(), by=by, timezone=ZoneInfo("America/Bogota"))
    db.close()
    assert found.total.replied == found.total.calls
    return counted[0]


def _write(story: Story, calls: int) -> None:
    """Calls Ana, writes to her and has her answer, again and again."""
    story.ledger.db.execute("begin")
    for number in range(calls):
        story.call(f"conv_{number}", batch_id=f"b{number % 9}", batch_name=f"Lote {number % 9}")
        ((_, sid),) = story.send()
        story.receipt(sid, "read")
        story.now += 60.0
        story.write("¿precio?")
        story.now += 60.0
    story.ledger.db.execute("commit")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A database for each number of calls."""
    folder = tmp_path_factory.mktemp("growth")
    for calls in (FEW, MANY):
        story = Story(folder / f"{calls}.db")
        _write(story, calls)
        story.close()
    return {calls: folder / f"{calls}.db" for calls in (FEW, MANY)}


@pytest.mark.parametrize("by", [None, "day", "batch", "group", "agent"])
def test_a_call_costs_a_report_the_same_if_its_customer_has_many(files: dict[int, Path], by: Grouping | None) -> None:
    steps = {calls: _steps(path, by) / calls for calls, path in files.items()}
    assert steps[MANY] <= 1.5 * steps[FEW]


@pytest.mark.parametrize(("key", "grouped"), [("null", ""), ("floor(m.accepted_at / 900)", "group by 1")])
def test_the_messages_of_a_span_are_counted_in_the_order_of_an_index_that_knows_the_span(
    files: dict[int, Path], key: str, grouped: str
) -> None:
    with closing(open_for_reading(files[FEW])) as db:
        query = "explain query plan " + COUNT_MESSAGES.format(key=key, accepted=ACCEPTED, grouped=grouped)
        plan = [row["detail"] for row in db.execute(query, {"since": 1.0, "until": 2.0})]
    assert len(plan) == 1, plan
    assert plan[0].startswith("SEARCH m USING COVERING INDEX messages_by_quarter"), plan


def test_no_wide_row_is_visited_to_learn_what_became_of_a_call(files: dict[int, Path]) -> None:
    with closing(open_for_reading(files[FEW])) as db:
        query = "explain query plan " + SELECT_CALLS.format(key="null", ended="true")
        plan = [row["detail"] for row in db.execute(query, {})]
    tables = [step for step in plan if step.startswith(("SEARCH", "SCAN"))]
    assert len(tables) == 4, plan
    assert all("COVERING INDEX" in step for step in tables), plan
