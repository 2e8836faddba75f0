"""The typing indicator: shown to a customer while the agent thinks. Best effort: nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from wa_relay.ledger import agent_input
from wa_relay.ledger.reader import Reader
from wa_relay.logs import say, warn

FIRST_AFTER = 1.0
"""Seconds after the agent was asked. Most answers that come sooner would end the indicator before it is seen."""

AGAIN_AFTER = 20.0
"""Seconds. Twilio ends the indicator after 25 s."""

ShowTyping = Callable[[str], Awaitable[None]]
"""Requests the indicator for the SID of an inbound message. Raises any error."""


class TypingIndicator:
    """Shows the indicator for turns that are being asked. A failure is logged once until it works again."""

    def __init__(self, reader: Reader, show: ShowTyping) -> None:
        self._reader = reader
        self._show = show
        self._failing = False

    async def run(self, turn_id: int) -> None:
        """Shows the indicator for one turn until it is cancelled."""
        await asyncio.sleep(FIRST_AFTER)
        while True:
            await self._request(turn_id)
            await asyncio.sleep(AGAIN_AFTER)

    async def _request(self, turn_id: int) -> None:
        try:
            sid = await self._reader.read(agent_input.newest_inbound, turn_id)
            if sid is not None:
                await self._show(sid)
                say("typing_shown", turn=turn_id, sid=sid)
        except Exception as error:
            if not self._failing:
                warn("typing_failed", turn=turn_id, error=error)
            self._failing = True
        else:
            self._failing = False
