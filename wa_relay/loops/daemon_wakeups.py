"""Wakes this daemon's loops by what other daemons on the database announce."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wa_relay.ledger.engine import Work
from wa_relay.ledger.location import Location
from wa_relay.loops.bell import Bell, Wakers
from wa_relay.model import Moment

AT_MOST_EVERY = 0.05
"""Seconds between two rings of one bell: each look of a daemon takes its turn among all writers."""


class DaemonWakeups:
    """Rings the bell of what has become due elsewhere; several announcements in a row ring once."""

    def __init__(self, place: Location, own_run: int, wakers: Wakers, clock: Callable[[], Moment]) -> None:
        self._place = place
        self._own_run = own_run
        self._bells: dict[Work, Bell] = {"send": wakers.send, "turn": wakers.turn, "media": wakers.media}
        self._board = wakers.board
        self._clock = clock
        # When each bell rings for what is due, or last did.
        self._rung_at: dict[Work, float] = dict.fromkeys(self._bells, 0.0)

    async def run(self) -> None:
        """Listens until it is cancelled; on a file it has nothing to do."""
        await self._place.listen(self._own_run, self.hear)

    def hear(self, announced: dict[Work, Moment]) -> None:
        """Rings when the work is due, but not more often than every `AT_MOST_EVERY`."""
        now, at = self._clock(), asyncio.get_running_loop().time()
        if announced.pop("moved", None) is not None:
            self._board.announce_all()
        for work, due in announced.items():
            ring = self._rung_at[work]
            if ring < at:  # else it is still to come, and serves this announcement too
                ring = max(at, ring + AT_MOST_EVERY)
            if due <= now:
                self._rung_at[work] = ring
            self._bells[work].ring_at(max(due, now + ring - at), now)
