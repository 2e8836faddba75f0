"""Takes new texts into the full-text index within two seconds, beside the webhooks and in small steps."""

from __future__ import annotations

import asyncio

from wa_relay.ledger import indexing
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail

LOOK_EVERY = 0.5
AT_ONCE = 200
"""Texts of one step: 3 ms of the writer's time."""

SHARE = 0.5
"""The part of the time that the job may take while it has a backlog: after a copy there may be a million texts."""


class Indexer:
    """The job. It looks through a reader, so that an idle relay costs the writer nothing."""

    def __init__(self, ledger: LedgerThread, reader: Reader) -> None:
        self._ledger = ledger
        self._reader = reader

    async def run(self) -> None:
        """Runs until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            began, more = clock(), False
            try:
                if await self._reader.read(indexing.is_behind):
                    more = await self._ledger.run_alone(indexing.index_more, AT_ONCE)
            except StorageUnavailable:
                more = False
            except Exception as error:
                fail("indexing_fault", error)
            await asyncio.sleep((clock() - began) * (1.0 / SHARE - 1.0) if more else LOOK_EVERY)
