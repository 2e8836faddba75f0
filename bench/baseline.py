"""The comparison with bench/baseline.json: each figure beside the one that was written there for this machine.

Machines of one kind differ, too. A rate or a time is therefore compared as a multiple of what the bare handler of
the same run does: rates by its rate, times by the time it takes for a request, processor time by its own. Sizes and
ratios are compared as they are. Another processor or another build of Python changes the proportions, by a third and
more: there, `bench.beside` measures an earlier commit instead.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.report import Row

BASELINE = Path(__file__).parent / "baseline.json"
TOLERANCE = 0.10
"""The share by which a figure may be worse than the baseline's."""

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


@dataclass(frozen=True, slots=True)
class Reference:
    """A run's bare handler (requests a second, processor seconds for 1,000), and SQLite's bare commits a second."""

    handler: float
    handler_cpu: float
    commits: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of this run beside the baseline's. `worse` is the share by which it is worse, negative if it is better.

    `then` is the baseline's figure as this machine would measure it. Both are None if the baseline lacks the figure.
    """

    row: Row
    then: float | None
    worse: float | None

    @property
    def is_missed(self) -> bool:
        """True if the figure is worse than the baseline allows."""
        return self.worse is not None and self.worse > TOLERANCE


def key_of(row: Row) -> str:
    """The name under which the baseline has a row."""
    return f"{row.bench}: {row.what} ({row.unit})"


def scale_of(row: Row, reference: Reference) -> float:
    """The factor that makes a figure independent of the machine: figure times factor."""
    if row.unit == "s/1,000" or ("processor time" in row.what and row.unit in SECONDS):
        return 1.0 / reference.handler_cpu
    if row.unit == "/s":
        return 1.0 / reference.handler
    return reference.handler if row.unit in SECONDS else 1.0


def is_more_better(row: Row) -> bool:
    """True for rates, and for what has a lower limit."""
    return row.unit == "/s" or row.wanted.startswith("≥")


def compare(rows: Sequence[Row], reference: Reference, baseline: dict[str, Any]) -> list[Compared]:
    """Compares the figures that are compared with earlier runs."""
    found = []
    for row in rows:
        if not row.is_compared:
            continue
        scaled = baseline["figures"].get(key_of(row))
        scale = scale_of(row, reference)
        if scaled is None:
            found.append(Compared(row, None, None))
        else:
            found.append(Compared(row, scaled / scale, worse(row.value * scale, scaled, more=is_more_better(row))))
    return found


def worse(now: float, then: float, *, more: bool) -> float:
    """Returns the share by which a figure is worse, negative if it is better. `more` is true if more is better."""
    better, other = (now, then) if more else (then, now)
    if better <= 0.0:
        return 0.0 if other <= 0.0 else float("inf")
    return other / better - 1.0


def write(
    rows: Sequence[Row],
    reference: Reference,
    *,
    quick: bool,
    machine: str,
    whole: bool = True,
    path: Path = BASELINE,
) -> None:
    """Writes the figures as the baseline of later runs on such a machine.

    A run of some benches (not `whole`) replaces the figures of these alone.
    """
    figures = {key_of(row): row.value * scale_of(row, reference) for row in rows if row.is_compared}
    written = _load(path)
    entry: dict[str, Any] = {"reference": asdict(reference), "figures": figures}
    if not whole and (earlier := written.get(_name_of(machine, quick=quick))):
        entry = {**earlier, "figures": earlier["figures"] | figures}
    written[_name_of(machine, quick=quick)] = entry
    path.write_text(json.dumps(written, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read(*, quick: bool, machine: str, path: Path = BASELINE) -> dict[str, Any] | None:
    """Reads the baseline. Returns None if the file has no such run on such a machine."""
    return _load(path).get(_name_of(machine, quick=quick))


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return loaded


def _name_of(machine: str, *, quick: bool) -> str:
    return f"{machine} (quick)" if quick else machine


def show(compared: Sequence[Compared]) -> bool:
    """Prints the comparison. Returns true if no figure is worse than the baseline allows."""
    table = Table(title="beside bench/baseline.json, as this machine would measure it", title_justify="left")
    for name in ("bench", "measure", "now", "baseline", "", "worse by", ""):
        table.add_column(name, justify="right" if name in ("now", "baseline", "worse by") else "left", overflow="fold")
    for each in compared:
        row = each.row
        then = "new" if each.then is None else f"{each.then:,.4g}"
        worse = "" if each.worse is None else f"{each.worse:+.0%}"
        table.add_row(row.bench, row.what, f"{row.value:,.4g}", then, row.unit, worse, "WORSE" * each.is_missed)
    Console(width=140).print(table)
    return not any(each.is_missed for each in compared)
