"""How the parts of the daemon wake each other: a bell for a worker, a board for who waits for a message."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

from wa_relay.model import Moment


class Board:
    """Where a request waits for what becomes of a message."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, list[asyncio.Future[None]]] = defaultdict(list)

    async def wait(self, message_id: int, within: float) -> bool:
        """True when the message moved within so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[message_id].append(future)
        try:
            await asyncio.wait_for(future, within)
        except TimeoutError:
            return False
        finally:
            self._waiting[message_id].remove(future)
            if not self._waiting[message_id]:
                del self._waiting[message_id]
        return True

    def tell(self, message_id: int) -> None:
        """Wakes whoever waits for a message."""
        for future in self._waiting.get(message_id, ()):
            if not future.done():
                future.set_result(None)


class Bell:
    """Wakes one worker: now, or at a moment that is known beforehand."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._at: Moment | None = None

    def ring(self) -> None:
        """Wakes the worker at once."""
        self._event.set()

    def ring_at(self, at: Moment, now: Moment) -> None:
        """Wakes the worker at `at`, or at once when that has come."""
        if at <= now:
            self._event.set()
        elif self._at is None or at < self._at:
            self._at = at
            # A worker that sleeps past the moment has to be told of it.
            asyncio.get_running_loop().call_later(at - now, self.ring)

    def clear(self) -> None:
        """Forgets what was rung for: the worker is about to look."""
        self._event.clear()
        self._at = None

    async def wait(self, within: float) -> None:
        """Returns when the bell rings, or after so many seconds."""
        # Not wait_for: Python 3.11's loses a cancellation that meets the bell, and the loop would never end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._event.wait()
