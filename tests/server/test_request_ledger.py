"""The ledger as requests use it: a request does not wait forever."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from wa_relay.ledger import file
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.policy import Rules
from wa_relay.server.listener import RequestLedger


def test_a_request_that_waits_too_long_for_the_ledger_is_refused_and_later_ones_are_served(tmp_path: Path) -> None:
    stuck = threading.Event()

    def wait(_ledger: Ledger) -> None:
        stuck.wait(10.0)

    def answer(_ledger: Ledger, number: int) -> int:
        return number

    async def scenario() -> None:
        opened = file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=0.0)
        thread = LedgerThread(Ledger(opened.connection, Rules(timezone=ZoneInfo("UTC"), openings={})))
        requests = RequestLedger(thread, within=0.2)
        assert await requests.run(answer, 1) == 1
        late = await asyncio.gather(requests.run(wait), requests.run(answer, 2), return_exceptions=True)
        assert [type(error) for error in late] == [StorageUnavailable] * 2
        # Each request has its own time, also the one that begins while another waits.
        first = asyncio.ensure_future(requests.run(answer, 2))
        with pytest.raises(StorageUnavailable):
            await RequestLedger(thread, within=0.1).run(answer, 2)
        began = asyncio.get_running_loop().time()
        second = asyncio.ensure_future(requests.run(answer, 2))
        assert [type(error) for error in await asyncio.gather(first, second, return_exceptions=True)] == [
            StorageUnavailable
        ] * 2
        assert asyncio.get_running_loop().time() - began > 0.19
        stuck.set()
        assert await requests.run(answer, 3) == 3
        with pytest.raises(LookupError):
            await requests.run(Ledger.need_one, "select 1 where 1 = 2")
        await thread.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
