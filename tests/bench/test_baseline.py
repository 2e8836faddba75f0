"""The comparison of a run with the baseline."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import baseline
from bench.baseline import Compared, Reference
from bench.report import Row, at_least, at_most, machine_name, middle_rows

MACHINE = "AMD EPYC, family 25, model 17; Python 3.11.7"
FAST = Reference(handler=20_000.0, handler_cpu=0.05, commits=9_000.0)
SLOW = Reference(handler=10_000.0, handler_cpu=0.10, commits=4_000.0)
"""A machine of half the speed."""

RATE = Row("webhooks", "stored and answered", 6_000.0, "/s")
CPU = Row("webhooks", "processor time", 0.16, "s/1,000")
POLL_CPU = Row("poll", "ten changed: processor time", 0.09, "s")
TIME = at_most("growth", "start to first 200", 0.4, "s", 0.8)
MEMORY = at_most("messages", "resident, idle", 77.0, "MB", 80.0)
PART = at_least("webhooks", "part of the bare handler", 34.0, "%", 25.0)
BARE = Row("webhooks", "bare handler", 20_000.0, "/s", is_compared=False)
ROWS = (RATE, CPU, POLL_CPU, TIME, MEMORY, PART, BARE)


def compared(tmp_path: Path, row: Row, reference: Reference = FAST) -> Compared:
    baseline.write(ROWS, FAST, quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    written = baseline.read(quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    assert written is not None
    (found,) = baseline.compare([row], reference, written)
    return found


@pytest.mark.parametrize("row", ROWS[:-1], ids=lambda row: row.what)
def test_the_same_run_is_equal_to_its_baseline(tmp_path: Path, row: Row) -> None:
    found = compared(tmp_path, row)
    assert found.then == pytest.approx(row.value)
    assert found.worse == pytest.approx(0.0)
    assert not found.is_missed


@pytest.mark.parametrize(
    ("row", "factor", "missed"),
    [
        *((RATE, 0.92, False), (RATE, 0.90, True), (RATE, 2.0, False)),
        *((CPU, 1.09, False), (CPU, 1.12, True), (CPU, 0.5, False)),
        *((TIME, 1.12, True), (MEMORY, 1.12, True), (MEMORY, 0.5, False)),
        *((PART, 0.90, True), (PART, 1.5, False)),
    ],
)
def test_a_figure_that_is_more_than_10_percent_worse_in_its_own_direction_is_marked(
    tmp_path: Path, row: Row, factor: float, *, missed: bool
) -> None:
    assert compared(tmp_path, replace(row, value=row.value * factor)).is_missed is missed


@pytest.mark.parametrize(("row", "factor"), [(RATE, 0.5), (CPU, 2.0), (POLL_CPU, 2.0), (TIME, 2.0)])
def test_a_machine_of_half_the_speed_is_not_worse(tmp_path: Path, row: Row, factor: float) -> None:
    found = compared(tmp_path, replace(row, value=row.value * factor), SLOW)
    assert found.worse == pytest.approx(0.0)
    assert found.then == pytest.approx(row.value * factor)


def test_sizes_are_compared_as_they_are_on_every_machine(tmp_path: Path) -> None:
    assert compared(tmp_path, MEMORY, SLOW).worse == pytest.approx(0.0)


def test_a_run_of_some_benches_replaces_their_figures_alone(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    baseline.write((RATE, CPU), FAST, quick=False, machine=MACHINE, path=path)
    baseline.write((POLL_CPU, CPU), SLOW, quick=False, machine=MACHINE, whole=False, path=path)
    written = baseline.read(quick=False, machine=MACHINE, path=path)
    assert written is not None
    assert [each.then for each in baseline.compare((RATE, CPU, POLL_CPU), SLOW, written)] == [
        pytest.approx(RATE.value / 2.0),
        pytest.approx(CPU.value),
        pytest.approx(POLL_CPU.value),
    ]


def test_a_figure_that_was_zero_may_stay_zero_and_not_grow(tmp_path: Path) -> None:
    growth = at_most("openings", "resident, growth", 0.0, "MB", 3.0)
    baseline.write([growth], FAST, quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    written = baseline.read(quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    assert written is not None
    same, grown = baseline.compare([growth, replace(growth, value=1.0)], FAST, written)
    assert (same.is_missed, grown.is_missed) == (False, True)


def test_references_are_left_out_and_new_figures_are_shown_as_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline.write([RATE, BARE], FAST, quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    written = baseline.read(quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    assert written is not None
    found = baseline.compare([replace(RATE, value=1.0), CPU, BARE], FAST, written)
    assert [each.row.what for each in found] == [RATE.what, CPU.what]
    assert baseline.show(found) is False
    shown = capsys.readouterr().out
    assert "WORSE" in shown
    assert "new" in shown


def test_a_quick_run_is_not_compared_with_a_whole_one(tmp_path: Path) -> None:
    baseline.write(ROWS, FAST, quick=False, machine=MACHINE, path=tmp_path / "baseline.json")
    assert baseline.read(quick=True, machine=MACHINE, path=tmp_path / "baseline.json") is None
    assert baseline.read(quick=False, machine=MACHINE, path=tmp_path / "none.json") is None


def test_each_kind_of_machine_has_a_baseline_of_its_own(tmp_path: Path) -> None:
    other, path = MACHINE.replace("25", "26"), tmp_path / "baseline.json"
    baseline.write([RATE], FAST, quick=False, machine=MACHINE, path=path)
    assert baseline.read(quick=False, machine=other, path=path) is None
    baseline.write([replace(RATE, value=1.0)], SLOW, quick=False, machine=other, path=path)
    for machine, reference, value in ((MACHINE, FAST, 6_000.0), (other, SLOW, 1.0)):
        written = baseline.read(quick=False, machine=machine, path=path)
        assert written is not None
        assert [each.then for each in baseline.compare([RATE], reference, written)] == [pytest.approx(value)]


def test_the_machines_name_tells_processor_and_python() -> None:
    assert re.fullmatch(r".+, family \S+, model \S+; Python 3\.\d+\.\S+( without optimizations)?", machine_name())


def test_of_several_runs_each_figure_is_the_one_in_the_middle() -> None:
    runs = [[replace(RATE, value=rate), replace(CPU, value=cpu)] for rate, cpu in ((3.0, 0.1), (1.0, 0.3), (2.0, 0.2))]
    assert [row.value for row in middle_rows(runs)] == [2.0, 0.2]
    assert [row.value for row in middle_rows(runs[:1])] == [3.0, 0.1]
