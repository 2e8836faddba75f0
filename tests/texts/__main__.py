"""`python -m tests.texts --texts 100000`: the long form."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.texts.way import Broken, Way, texts


def main() -> None:
    """Carries the texts and prints their number. Exits with 1 at the first that did not arrive whole."""
    parser = argparse.ArgumentParser(prog="python -m tests.texts", description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="repeat the random choices of a run")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wa-relay-texts-") as folder:
        sent = carry(Path(folder), asked.texts, seed)
    sys.stdout.write(
        f"seed {seed}: {asked.texts} texts arrived whole, in {sent} parts, {time.monotonic() - began:.0f} s\n"
    )


def carry(folder: Path, count: int, seed: int) -> int:
    """Carries generated texts; returns the number of parts in which they were sent back."""
    way = Way(folder)
    written = texts(random.Random(seed))
    way.ledger.db.execute("begin immediate")
    for number in range(count):
        try:
            way.carry(number, next(written))
        except Broken as error:
            sys.exit(f"seed {seed}, text {number}: {error}"[:4000])
        if number % 500 == 499:
            way.ledger.db.execute("commit")
            way.ledger.db.execute("begin immediate")
    way.ledger.db.execute("commit")
    way.ledger.db.close()
    return way.sent


if __name__ == "__main__":
    main()
