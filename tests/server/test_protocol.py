"""aiohttp's private names that our connection needs. If one is gone, the deadline for heads is gone too."""

from __future__ import annotations

import asyncio
import inspect

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from wa_relay.server.protocol import Connection


def test_aiohttp_still_has_the_names_that_the_connection_uses() -> None:
    async def made() -> Connection:
        async def answer(_request: web.BaseRequest) -> web.StreamResponse:
            return web.Response()

        return Connection(web.Server(answer), loop=asyncio.get_running_loop())

    connection = asyncio.run(made())
    assert connection._request_count == 0
    assert len(connection._messages) == 0
    assert connection._reading_paused is False
    for name in ("handle_error", "resume_reading"):
        theirs, ours = inspect.signature(getattr(RequestHandler, name)), inspect.signature(getattr(Connection, name))
        assert list(theirs.parameters) == list(ours.parameters)
    assert inspect.iscoroutinefunction(web.AppRunner._make_server)
