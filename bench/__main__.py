"""`python -m bench [NAME …] [--quick] [--rounds N]`: measures, prints a table and stores it in bench/results/.

Then it prints each figure beside the one of bench/baseline.json for this machine. A bench with a figure that is more
than 10 % worse is run twice more, and the medians count; it ends with 1 if one is still worse. `--write-baseline`
writes into that file instead; with names, the figures of these benches alone. With another number of `--people`
there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import (
    baseline,
    commands,
    growth,
    loop,
    messages,
    openings,
    polling,
    postgres,
    scraping,
    voice_notes,
    webhooks,
)
from bench.baseline import Compared, Reference, key_of
from bench.report import Bench, Row, Settings, machine_name, middle_rows, shown, stored

BENCHES: dict[str, Bench] = {
    "webhooks": webhooks.webhooks,
    "postgres": postgres.postgres,
    "wake": postgres.wake,
    "listeners": webhooks.listeners,
    "scraping": scraping.scraping,
    "slow_sync": webhooks.slow_sync,
    "messages_http": messages.messages_http,
    "messages_websocket": messages.messages_websocket,
    "latency_http": messages.latency_http,
    "latency_websocket": messages.latency_websocket,
    "loop": loop.loop,
    "poll": polling.poll,
    "commands": commands.commands,
    "openings": openings.openings,
    "growth": growth.growth,
    "voice_notes": voice_notes.voice_notes,
}
QUICK = tuple(name for name in BENCHES if name not in ("growth", "openings", "latency_websocket", "voice_notes"))


AGAIN = 2
"""Further runs of a bench with a figure that is worse than the baseline's. Then the medians of three runs count."""


class Measurements:
    """What the benches measured, run by run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runs: dict[str, list[list[Row]]] = {}
        self._references: list[Reference] = []

    def measure(self, name: str) -> None:
        """Runs a bench once more."""
        print(f"{name} …", file=sys.stderr, flush=True)
        runs = self._runs.setdefault(name, [])
        settings = replace(self._settings, folder=self._settings.folder / f"{name}-{len(runs)}")
        settings.folder.mkdir()
        self._references.append(webhooks.reference(settings))
        runs.append(BENCHES[name](settings))
        shutil.rmtree(settings.folder)

    @property
    def rows(self) -> list[Row]:
        """All figures, the medians of the runs."""
        return [row for runs in self._runs.values() for row in middle_rows(runs)]

    @property
    def reference(self) -> Reference:
        """The medians of what was measured before each bench."""
        return Reference(
            handler=median(each.handler for each in self._references),
            handler_cpu=median(each.handler_cpu for each in self._references),
            commits=median(each.commits for each in self._references),
        )

    def compared(self, earlier: dict[str, Any]) -> list[Compared]:
        """Compares with a baseline. Benches with a figure that is worse are run again first."""
        compared = baseline.compare(self.rows, self.reference, earlier)
        worse = {key_of(each.row) for each in compared if each.is_missed}
        for name, runs in list(self._runs.items()):
            if any(key_of(row) in worse for row in runs[0]):
                for _ in range(AGAIN):
                    self.measure(name)
        return baseline.compare(self.rows, self.reference, earlier)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="one round of each, without the big files: about a minute")
    parser.add_argument("--rounds", type=int, help="rounds of which the median counts (3, quick 1)")
    parser.add_argument("--people", type=int, help="customers of `growth`, ten messages each (100,000, quick 20,000)")
    parser.add_argument("--write-baseline", action="store_true", help="write into bench/baseline.json instead")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}: there are {', '.join(BENCHES)}")
    began, quick = time.monotonic(), arguments.quick
    usual = 20_000 if quick else 100_000
    people = arguments.people or usual
    if people != usual and arguments.write_baseline:
        parser.error(f"a baseline has {usual:,} people")
    measures_only = arguments.write_baseline or people != usual
    earlier = None if measures_only else baseline.read(quick=quick, machine=machine_name())
    compared: list[Compared] | None = None
    with tempfile.TemporaryDirectory(prefix="wa-relay-bench-") as folder:
        measurements = Measurements(Settings(Path(folder), arguments.rounds or (1 if quick else 3), quick, people))
        for name in arguments.names or (QUICK if quick else BENCHES):
            measurements.measure(name)
        if earlier is not None:
            compared = measurements.compared(earlier)
    rows = measurements.rows
    shown(rows)
    path = stored(rows, quick=quick, seconds=time.monotonic() - began)
    print(f"stored in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    if arguments.write_baseline:
        whole = not arguments.names
        baseline.write(rows, measurements.reference, quick=quick, machine=machine_name(), whole=whole)
        print(f"the baseline is in {baseline.BASELINE}")
    elif people != usual:
        print(f"no comparison: the baseline has {usual:,} people")
    elif compared is None:
        print(
            f"There is no baseline of such a run on this machine ({machine_name()}): write one with --write-baseline,"
        )
        print("or measure an earlier commit beside this one: python -m bench.beside --help")
    elif not baseline.show(compared):
        sys.exit(1)


if __name__ == "__main__":
    main()
