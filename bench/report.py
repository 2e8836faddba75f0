"""Measurements, as rows for a table and for a file."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `beside` is the reference of the same run, `met` is None if the figure has no limit.

    `is_compared` is false for a figure that is not compared with earlier runs: one that does not measure the relay, a
    ratio of two that are compared, or a difference that varies from run to run.
    """

    bench: str
    what: str
    value: float
    unit: str
    beside: str = ""
    wanted: str = ""
    met: bool | None = None
    is_compared: bool = True


def at_least(bench: str, what: str, value: float, unit: str, least: float, beside: str = "") -> Row:
    """A figure with a lower limit."""
    return Row(bench, what, value, unit, beside, f"≥ {least:g}", value >= least)


def at_most(bench: str, what: str, value: float, unit: str, most: float, beside: str = "") -> Row:
    """A figure with an upper limit."""
    return Row(bench, what, value, unit, beside, f"≤ {most:g}", value <= most)


def middle(runs: Sequence[dict[str, float]], name: str) -> float:
    """The median of one figure over several runs."""
    return median(run[name] for run in runs)


def middle_rows(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Returns each figure's row of the run in which it was the median; with an even number of runs the lower one."""
    figures = zip(*runs, strict=True)
    return [sorted(rows, key=lambda row: row.value)[(len(rows) - 1) // 2] for rows in figures]


def shown(rows: Sequence[Row]) -> None:
    """Prints the table."""
    table = Table(title="wa-relay, measured", title_justify="left")
    for name in ("bench", "measure", "value", "", "beside", "wanted", ""):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    last = ""
    for row in rows:
        mark = {None: "", True: "met", False: "MISSED"}[row.met]
        table.add_row(
            row.bench if row.bench != last else "",
            row.what,
            f"{row.value:,.4g}" if row.value < 1000 else f"{row.value:,.0f}",
            row.unit,
            row.beside,
            row.wanted,
            mark,
        )
        last = row.bench
    Console(width=140).print(table)


def stored(rows: Sequence[Row], *, quick: bool, seconds: float) -> Path:
    """Stores the rows with the machine they are from; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    machine = {
        "cpus": os.cpu_count(),
        "name": machine_name(),
        "sqlite": sqlite3.sqlite_version,
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
    }
    data = {"quick": quick, "seconds": round(seconds, 1), "machine": machine, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def machine_name() -> str:
    """Names processor and Python. The names that clouds give (`AMD EPYC`) stand for several generations."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    named = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name, family, model = (named.get(key, "unknown") for key in ("model name", "cpu family", "model"))
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    python = f"Python {platform.python_version()}{'' if optimised else ' without optimizations'}"
    return f"{name}, family {family}, model {model}; {python}"


Bench = Callable[["Settings"], list[Row]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run: `rounds` of each measure, of which the median counts; `folder` is deleted afterwards.

    `people` are the customers of the big file, with ten messages each.
    """

    folder: Path
    rounds: int
    quick: bool
    people: int

    def size(self, whole: int, quick: int) -> int:
        """Chooses the usual size, or the smaller one in a quick run."""
        return quick if self.quick else whole
