"""`python -m bench.beside FOLDER [NAME …]`: the benches of another checkout and of this one, in turn on this machine.

FOLDER is a checkout of an earlier commit with its own `.venv` (`make .venv/.installed`); each side runs its
own `bench/`. A bench with a figure that is more than 10 % worse here is run twice more on both sides, and the medians
count. Ends with 1 if one is still worse.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.__main__ import AGAIN, BENCHES
from bench.baseline import TOLERANCE, is_more_better, key_of, worse
from bench.processes import ROOT
from bench.report import Row


@dataclass(slots=True)
class Figure:
    """One figure of the bench `name`: what was measured in the other checkout and in this one, run by run."""

    name: str
    row: Row
    then: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)

    @property
    def worse(self) -> float:
        """The share by which this checkout's median is worse, negative if it is better."""
        return worse(median(self.now), median(self.then), more=is_more_better(self.row))


def pair(figures: dict[str, Figure], name: str, then: Sequence[Row], now: Sequence[Row]) -> None:
    """Adds the figures of one bench, of a run of both sides. A figure that one side lacks is left out."""
    earlier = {key_of(row): row for row in then}
    for row in now:
        if row.is_compared and (other := earlier.get(key_of(row))) is not None:
            figure = figures.setdefault(key_of(row), Figure(name, row))
            figure.then.append(other.value)
            figure.now.append(row.value)


def measured(folder: Path, name: str, rounds: int) -> list[Row]:
    """Runs one bench of a checkout. Raises RuntimeError if it stored no result."""
    results = folder / "bench" / "results"
    before = set(results.glob("*.json"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(folder / ".venv" / "bin" / "python"), "-m", "bench", name, "--rounds", str(rounds)]
    # It ends with 1 if its own baseline was better.
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)
    made = set(results.glob("*.json")) - before
    if len(made) != 1:
        raise RuntimeError(f"{folder}: the bench {name} stored no result.")
    rows: list[dict[str, Any]] = json.loads(made.pop().read_text(encoding="utf-8"))["rows"]
    # An earlier commit's rows may have other fields beside these.
    known = [each.name for each in fields(Row)]
    return [Row(**{name: row[name] for name in known if name in row}) for row in rows]


def shown(figures: Sequence[Figure], then: Path) -> None:
    """Prints the figures side by side."""
    table = Table(title=f"in turn with {then}", title_justify="left")
    for name in ("bench", "measure", "then", "now", "", "worse by", "runs", ""):
        table.add_column(name, justify="right" if name in ("then", "now", "worse by", "runs") else "left")
    for each in figures:
        row, values = each.row, [f"{median(side):,.4g}" for side in (each.then, each.now)]
        mark = "WORSE" if each.worse > TOLERANCE else ""
        table.add_row(row.bench, row.what, *values, row.unit, f"{each.worse:+.0%}", str(len(each.now)), mark)
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("folder", type=Path, help="the other checkout")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(BENCHES)}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median counts (3)")
    arguments = parser.parse_args()
    then, figures = arguments.folder.resolve(), dict[str, Figure]()

    def measure(name: str) -> None:
        print(f"{name} …", file=sys.stderr, flush=True)
        pair(figures, name, *(measured(side, name, arguments.rounds) for side in (then, ROOT)))

    for name in arguments.names or BENCHES:
        measure(name)
    for name in {figure.name: None for figure in figures.values() if figure.worse > TOLERANCE}:
        for _ in range(AGAIN):
            measure(name)
    shown(list(figures.values()), then)
    if any(figure.worse > TOLERANCE for figure in figures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
