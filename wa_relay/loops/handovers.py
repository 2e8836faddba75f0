"""Ends handovers: gives conversations back to the agent when their handler's time is over."""

from __future__ import annotations

from collections.abc import Callable

from wa_relay.ledger import handover, human_messages
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say
from wa_relay.loops.bell import Bell, Wakers
from wa_relay.model import Moment

AT_ONCE = 50
LONGEST_REST = 1.0
"""Seconds between two looks: a takeover may end sooner than a longer pause would."""

KEYS_EVERY = 3600.0
"""Seconds between two looks for keys that are too old."""


class HandoverKeeper:
    """Ends takeovers, requests and mutes in time."""

    def __init__(self, ledger: LedgerThread, clock: Callable[[], Moment], wakers: Wakers) -> None:
        self._ledger = ledger
        self._clock = clock
        self._wakers = wakers
        self._rest = Bell()
        self._keys_at = 0.0

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                busy = await self._look()
            except StorageUnavailable:
                busy = False
            except Exception as error:
                fail("handover_fault", error)
                busy = False
            if not busy:
                await self._rest.wait(LONGEST_REST)

    async def _look(self) -> bool:
        now = self._clock()
        ended = await self._ledger.run(handover.end_due, AT_ONCE, now)
        for conversation_id, ending in ended:
            say("handover_ended", conversation=conversation_id, why=ending)
        if ended:
            self._wakers.turn.ring()
        if now >= self._keys_at:
            await self._ledger.run(human_messages.forget_old_keys, now)
            self._keys_at = now + KEYS_EVERY
        return len(ended) == AT_ONCE
