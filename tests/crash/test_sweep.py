"""The sweep of inbound messages, against a list that is long, or breaks off in the middle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crash.world import MADE, RULES, Store, call_of, customer
from tests.sweeping import InboundList, sweep
from wa_relay.ledger import calls
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.model import Listed, Page, UpstreamError

NOW = MADE + 3600.0
PAGE = 200


class Pages(InboundList):
    """Twilio's list of that many messages, the newest first.

    `breaks_at` is the page that fails, `leads_back_at` one that names itself as the next one.
    """

    def __init__(self, count: int, breaks_at: int | None = None, leads_back_at: int | None = None) -> None:
        self._count, self.breaks_at, self.leads_back_at = count, breaks_at, leads_back_at

    async def inbound_page(self, following: str | None, _sender: str | None, /) -> Page:
        """One page."""
        number = int(following or 0)
        if number == self.breaks_at:
            raise UpstreamError("away")
        numbers = range(self._count - number * PAGE, max(0, self._count - (number + 1) * PAGE), -1)
        more = self._count > (number + 1) * PAGE
        ahead = number if number == self.leads_back_at else number + 1
        return Page(tuple(map(_message, numbers)), str(ahead) if more else None)


def _message(number: int) -> Listed:
    return Listed(
        f"SM{number:032x}", "inbound", "+14155238886", customer(0), f"q{number}x", "received", MADE + 100.0 + number
    )


async def _sweep(store: Store, pages: Pages) -> None:
    thread = LedgerThread(store.ledger)
    try:
        await sweep(thread, pages, RULES, NOW)
    finally:
        await thread.close()


def _stored(path: Path) -> int:
    store = Store(path)
    (row,) = store.rows("select count(*) from conversation_messages where direction = 'inbound'")
    store.close()
    return int(row[0])


def _served(path: Path) -> Store:
    store = Store(path)
    store.run(calls.record_call, call_of(1, 0, MADE + 5.0), MADE + 10.0)
    return store


def test_a_sweep_stores_every_page_back_to_the_last_complete_one(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    asyncio.run(_sweep(_served(path), Pages(3 * PAGE + 7)))
    assert _stored(path) == 3 * PAGE + 7


def test_a_page_that_leads_back_to_itself_is_not_the_end_of_the_list(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with pytest.raises(UpstreamError, match="no end"):
        asyncio.run(_sweep(_served(path), Pages(3 * PAGE, leads_back_at=1)))
    asyncio.run(_sweep(Store(path), Pages(3 * PAGE)))
    assert _stored(path) == 3 * PAGE


def test_a_sweep_that_broke_off_is_made_again_from_where_the_last_complete_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with pytest.raises(UpstreamError):
        asyncio.run(_sweep(_served(path), Pages(3 * PAGE, breaks_at=1)))
    assert _stored(path) == PAGE
    asyncio.run(_sweep(Store(path), Pages(3 * PAGE)))
    assert _stored(path) == 3 * PAGE
