"""`python -m tests.crash --kills 10000`: the long form of the crash machine."""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.crash.machine import Machine, Outcome, Plan
from tests.crash.traffic import KINDS


def main() -> None:
    """Runs, prints what was met and every broken promise, and exits with 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None, help="repeat the random choices of a run")
    parser.add_argument("--real", type=int, default=None, help="kills of a daemon that is started as a user starts it")
    parser.add_argument("--without", nargs="+", choices=KINDS, default=[], help="leave out these kinds of traffic")
    parser.add_argument(
        "--people", type=int, default=0, help="customers in the database before, with ten messages each"
    )
    parser.add_argument("--folder", type=Path, default=None, help="keep the run's files there")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1_000_000)
    real = chosen.real if chosen.real is not None else min(200, max(1, chosen.kills // 20))
    kinds = frozenset(KINDS) - set(chosen.without)
    _say(f"seed {seed}, commit {_commit()}, {chosen.kills} kills, {real} of them after a real start")
    _say(f"traffic: texts, {', '.join(kind for kind in KINDS if kind in kinds)}")
    with tempfile.TemporaryDirectory(prefix="wa-relay-crash-") as made:
        folder = chosen.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(Machine(folder, Plan(chosen.kills, seed, real, kinds, chosen.people), _say).run())
    report(outcome)
    sys.exit(1 if outcome.verdict.broken else 0)


def report(outcome: Outcome) -> None:
    """Prints the figures, what was met, and every broken promise."""
    verdict = outcome.verdict
    _say(f"{outcome.kills} kills in {outcome.seconds:.0f} s, {outcome.real} real starts")
    if outcome.starts:
        ordered = sorted(outcome.starts)
        _say(f"start to listening: median {median(ordered):.2f} s, worst {ordered[-1]:.2f} s of {len(ordered)}")
    _say(f"at rest {outcome.settled_after:.1f} s after the last fault")
    for name, count in sorted(verdict.figures.items()):
        _say(f"  {name}: {count}")
    _say("met:")
    for name, count in sorted(verdict.hit.items()):
        _say(f"  {name}: {count}")
    for words in verdict.broken[:60]:
        _say(f"BROKEN {words}")
    _say(f"{len(verdict.broken)} broken promises")


def _commit() -> str:
    arguments = subprocess.run(("git", "describe", "--always", "--dirty"), capture_output=True, text=True, check=False)
    return arguments.stdout.strip() or "unknown"


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
