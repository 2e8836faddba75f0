"""`GET /api/events`: what happens, as a stream of server-sent events (contract 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import HttpVersion11, web

from wa_relay.ledger import events
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.reader import Reader
from wa_relay.model import Moment
from wa_relay.server.access import SESSION_COOKIE, Access, Actor, actor_key
from wa_relay.server.answers import request_id
from wa_relay.server.feed import LONGEST_BEHIND, PAGE, Batch, Feed, Listener
from wa_relay.server.listener import Route

SESSIONS_EVERY = 0.5
"""Seconds between two looks whether a session still lasts: a stream ends within 1 s of it (contract 10)."""


class EventRoutes:
    """The route of the stream."""

    def __init__(self, access: Access, reader: Reader, clock: Callable[[], Moment]) -> None:
        self._access = access
        self._reader = reader
        self._feed = Feed(reader, asyncio.get_running_loop().time)
        self._clock = clock
        self._sessions: dict[Listener, web.Request] = {}

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (Route("GET", "/api/events", self.events, access="view"),)

    async def run(self) -> None:
        """Runs until cancelled: feeds the streams, and ends them then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed.run())
            group.create_task(self._check_sessions())

    async def events(self, http: web.Request) -> web.StreamResponse:
        """Streams events until the client leaves, falls behind or its session ends, or the daemon stops."""
        stream = web.StreamResponse(headers=_headers())
        if http.method == "HEAD":
            return stream
        after = await self._reader.read(
            events.position_after, http.headers.get("Last-Event-ID", "").strip(), self._clock()
        )
        await stream.prepare(http)
        transport = http.transport
        if transport is None:
            return stream
        # The id alone is not an event: it lets a client that has seen none yet continue from here.
        await stream.write(f": connected\nid: {after}\n\n".encode())
        listener = Listener(transport, after, chunked=http.version >= HttpVersion11)
        if not await self._catch_up(stream, listener):
            transport.abort()
            return stream
        actor: Actor = http[actor_key]
        if actor.source == "console":
            self._sessions[listener] = http
        try:
            await listener.ended
        finally:
            self._sessions.pop(listener, None)
            self._feed.leave(listener)
        return stream

    async def _check_sessions(self) -> None:
        """Ends the streams of sessions that are over; looks at each session once, however many streams it has."""
        while True:
            await asyncio.sleep(SESSIONS_EVERY)
            if not self._sessions:
                continue
            by_cookie: dict[str, list[Listener]] = {}
            for listener, http in self._sessions.items():
                by_cookie.setdefault(http.cookies.get(SESSION_COOKIE, ""), []).append(listener)
            for listeners in by_cookie.values():
                first = self._sessions.get(listeners[0])
                if first is not None and await self._access.session(first) is None:
                    for listener in listeners:
                        listener.end()

    async def _catch_up(self, stream: web.StreamResponse, listener: Listener) -> bool:
        """Writes what the client has missed, at its own pace, and joins it to the feed. False if that can't be done."""
        while True:
            try:
                page = await self._reader.read(events.read_events, listener.seen, PAGE)
                async with asyncio.timeout(LONGEST_BEHIND):
                    if page.events:
                        await stream.write(Batch.of(page.events).whole.plain)
            except (StorageUnavailable, TimeoutError, ConnectionError):
                return False
            listener.seen = page.last
            if not page.full and self._feed.join(listener):
                return True


def _headers() -> dict[str, str]:
    # A proxy that buffers would hold events back (nginx).
    return {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "X-Request-Id": request_id(),
        "Server": "wa-relay",
    }
