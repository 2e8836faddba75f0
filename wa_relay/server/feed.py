"""The feed of events: read from the journal once, and written to every listener as the same bytes.

One task reads, four times a second and only while a client listens; the ledger's writer is not involved. Events go into
the listeners' sockets directly: a task and a queue for each listener would cost ten times as much (200 listeners). So
what a listener has not taken yet lies in its connection's buffer, and one that falls behind is cut off, not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wa_relay.ledger import events
from wa_relay.ledger.events import Event
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.reader import Reader
from wa_relay.logs import fail, say

LOOK_EVERY = 0.25
PAGE = 500
COMMENT_EVERY = 15.0
MOST_BEHIND, LONGEST_BEHIND = 1000, 10.0
"""Events, and seconds, that a listener may be behind (contract 9.2)."""

SOCKET_BUFFER, WRITE_BUFFER = 65_536, 16_384
"""Bytes. Small, so that a listener that does not read is noticed before megabytes wait in the kernel."""


_encode = json.JSONEncoder(ensure_ascii=False).encode
"""Made once: with a setting `json.dumps` makes a new encoder at each call (5.0 µs for an event instead of 3.6)."""


def as_bytes(event: Event) -> bytes:
    """Writes an event as a client receives it."""
    data: dict[str, str | int | None] = {
        "phone_number": event.phone,
        "conversation_id": f"conv_local_{event.conversation_id}",
    }
    if event.kind == "call":
        data["elevenlabs_conversation_id"] = event.call_key
    elif event.kind == "handler":
        data["handler"] = event.status
    else:
        data |= {"message_id": event.message_id, "status": event.status}
    return f"id: {event.id}\nevent: {event.kind}\ndata: {_encode(data)}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes for a listener, also as a chunk of HTTP/1.1, and how many events they hold.

    The chunk is made once for all listeners: at 6,000 webhooks a second each of them gets 65 kB with a page.
    """

    plain: bytes
    chunk: bytes
    count: int

    @classmethod
    def of(cls, texts: Sequence[bytes], count: int) -> Text:
        """Joins texts that hold `count` events."""
        plain = b"".join(texts)
        return cls(plain, b"%x\r\n%b\r\n" % (len(plain), plain) if plain else b"", count)


COMMENT = Text.of([b": nothing new\n\n"], 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events as bytes, all of them and each with its id."""

    whole: Text
    each: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, found: Sequence[Event]) -> Batch:
        """Writes events once, for all listeners."""
        each = tuple((event.id, as_bytes(event)) for event in found)
        return cls(Text.of([text for _, text in each], len(each)), each)

    def after(self, seen: int) -> Text:
        """The events after an id."""
        if not self.each or self.each[0][0] > seen:
            return self.whole
        rest = [text for number, text in self.each if number > seen]
        return Text.of(rest, len(rest))


class Listener:
    """One client's stream from the point at which it has caught up. `ended` is done when it is over.

    `seen` is the id up to which the client has the events. `chunked` is false for a client of HTTP/1.0.
    """

    def __init__(self, transport: asyncio.Transport, seen: int, *, chunked: bool) -> None:
        self.seen = seen
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._chunked = chunked
        self._behind = 0
        self._behind_since: float | None = None
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)

    def write(self, text: Text, now: float) -> None:
        """Writes events into the connection, or cuts off a listener that is too far behind. `now` is monotonic."""
        if self.ended.done():
            return
        if self._transport.is_closing():
            self.end()
            return
        # An empty buffer means that the kernel has taken everything: the client keeps up.
        if not self._transport.get_write_buffer_size():
            self._behind, self._behind_since = 0, None
        elif self._behind_since is None:
            self._behind_since = now
        self._behind += text.count
        late = self._behind_since is not None and now - self._behind_since > LONGEST_BEHIND
        if late or (self._behind_since is not None and self._behind > MOST_BEHIND):
            say("listener_cut_off", behind=self._behind)
            # Cut off, not slowed down: one client that does not read must not hold events in memory for all.
            self._transport.abort()
            self.end()
        elif text.plain:
            self._transport.write(text.chunk if self._chunked else text.plain)

    def end(self) -> None:
        """Ends the stream; the client connects again automatically."""
        if not self.ended.done():
            self.ended.set_result(None)


class Feed:
    """Reads the journal for all listeners."""

    def __init__(self, reader: Reader, monotonic: Callable[[], float]) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self._listeners: set[Listener] = set()
        self._somebody = asyncio.Event()
        self._position = 0
        self._closed = False

    def join(self, listener: Listener) -> bool:
        """Adds a listener that has everything up to `seen`. False if the feed is further: it has to catch up first."""
        if self._closed:
            listener.end()
            return True
        if not self._listeners:
            self._position = listener.seen
        elif listener.seen < self._position:
            return False
        self._listeners.add(listener)
        self._somebody.set()
        return True

    def leave(self, listener: Listener) -> None:
        """Removes a listener."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._somebody.clear()

    async def run(self) -> None:
        """Runs until cancelled, and ends every stream then."""
        commented_at = self._monotonic()
        try:
            while True:
                await self._somebody.wait()
                full = await self._pass_on()
                now = self._monotonic()
                if now - commented_at >= COMMENT_EVERY:
                    commented_at = now
                    self._comment()
                if not full:
                    await asyncio.sleep(LOOK_EVERY)
        finally:
            self._closed = True
            for listener in list(self._listeners):
                listener.end()

    async def _pass_on(self) -> bool:
        """Passes on what is new. Returns whether there may be more already."""
        position = self._position
        try:
            page = await self._reader.read(events.read_events, position, PAGE)
        except StorageUnavailable:
            return False
        except Exception as error:
            fail("feed_fault", error)
            return False
        if self._position != position:
            # The last listener left meanwhile, and another one came.
            return True
        self._position = page.last
        batch, now = Batch.of(page.events), self._monotonic()
        for listener in list(self._listeners):
            text = batch.after(listener.seen)
            listener.seen = max(listener.seen, page.last)
            listener.write(text, now)
        return page.full

    def _comment(self) -> None:
        now = self._monotonic()
        for listener in list(self._listeners):
            listener.write(COMMENT, now)
