"""A request's body: read within its limit and its time, and refused if it is of another type."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from aiohttp import web

from wa_relay.server.answers import HttpError
from wa_relay.server.protocol import ARRIVAL_DEADLINE, Connection

FORM = "application/x-www-form-urlencoded"
MIB, KIB = 1024 * 1024, 1024
MOST_FIELDS = 50

body_key = web.RequestKey("body", bytes)
"""The key under which a request keeps its body once it has been read."""


async def read_body(http: web.BaseRequest, limit: int, *, streams: bool) -> bytes:
    """Returns the body if it has at most `limit` bytes. With `streams`, it is left to the route, and b"" returned."""
    if not streams and http.content.is_eof() and http.content.total_bytes <= limit:
        # The usual case: all of it has arrived, and there is nothing to wait for.
        return http.content.read_nowait()
    announced = http.content_length
    # Refused by its head: a client that waits for 100 Continue never sends the body.
    if announced is not None and announced > limit and not streams:
        raise _too_large(limit)
    if http.headers.get("Expect", "").lower() == "100-continue" and http.transport is not None:
        http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return b"" if streams else await _read(http, limit)


def require_media_type(http: web.BaseRequest, media_types: tuple[str, ...]) -> None:
    """Raises `HttpError` (415) unless the body is of one of these types and not encoded."""
    if http.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise HttpError(415, "unsupported_media_type", "send the body without a content encoding.")
    if media_types and http.content_type not in media_types:
        raise HttpError(415, "unsupported_media_type", f"send the body as {media_types[0]}.")


def form_fields(body: bytes) -> dict[str, str]:
    """Reads a form of a page; of a field that is given twice, the last value. Empty for one with over 50 fields."""
    try:
        given = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in given.items()}


def arrival(http: web.BaseRequest) -> asyncio.Timeout:
    """Limits the time in which a request must have arrived completely, counted from its first byte."""
    connection = http.protocol
    if isinstance(connection, Connection):
        return asyncio.timeout_at(connection.deadline)
    return asyncio.timeout(ARRIVAL_DEADLINE)


def too_slow(http: web.BaseRequest) -> ConnectionError:
    """Closes the connection of a request whose body trickles in, and returns the error to raise."""
    # No answer: a client that sends a byte a second would read it just as slowly.
    if http.transport is not None:
        http.transport.close()
    return ConnectionResetError("the request did not arrive within 10 s")


def target(http: web.BaseRequest) -> str:
    """Returns path and query as they arrived; a proxy may write the whole address before them."""
    raw = http.raw_path
    scheme, mark, rest = raw.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    return raw


async def _read(http: web.BaseRequest, limit: int) -> bytes:
    chunks, size = [], 0
    try:
        async with arrival(http):
            async for chunk in http.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise too_slow(http) from None
    except web.RequestPayloadError:
        raise HttpError(400, "bad_request", "the body does not match its headers.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> HttpError:
    size = f"{limit // MIB} MiB" if limit >= MIB else f"{limit // KIB} KiB"
    return HttpError(413, "too_large", f"a body here has at most {size}.")
