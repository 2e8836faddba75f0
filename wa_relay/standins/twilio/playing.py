"""Plays a fault to a request, over the wire."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from wa_relay.standins.twilio import shapes
from wa_relay.standins.twilio.faults import Fault
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.state import Message

_LONGEST_HOLD = 120.0
"""Seconds: longer than any client waits."""

JSON = {"Content-Type": "application/json"}
_BLOCK = b" " * (1024 * 1024)
_PROXY = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>proxy</body></html>"
_WORDS = {502: "502 Bad Gateway", 503: "503 Service Unavailable", 504: "504 Gateway Time-out"}

Answering = Callable[[], Awaitable[web.Response]]


async def play(stage: Stage, fault: Fault, request: web.BaseRequest, answer: Answering) -> web.StreamResponse:
    """Answers a request with a fault. `answer` does what is asked for and makes the true answer."""
    if fault.kind == "F4":
        return broken(request)
    await request.read()
    if fault.kind in ("F6", "F7", "F8", "F5"):
        return await _no_answer(stage, fault, request, answer)
    if fault.kind in ("F9", "F10", "F11", "F12", "F18", "F19", "F20"):
        if fault.makes:
            await answer()
        return _other_answer(stage, fault, request)
    # a GET makes nothing: its true answer is always there to be spoilt
    true = await answer() if fault.makes or request.method == "GET" else _invented(stage)
    return await _spoilt(fault, request, true)


async def _no_answer(stage: Stage, fault: Fault, request: web.BaseRequest, answer: Answering) -> web.StreamResponse:
    if fault.makes:
        await answer()
    if fault.kind == "F8":
        stage.go(_late(stage, fault, answer))
    if fault.kind in ("F7", "F8"):
        await asyncio.sleep(_LONGEST_HOLD if fault.hold is None else fault.hold)
    return broken(request)


async def _late(stage: Stage, fault: Fault, answer: Answering) -> None:
    await asyncio.sleep(fault.seconds)
    await answer()
    stage.journal.note("late", seconds=fault.seconds)


def _other_answer(stage: Stage, fault: Fault, request: web.BaseRequest) -> web.Response:
    match fault.kind:
        case "F11":
            page = _PROXY.format(_WORDS.get(fault.status, str(fault.status)))
            return web.Response(status=fault.status, text=page, content_type="text/html")
        case "F12":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return refusal(429, 20429, "Too Many Requests", headers)
        case "F18":
            return web.Response(status=307, headers={"Location": stage.elsewhere_url + request.raw_path})
        case "F19":
            return refusal(401, 20003, "Authenticate")
        case "F20":
            return refusal(400, fault.code, f"The request was refused with {fault.code}")
    return refusal(500, 20500, "An internal server error has occurred")


async def _spoilt(fault: Fault, request: web.BaseRequest, true: web.Response) -> web.StreamResponse:
    body = true.body if isinstance(true.body, bytes) else b""
    cut = body[: min(fault.at, max(0, len(body) - 1))]
    match fault.kind:
        case "F13" if fault.way == "cut":
            stream = await _begin(request, true.status, JSON | {"Content-Length": str(len(body) or 1)})
            await stream.write(cut)
            _close(request)
            return stream
        case "F13":
            return web.Response(status=true.status, body=cut, headers=JSON)
        case "F14":
            return web.Response(status=true.status, text=_PROXY.format("Welcome"), content_type="text/html")
        case "F15":
            return web.Response(status=true.status, body=shapes.encoded(_misshapen(fault, body)), headers=JSON)
        case "F16":
            return await _drip(fault, request, true.status, body)
        case "F17":
            return await _flood(fault, request, true.status)
    return true


def _misshapen(fault: Fault, body: bytes) -> dict[str, object]:
    content: dict[str, object] = json.loads(body)
    match fault.way:
        case "no_sid":
            content.pop("sid", None)
            content.pop("messages", None)
        case "null_sid":
            content |= {"sid": None, "messages": None}
        case "array":
            content |= {"sid": [content.get("sid")], "messages": {"0": None}}
        case _:
            content |= {"sid": 7, "status": {"is": "queued"}, "messages": "none", "error_code": "x", "date_created": 5}
    return content


async def _begin(request: web.BaseRequest, status: int, headers: dict[str, str]) -> web.StreamResponse:
    stream = web.StreamResponse(status=status, headers=headers)
    await stream.prepare(request)
    return stream


async def _drip(fault: Fault, request: web.BaseRequest, status: int, body: bytes) -> web.StreamResponse:
    stream = await _begin(request, status, JSON | {"Content-Length": str(len(body))})
    for place in range(len(body)):
        await stream.write(body[place : place + 1])
        await asyncio.sleep(fault.seconds)
    return stream


async def _flood(fault: Fault, request: web.BaseRequest, status: int) -> web.StreamResponse:
    packed = fault.way == "gzip"
    stream = web.StreamResponse(status=status, headers=JSON | ({"Content-Encoding": "gzip"} if packed else {}))
    stream.enable_chunked_encoding()
    await stream.prepare(request)
    pack, left = zlib.compressobj(wbits=31), fault.size
    while left > 0:
        block = _BLOCK[:left]
        left -= len(block)
        await stream.write(pack.compress(block) if packed else block)
        await asyncio.sleep(0)  # a flood leaves the others their turn
    if packed:
        await stream.write(pack.flush())
    await stream.write_eof()
    return stream


def refusal(status: int, code: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """Twilio's answer to what it refuses."""
    return web.Response(
        status=status, body=shapes.encoded(shapes.error(status, code, text)), headers=JSON | (headers or {})
    )


def _invented(stage: Stage) -> web.Response:
    """An answer about a message that does not exist."""
    now = stage.clock()
    one = Message(
        0, "SM" + "0" * 32, "outbound-api", "whatsapp:+573000000999", stage.senders[0], "", "queued", now, now
    )
    return web.Response(status=201, body=shapes.encoded(shapes.message(stage.account_sid, one)), headers=JSON)


def broken(request: web.BaseRequest) -> web.Response:
    """Breaks the request's connection with a TCP reset; what is returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        endpoint = transport.get_extra_info("socket")
        if endpoint is not None:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()
