"""Listens at the configured address, and finds the port."""

from __future__ import annotations

from contextlib import AsyncExitStack

from aiohttp import web

from wa_relay.config.schema import Server
from wa_relay.ledger.faults import AlreadyServed
from wa_relay.server.protocol import Runner


async def listen(server: Server, app: web.Application, opened: AsyncExitStack) -> tuple[web.TCPSite, str]:
    """Starts to listen. Returns the site, and the address with the port that was found."""
    runner = Runner(app, shutdown_timeout=6.0)
    await runner.setup()
    opened.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, server.host, server.port, backlog=4096)
    try:
        await site.start()
    except OSError as error:
        raise AlreadyServed(
            f"port {server.port} of {server.host} is not available: {error.strerror}. Set server.port to another "
            "one, or stop what listens there."
        ) from error
    host, port = runner.addresses[0][:2]
    return site, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
