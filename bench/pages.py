"""How long the console's pages take with 100,000 conversations: `python -m bench.pages [--people N] [--file BIG.db]`.

Twenty requests of each page to a daemon of its own, after its search index is complete. Prints the medians, beside the
processor time that the daemon spent on each.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench.processes import cpu_of
from tests.big_ledger import make
from tests.console.visiting import Visitor, consoled
from tests.server.served import Served
from wa_relay.ledger.file import open_for_reading
from wa_relay.ledger.indexing import is_behind
from wa_relay.standins.twilio import TwilioStandin

TIMES = 20
PAGES = {
    "inbox": ("/console/", 200),
    "inbox, a name": ("/console/?q=Cliente+99", 200),
    "a thread": ("/console/conversations/500", 200),
    "campaigns by batch": ("/console/campaigns", 1000),
    "campaigns by day": ("/console/campaigns?by=day", 1000),
    "system": ("/console/system", 200),
}
"""What is asked, and the median in milliseconds that it should stay under."""


def main() -> None:
    """Fills a database, or copies one, and measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--file", type=Path, default=None, help="a file of tests.big_ledger, which is copied")
    given = parser.parse_args()
    twilio = TwilioStandin()
    with tempfile.TemporaryDirectory() as name:
        database = Path(name) / "wa-relay.db"
        if given.file is None:
            make(database, given.people)
        else:
            shutil.copyfile(given.file, database)
        with closing(sqlite3.connect(database)) as db, db:
            db.execute("update relay set account_sid = ?", (twilio.account_sid,))
        with consoled(Path(name), twilio=twilio) as served:
            wait_for_index(database)
            measure(served)


def wait_for_index(database: Path) -> None:
    """Waits until the search index is complete: its job would take the processor from the pages."""
    with closing(open_for_reading(database)) as db:
        while is_behind(db):
            time.sleep(1.0)


def measure(served: Served) -> None:
    """Asks for each page twenty times."""
    assert served.relay.process is not None
    pid = served.relay.process.pid
    visitor = Visitor(served)
    visitor.log_in("vera")
    print(f"{'page':<22}{'median':>10}{'worst':>10}{'processor':>12}{'limit':>10}")
    for name, (path, limit) in PAGES.items():
        taken, before = [], cpu_of(pid)
        for _ in range(TIMES):
            began = time.perf_counter()
            assert visitor.get(path).status_code == 200, path
            taken.append((time.perf_counter() - began) * 1000.0)
        spent = (cpu_of(pid) - before) / TIMES * 1000.0
        print(f"{name:<22}{statistics.median(taken):>7.0f} ms{max(taken):>7.0f} ms{spent:>9.0f} ms{limit:>7} ms")


if __name__ == "__main__":
    main()
