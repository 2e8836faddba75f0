"""A connection that is reset as soon as it is made: under uvloop, httpx raises more than its own errors."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import uvloop

from wa_relay.elevenlabs.client import ElevenLabs, ResetAtOnceError
from wa_relay.model import UpstreamError

AT_ONCE, MOST = 8, 20_000
"""Requests at the same time, and in all: a few in a hundred are reset between the connection and its first use."""

RESET = struct.pack("ii", 1, 0)
"""The option SO_LINGER by which `close` resets the connection."""


@contextlib.contextmanager
def _resetting() -> Iterator[str]:
    """A server that resets each connection; yields its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:

        def serve() -> None:
            # It ends when the server is closed.
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


async def _fault(api: ElevenLabs) -> BaseException | None:
    """The cause of the client's error; lets every other error out."""
    try:
        await api.agent("agent_1")
    except UpstreamError as error:
        return error.__cause__
    raise AssertionError("a reset connection brought settings")


def test_a_connection_that_is_reset_at_once_is_a_fault_of_the_service() -> None:
    async def scenario(address: str) -> bool:
        async with ElevenLabs(address, "key") as api:
            for _ in range(MOST // AT_ONCE):
                faults = await asyncio.gather(*(_fault(api) for _ in range(AT_ONCE)))
                if any(isinstance(fault, ResetAtOnceError) for fault in faults):
                    return True
        return False

    with _resetting() as address:
        assert uvloop.run(scenario(address)), "no connection was reset at the moment that matters"
