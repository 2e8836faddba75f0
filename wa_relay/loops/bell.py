"""Wakes the parts of the daemon: bells for the loops, a board for requests that wait for a message."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass, field

from wa_relay.model import Moment


@dataclass(frozen=True, slots=True)
class Move:
    """A message has moved. `sid` is Twilio's if it has just accepted the message, None for any other move."""

    sid: str | None = None


class Board:
    """The place where a request waits until a message moves."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, list[asyncio.Future[Move | None]]] = defaultdict(list)

    async def wait(self, message_id: int, within: float) -> Move | None:
        """Returns the message's move, None if `within` seconds pass first."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Move | None] = loop.create_future()
        timer = loop.call_later(within, _settle, future, None)
        self._waiting[message_id].append(future)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting[message_id].remove(future)
            if not self._waiting[message_id]:
                del self._waiting[message_id]

    def announce(self, message_id: int, move: Move = Move()) -> None:
        """Wakes the requests that wait on a message."""
        for future in self._waiting.get(message_id, ()):
            _settle(future, move)

    def announce_all(self) -> None:
        """Wakes every request: another daemon has moved some message, and each looks at its own."""
        for message_id in list(self._waiting):
            self.announce(message_id)


def _settle(future: asyncio.Future[Move | None], move: Move | None) -> None:
    if not future.done():
        future.set_result(move)


class Bell:
    """Wakes one loop: now, or at a moment that is known beforehand."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._at: Moment | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """Wakes the loop at once."""
        self._event.set()

    def ring_at(self, at: Moment, now: Moment) -> None:
        """Wakes the loop at `at`, or at once if that moment has passed."""
        if at <= now:
            self._event.set()
        elif self._at is None or at < self._at:
            self._cancel_timer()
            self._at = at
            self._timer = asyncio.get_running_loop().call_later(at - now, self.ring)

    def clear(self) -> None:
        """Forgets earlier rings. Call it before looking for work: a ring during the look counts."""
        self._event.clear()
        self._cancel_timer()

    async def wait(self, within: float | None = None) -> bool:
        """Returns True once the bell rings, False if `within` seconds pass first. It stays rung until `clear`."""
        # Not wait_for: Python 3.11's loses a cancellation that meets the bell, and the loop would never end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._event.wait()
        return self._event.is_set()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._at = None


@dataclass(frozen=True, slots=True)
class Wakers:
    """The bells of all loops, made before the loops themselves: each is given all of them and may ring any."""

    send: Bell = field(default_factory=Bell)
    turn: Bell = field(default_factory=Bell)
    lookup: Bell = field(default_factory=Bell)
    poll: Bell = field(default_factory=Bell)
    follow_up: Bell = field(default_factory=Bell)
    sweep: Bell = field(default_factory=Bell)
    media: Bell = field(default_factory=Bell)
    board: Board = field(default_factory=Board)
