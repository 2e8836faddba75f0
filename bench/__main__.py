"""`python -m bench [NAME …] [--quick] [--rounds N]`: measures, prints a table and stores it in bench/results/.

Then it prints each figure beside bench/baseline.json, and ends with 1 if one is more than 10 % worse.
`--write-baseline` writes that file instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

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
from bench.baseline import Reference
from bench.report import Bench, Row, Settings, shown, stored

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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="one round of each, without the big files: about a minute")
    parser.add_argument("--rounds", type=int, help="rounds of which the median counts (3, quick 1)")
    parser.add_argument("--people", type=int, help="customers of `growth`, ten messages each (100,000, quick 20,000)")
    parser.add_argument("--write-baseline", action="store_true", help="write bench/baseline.json instead of comparing")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}: there are {', '.join(BENCHES)}")
    began, rows, references = time.monotonic(), list[Row](), list[Reference]()
    with tempfile.TemporaryDirectory(prefix="wa-relay-bench-") as folder:
        quick = arguments.quick
        people = arguments.people or (20_000 if quick else 100_000)
        settings = Settings(Path(folder), arguments.rounds or (1 if quick else 3), quick, people)
        for name in arguments.names or (QUICK if arguments.quick else BENCHES):
            print(f"{name} …", file=sys.stderr, flush=True)
            references.append(webhooks.reference(settings))
            rows += BENCHES[name](settings)
    shown(rows)
    path = stored(rows, quick=arguments.quick, seconds=time.monotonic() - began)
    print(f"stored in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    reference = _middle(references)
    if arguments.write_baseline:
        baseline.write(rows, reference, quick=arguments.quick)
        print(f"the baseline is {baseline.BASELINE}")
    elif (earlier := baseline.read(quick=arguments.quick)) is None:
        print("there is no baseline of such a run: write one with --write-baseline")
    elif not baseline.show(baseline.compare(rows, reference, earlier)):
        sys.exit(1)


def _middle(references: list[Reference]) -> Reference:
    """The medians of what was measured before each bench."""
    return Reference(
        handler=median(each.handler for each in references),
        handler_cpu=median(each.handler_cpu for each in references),
        commits=median(each.commits for each in references),
    )


if __name__ == "__main__":
    main()
