"""One way to make an HTTP request: once, following no redirect, with a deadline and a limit on what is read.

ElevenLabs' REST client stays on httpx. A session's signed URL, Twilio and a gateway lie on hot paths, where a request
by aiohttp takes 65 µs of processor time and one by httpx 400 µs (measured on one machine, over loopback). The two
requests of every whole message go by `Poster`, for a third of that.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

RETRY_LEAST, RETRY_MOST = 1.0, 3600.0
"""The shortest and the longest `Retry-After` that counts, in seconds."""

_NO_TIMER = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
"""The library's own timer beside our deadline would be one more for every request."""


begin_by: ContextVar[float | None] = ContextVar("begin_by", default=None)
"""The `boot_time` until which the requests of this task may begin; None without a limit."""


def boot_time() -> float:
    """Seconds since the machine started, including those in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def may_begin() -> bool:
    """True unless this task is later than its `begin_by`."""
    limit = begin_by.get()
    return limit is None or boot_time() < limit


class TooLateToBegin(aiohttp.ClientConnectionError):
    """The connection came after the task's `begin_by`: nothing of the request was written."""


class PunctualConnector(aiohttp.TCPConnector):
    """Asks `may_begin` once more between the connection and the first byte of the request."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Returns a connection; raises `TooLateToBegin` and aiohttp's errors."""
        connection = await super().connect(req, traces, timeout)
        if may_begin():
            return connection
        connection.release()
        raise TooLateToBegin("the connection came too late")


class AnswerTooLarge(Exception):
    """The other side sends more than the limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with all of its body, or the beginning of it. The names of `headers` may be in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(
    http: aiohttp.ClientSession,
    method: str,
    url: str | URL,
    *,
    limit: int,
    within: float,
    cut: bool = False,
    **more: Any,
) -> Answer:
    """Makes one request and reads at most `limit` bytes of the answer, all `within` this number of seconds.

    A longer answer is cut, or raises `AnswerTooLarge`. Raises `TimeoutError` and aiohttp's errors.
    """
    async with (
        asyncio.timeout(within),
        http.request(method, url, allow_redirects=False, timeout=_NO_TIMER, **more) as answer,
    ):
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > limit:
                answer.close()
                if not cut:
                    raise AnswerTooLarge
                break
        return Answer(answer.status, answer.headers, bytes(body[:limit]))


class Poster:
    """Posts to one address again and again, over a session's connections.

    aiohttp prepares every request anew. Here the head is made once; aiohttp's connector and parser do the rest: a third
    of the processor time, a sixth of a whole message. This needs names of aiohttp that are not documented, so
    pyproject.toml caps its version, and tests/test_http.py compares the request with aiohttp's own.
    """

    def __init__(self, http: aiohttp.ClientSession, base_url: str, headers: Mapping[str, str]) -> None:
        self._http = http
        base = URL(base_url)
        self._path = base.raw_path.rstrip("/")
        # Its place is all that the connector asks for; its headers are those of every request.
        self._place = aiohttp.ClientRequest("POST", base, headers=headers, loop=asyncio.get_running_loop())
        own = {name: value for name, value in self._place.headers.items() if name != "Content-Length"}
        if any("\r" in value or "\n" in value for value in own.values()):
            raise ValueError("a header has a line break in it")
        self._head = "".join(f"{name}: {value}\r\n" for name, value in own.items()).encode()

    async def post(self, path: str, body: bytes, *, limit: int, within: float) -> Answer:
        """Makes one request to a path that is percent-encoded, below the address's own. Raises what `fetch` raises."""
        connector = self._http.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        async with asyncio.timeout(within):
            try:
                connection = await connector.connect(self._place, [], _NO_TIMER)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"no connection to {self._place.host} in time") from error
            try:
                answer = await self._exchange(connection, f"{self._path}{path}".encode("ascii"), body, limit)
            except BaseException:
                connection.close()
                raise
            # Kept for the next request, unless the other side wants it closed.
            connection.release()
            return answer

    async def _exchange(
        self, connection: aiohttp.connector.Connection, target: bytes, body: bytes, limit: int
    ) -> Answer:
        protocol = connection.protocol
        if protocol is None or protocol.transport is None:
            raise aiohttp.ClientConnectionResetError("the connection was closed as it was made")
        # As aiohttp does: an answer without a length ends with its connection.
        protocol.set_response_params(read_until_eof=True)
        protocol.transport.write(
            b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (target, self._head, len(body), body)
        )
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError("the answer is not HTTP") from error
        found = bytearray()
        async for chunk in content.iter_any():
            found += chunk
            if len(found) > limit:
                raise AnswerTooLarge
        return Answer(message.code, message.headers, bytes(found))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Reads `Retry-After` (RFC 9110, 10.2.3), kept within 1 s and 1 h. None without one that can be read.

    A date is compared with the answer's own `Date`: the clocks may differ.
    """
    asked = (headers.get("Retry-After") or headers.get("retry-after") or "").strip()
    if not asked:
        return None
    try:
        seconds = float(asked) if asked[0].isdigit() else _seconds_until(asked, headers)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(seconds, RETRY_LEAST), RETRY_MOST) if math.isfinite(seconds) else None


def _seconds_until(asked: str, headers: Mapping[str, str]) -> float:
    answered_at = headers.get("Date") or headers.get("date") or ""
    return (parsedate_to_datetime(asked) - parsedate_to_datetime(answered_at)).total_seconds()
