"""Both engines in one run: stored inbound messages by the writer alone, one and several operations waiting.

`python -m bench.engines [SECONDS]`. The server comes from PyPI; its commits are as durable as SQLite's.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.engines import Cluster
from tests.ledger.conftest import RULES, call, written
from wa_relay.ledger import calls, inbox, store
from wa_relay.ledger.location import Location
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread

CUSTOMERS = 200


async def _measure(place: Location, waiting: int, seconds: float) -> tuple[float, float]:
    """Messages a second, and the 99th percentile of one in milliseconds."""
    now = time.time()
    ledger = LedgerThread(Ledger(place.open_for_writing(account_sid="AC1", now=now - 60.0).connection, RULES))
    await ledger.run(store.begin_run, now)
    for number in range(CUSTOMERS):
        await ledger.run(calls.record_call, call(f"conv_{number}", phone=_phone(number), ended_at=now), now)
    took: list[float] = []
    end = time.monotonic() + seconds

    async def write(lane: int) -> None:
        number = lane
        while time.monotonic() < end:
            began = time.perf_counter()
            message = written("Sí", sid=f"SM{time.time_ns()}{lane}", phone=_phone(number % CUSTOMERS))
            await ledger.run(inbox.record_inbound, message, time.time())
            took.append(time.perf_counter() - began)
            number += waiting

    await asyncio.gather(*(write(lane) for lane in range(waiting)))
    await ledger.close()
    took.sort()
    return len(took) / seconds, took[int(0.99 * len(took))] * 1000.0


def _phone(number: int) -> str:
    return f"+573{number:09}"


def main() -> None:
    """Prints a table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    cluster = Cluster(durable=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            print("| waiting | SQLite, messages/s | p99, ms | PostgreSQL, messages/s | p99, ms | ratio |")
            print("|---|---|---|---|---|---|")
            for waiting in (1, 8, 64):
                file = Location(Path(folder) / f"{waiting}.db")
                rate, late = asyncio.run(_measure(file, waiting, seconds))
                server_rate, server_late = asyncio.run(_measure(Location(Path(), cluster.create()), waiting, seconds))
                print(
                    f"| {waiting} | {rate:,.0f} | {late:.1f} | {server_rate:,.0f} | {server_late:.1f} "
                    f"| {server_rate / rate:.2f} |"
                )
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
