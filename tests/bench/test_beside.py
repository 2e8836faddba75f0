"""The comparison of two checkouts in turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.beside import Figure, pair, shown
from bench.report import Row, at_least

RATE = Row("webhooks", "stored and answered", 6_000.0, "/s")
TIME = Row("webhooks", "p50", 4.0, "ms")
PART = at_least("webhooks", "part of the bare handler", 50.0, "%", 25.0)
BARE = Row("webhooks", "bare handler", 20_000.0, "/s", is_compared=False)


def test_the_medians_of_all_runs_are_compared_each_in_its_own_direction() -> None:
    figures: dict[str, Figure] = {}
    for factor in (0.7, 1.0, 0.9):
        then, now = (
            [RATE, TIME, PART, BARE],
            [replace(row, value=row.value * factor) for row in (RATE, TIME, PART, BARE)],
        )
        pair(figures, "webhooks", then, now)
    assert [(each.row.what, round(each.worse, 3)) for each in figures.values()] == [
        (RATE.what, 0.111),
        (TIME.what, -0.1),
        (PART.what, 0.111),
    ]


def test_a_figure_that_one_side_lacks_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    figures: dict[str, Figure] = {}
    pair(figures, "webhooks", [RATE], [replace(RATE, value=3_000.0), TIME])
    shown(list(figures.values()), Path("before"))
    table = capsys.readouterr().out
    assert "6,000" in table
    assert "+100%" in table
    assert "WORSE" in table
    assert TIME.what not in table
