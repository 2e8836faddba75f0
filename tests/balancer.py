"""A load balancer in front of several daemons: each connection goes to one of them that accepts it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Self

from wa_relay.standins.port import free_port


class Balancer:
    """Forwards connections to the ports of daemons, in random order; closes a connection that no daemon accepts."""

    def __init__(self, ports: Sequence[int], seed: int = 0) -> None:
        self._ports = list(ports)
        self._dice = random.Random(f"balancer {seed}")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            for port in self._dice.sample(self._ports, len(self._ports)):
                with contextlib.suppress(OSError):
                    behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
                    break
            else:
                return
            with contextlib.closing(behind_writer):
                pumps = [
                    asyncio.ensure_future(_pump(reader, behind_writer)),
                    asyncio.ensure_future(_pump(behind_reader, writer)),
                ]
                try:
                    # An end on either side is the end of both, as a balancer does it for HTTP.
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
