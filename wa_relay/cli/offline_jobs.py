"""Running what takes longer than one transaction without a daemon: the same code on the same kinds of clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from wa_relay.cli.change import holding, open_ledger
from wa_relay.config import Config
from wa_relay.ledger.location import location_of
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.file_reader import FileReader
from wa_relay.loops.forgetting import Copies, Forgetter
from wa_relay.loops.service_clients import open_clients

T = TypeVar("T")


def with_forgetter(config: Config, work: Callable[[Forgetter], Awaitable[T]], *, upstream: bool = False) -> T:
    """Runs `work` on a database that no daemon serves; with `upstream`, with clients of Twilio and ElevenLabs."""
    with holding(config):
        return asyncio.run(_run(config, work, upstream=upstream))


async def _run(config: Config, work: Callable[[Forgetter], Awaitable[T]], *, upstream: bool) -> T:
    async with AsyncExitStack() as opened:
        ledger = open_ledger(config, time.time())
        thread = LedgerThread(ledger)
        opened.push_async_callback(thread.close)
        copies = None
        if upstream:
            reader = Reader(location_of(config))
            opened.callback(reader.close)
            clients = await open_clients(config, ledger.mark, FileReader(reader), opened)
            copies = Copies(clients.twilio, clients.elevenlabs)
        return await work(Forgetter(thread, time.time, copies))
