"""Requests that arrive in small pieces, and never whole."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

from tests.server.served import head_of


def trickled(connection: socket.socket, pieces: Iterator[bytes]) -> float:
    """Sends a piece now and then until the daemon closes the connection; returns the seconds until then."""
    began = time.monotonic()
    connection.settimeout(0.4)
    with connection:
        while time.monotonic() - began < 20:
            try:
                connection.sendall(next(pieces))
                if connection.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - began


def _head_by_bytes() -> Iterator[bytes]:
    yield b"GET /health HTTP/1.1\r\nHost: relay\r\nX-A: "
    while True:
        yield b"a"


def _body_by_bytes(path: str, media_type: str) -> Iterator[bytes]:
    yield head_of(path, Content_Type=media_type, Content_Length=1000)
    while True:
        yield b" "


def _head_and_then_body() -> Iterator[bytes]:
    head = head_of("/api/call-completed", Content_Type="application/json", Content_Length=1000)
    for index in range(10):
        yield head[index : index + 1]
    yield head[10:]
    while True:
        yield b" "


def _nothing() -> Iterator[bytes]:
    while True:
        yield b""


def _after_an_answer() -> Iterator[bytes]:
    yield head_of("/health", "GET")
    yield from _head_by_bytes()


TRICKLES: dict[str, Callable[[], Iterator[bytes]]] = {
    "head": _head_by_bytes,
    "body": lambda: _body_by_bytes("/api/call-completed", "application/json"),
    "form": lambda: _body_by_bytes("/webhook/twilio/incoming", "application/x-www-form-urlencoded"),
    "webhook": lambda: _body_by_bytes("/webhook/elevenlabs/post-call", "application/json"),
    "head and then body": _head_and_then_body,
    "nothing": _nothing,
    "after an answer": _after_an_answer,
}
