"""What other daemons announce wakes the loops, at most every 50 ms."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from wa_relay.ledger.location import Location
from wa_relay.loops.bell import Wakers
from wa_relay.loops.daemon_wakeups import AT_MOST_EVERY, DaemonWakeups


def test_work_that_another_daemon_announces_rings_its_bell_when_it_is_due() -> None:
    async def scenario() -> None:
        wakers = Wakers()
        wakeups = DaemonWakeups(Location(Path()), 1, wakers, time.time)
        wakeups.hear({"send": 0.0, "turn": time.time() + 0.1})
        assert await wakers.send.wait(0.0)
        assert not await wakers.turn.wait(0.0)
        assert await wakers.turn.wait(10.0)
        assert not await wakers.media.wait(0.0)

    asyncio.run(scenario())


def test_many_announcements_ring_a_bell_at_most_every_fifty_milliseconds() -> None:
    async def scenario() -> None:
        wakers, rings = Wakers(), 0
        wakeups = DaemonWakeups(Location(Path()), 1, wakers, time.time)
        began = time.monotonic()
        while rings < 4:
            wakeups.hear({"send": 0.0})
            if await wakers.send.wait(0.001):
                wakers.send.clear()
                rings += 1
        assert time.monotonic() - began >= 3 * AT_MOST_EVERY * 0.9

    # Each announcement once put the next ring off by another 50 ms: this took a minute.
    asyncio.run(asyncio.wait_for(scenario(), 10.0))


def test_a_request_is_woken_by_what_another_daemon_has_sent() -> None:
    async def scenario() -> None:
        wakers = Wakers()
        wakeups = DaemonWakeups(Location(Path()), 1, wakers, time.time)
        waiting = asyncio.create_task(wakers.board.wait(7, 60.0))
        await asyncio.sleep(0)  # it begins to wait
        wakeups.hear({"moved": 0.0})
        assert await asyncio.wait_for(waiting, 10.0) is not None

    asyncio.run(scenario())
