"""Ports of 127.0.0.1: a free one, and one that stays a stand-in's while it is down."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

HOST = "127.0.0.1"
GRACE = 0.1
"""Seconds that open requests get when a stand-in goes down."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def free_port() -> int:
    """A port of this machine on which nothing listens at the moment, for a program that binds it later.

    It lies below those that the system gives to anybody who asks for any: they may be taken before they are used.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


class Port:
    """Listens again on the same number: a second socket, which never listens, keeps the system from giving it away."""

    def __init__(self) -> None:
        self.number = 0
        self._held: socket.socket | None = None

    async def listen(self, handler: Handler, number: int = 0) -> web.ServerRunner:
        """Listens on that number, on a free one for 0, on its own again after the first time.

        Raises OSError if another process listens there.
        """
        if self._held is None:
            self._held = _hold(number or self.number)
            self.number = int(self._held.getsockname()[1])
        server = web.Server(handler, access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=GRACE)
        await runner.setup()
        await web.TCPSite(runner, HOST, self.number, reuse_address=True, reuse_port=True).start()
        return runner

    def release(self) -> None:
        """Gives the number back."""
        if self._held is not None:
            self._held.close()
            self._held = None


def _hold(number: int) -> socket.socket:
    if number:
        # Two sockets that share a port share its connections: a number in use has to be refused.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, number))
    held = socket.socket()
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((HOST, number))
    except OSError:
        held.close()
        raise
    return held
