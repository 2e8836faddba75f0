"""The connection under the application: a deadline for heads that trickle in, and quiet 400s.

aiohttp does not limit the time in which a request arrives, and it answers malformed requests with an echo and a
traceback in the log. Both are mended here. This needs private names of aiohttp, so pyproject.toml caps its version,
and tests/server/test_protocol.py fails when one of the names is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from wa_relay.server.answers import error_answer

ARRIVAL_DEADLINE = 10.0
"""Seconds in which a request must have arrived completely."""


Direct = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
direct_key = web.AppKey("direct", dict[str, Direct])
"""The key of an application's POST routes without a variable, by path."""


class Connection(RequestHandler):
    """One client's connection, closed when a request's head has not arrived in time.

    `deadline` is the loop's time at which the latest request must have arrived completely, with its body.
    """

    deadline = 0.0
    _arriving: asyncio.TimerHandle | None = None
    _began: float | None = None
    _body: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the clock for the first request."""
        super().connection_made(transport)
        self._close_at(asyncio.get_running_loop().time() + ARRIVAL_DEADLINE)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stops the clock."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Runs the clock from the first byte of a request until its head is complete."""
        now, heads = self._loop.time(), self._request_count
        begins = bool(data) and self._began is None and self._body.is_eof()
        super().data_received(data)
        if self._request_count > heads:
            self._stop()
            self.deadline = (now if self._began is None else self._began) + ARRIVAL_DEADLINE
            self._began, self._body = None, self._messages[-1][1]
        elif begins:
            self._began = now
            self._close_at(now + ARRIVAL_DEADLINE)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Reads on if reading was paused. aiohttp calls this after every body, and then parses an empty text."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what the parser refused. Nothing is echoed, nothing is logged as a traceback."""
        del request, status, exc, message
        answer = error_answer(400, "bad_request", "this is not a valid HTTP request.")
        answer.force_close()
        return answer

    def _close_at(self, moment: float) -> None:
        self._stop()
        self._arriving = asyncio.get_running_loop().call_at(moment, self.force_close)

    def _stop(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


class Runner(web.AppRunner):
    """aiohttp's runner of an application, with connections of our own.

    What is posted to a path without a variable is served past aiohttp's router and its chain of middlewares: they had
    4 % of a profile's samples under webhooks. Any other request, and the same path written otherwise, takes their way.
    """

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(app, handle_signals=False, shutdown_timeout=shutdown_timeout)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        direct = self.app[direct_key]

        def serve(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            found = direct.get(request.raw_path.partition("?")[0]) if request.method == "POST" else None
            return made.request_handler(request) if found is None else found(request)

        return _Server(serve, request_factory=made.request_factory)


class _Server(web.Server):
    _options: Mapping[str, Any] = {"access_log": None, "lingering_time": 2.0, "auto_decompress": False}

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)
