"""Faults that the stand-in plays instead of an answer, by route, planned or by seeded chance.

`FaultPlan` decides (pure), `play` does it to a request.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from aiohttp import web

from wa_relay.standins.elevenlabs.shapes import error

Kind = Literal[
    "status", "html", "slow", "hang", "reset", "garbage", "truncated", "broken", "lost", "drip", "huge", "bomb"
]
KINDS: tuple[str, ...] = get_args(Kind)

_MEGABYTE = 1024 * 1024
_HTML = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body>upstream</body></html>"
_CODES = {
    400: ("invalid_request", "Invalid request"),
    401: ("invalid_api_key", "Invalid API key"),
    402: ("payment_required", "The plan has no credits left"),
    403: ("missing_permissions", "The API key misses the permission convai_read"),
    404: ("not_found", "Not found"),
    429: ("rate_limit_exceeded", "Too many requests"),
    503: ("system_busy", "The system is busy"),
}

_MESSAGES = {
    "missing_permissions": "The API key you used is missing the permission convai_read to execute this operation.",
    "quota_exceeded": "This request exceeds your quota. You have 0 credits remaining.",
    "concurrent_limit_exceeded": "Too many concurrent requests",
    "system_busy": "The system is busy",
}

Answering = Callable[[], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    `status` answers with that HTTP status in the service's own form (`retry_after` as its header), `html` with the page
    of a proxy; `slow` answers truly after `seconds`, `hang` never, `reset` breaks the connection. `garbage` is 200 with
    no JSON, `truncated` the true answer cut in half, `broken` the same with the connection lost, `drip` the true answer
    a byte each `seconds`; `lost` does what was asked and breaks the connection. `huge` is `size` bytes, `bomb` as many
    packed by gzip. `code` names the refusal, like `missing_permissions` or `quota_exceeded`, where the status does not.
    """

    kind: Kind = "status"
    status: int = 500
    retry_after: str | None = None
    seconds: float = 1.0
    size: int = 100 * _MEGABYTE
    body: str | None = None
    code: str = ""

    def __post_init__(self) -> None:
        """Refuses a kind that is not played."""
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}: there are {', '.join(KINDS)}")


UNAUTHORIZED = Fault(status=401)
TOO_MANY = Fault(status=429, retry_after="1")
UNPROCESSABLE = Fault(status=422)
SERVER_ERROR = Fault(status=500)
BAD_GATEWAY = Fault("html", status=502)


@dataclass(slots=True)
class FaultPlan:
    """Chooses the next fault on a route: planned ones first, then by chance."""

    _planned: dict[str, deque[Fault]] = field(default_factory=dict)
    _dice: random.Random | None = None
    _share: float = 0.0
    _routes: frozenset[str] = frozenset()
    _choices: Sequence[Fault] = ()

    def next(self, route: str, fault: Fault, times: int = 1) -> None:
        """Plays the fault for the next requests of that route."""
        self._planned.setdefault(route, deque()).extend([fault] * times)

    def at_random(self, seed: int, share: float, faults: Iterable[Fault], routes: Iterable[str] = ()) -> None:
        """Plays one of the faults for that share of the requests of the given routes, or of all; a seed repeats it."""
        self._dice = random.Random(seed)  # noqa: S311 (has to be repeatable)
        self._share, self._choices, self._routes = share, tuple(faults), frozenset(routes)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._planned.clear()
        self._dice = None

    def take(self, route: str) -> Fault | None:
        """The fault for a request of that route, None for a true answer."""
        planned = self._planned.get(route)
        if planned:
            return planned.popleft()
        if self._dice is None or (self._routes and route not in self._routes):
            return None
        return self._dice.choice(self._choices) if self._dice.random() < self._share else None


async def play(fault: Fault, request: web.BaseRequest, answer: Answering) -> web.StreamResponse:
    """Answers a request with a fault; `answer` makes the true one, for faults that spoil it."""
    match fault.kind:
        case "status" | "html" | "garbage":
            return _wrong(fault)
        case "slow":
            await asyncio.sleep(fault.seconds)
            return await answer()
        case "hang":
            await asyncio.Event().wait()
        case "reset":
            reset(request)
        case "lost":
            await answer()
            reset(request)
        case "truncated" | "broken" | "drip":
            return await _spoiled(fault, request, await answer())
        case "huge" | "bomb":
            return await _flood(fault, request)
    return web.Response()


def _wrong(fault: Fault) -> web.Response:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
    if fault.kind == "garbage":
        return web.Response(text=fault.body or '{"batch_calls": [{]', content_type="application/json")
    if fault.kind == "html":
        return web.Response(text=fault.body or _HTML, status=fault.status, content_type="text/html", headers=headers)
    if fault.body is not None:
        return web.Response(text=fault.body, status=fault.status, content_type="application/json", headers=headers)
    if fault.status == 422:
        detail = [{"loc": ["query", "limit"], "msg": "Input should be a valid integer", "type": "int_parsing"}]
        return web.json_response({"detail": detail}, status=422, headers=headers)
    code, message = _CODES.get(fault.status, ("internal_error", "An internal error occurred"))
    if fault.code:
        code, message = fault.code, _MESSAGES.get(fault.code, message)
    return web.json_response(error(fault.status, code, message), status=fault.status, headers=headers)


def reset(request: web.BaseRequest) -> None:
    """Breaks the request's connection with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    endpoint = transport.get_extra_info("socket")
    if endpoint is not None:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _spoiled(fault: Fault, request: web.BaseRequest, true: web.StreamResponse) -> web.StreamResponse:
    body = true.body if isinstance(true, web.Response) and isinstance(true.body, bytes) else b"{}"
    half = body[: len(body) // 2]
    if fault.kind == "truncated":
        return web.Response(body=half, content_type="application/json")
    stream = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await stream.prepare(request)
    if fault.kind == "broken":
        await stream.write(half)
        reset(request)
        return stream
    for position in range(len(body)):
        await stream.write(body[position : position + 1])
        await asyncio.sleep(fault.seconds)
    return stream


async def _flood(fault: Fault, request: web.BaseRequest) -> web.StreamResponse:
    headers = {"Content-Type": "application/json"}
    if fault.kind == "bomb":
        headers["Content-Encoding"] = "gzip"
    stream = web.StreamResponse(headers=headers)
    stream.enable_chunked_encoding()
    await stream.prepare(request)
    pack = zlib.compressobj(wbits=31)
    block = b" " * _MEGABYTE
    for _ in range(-(-fault.size // _MEGABYTE)):
        await stream.write(pack.compress(block) if fault.kind == "bomb" else block)
    if fault.kind == "bomb":
        await stream.write(pack.flush())
    return stream
