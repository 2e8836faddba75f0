"""What the sweep of Twilio's list takes for a customer's message, and what it leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.sweeping import InboundList, sweep
from wa_relay.ledger import calls, file, receipts, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.model import Call, Listed, Page
from wa_relay.policy import OpeningText, Rules

NOW = 1_795_000_000.0
ANA = "+573138539155"
RULES = Rules(timezone=ZoneInfo("America/Bogota"), openings={"completed": OpeningText(body="Hola")})
WRITTEN = Listed("SM" + "1" * 32, "inbound", "+14155238886", ANA, "¿Precio?", "received", NOW - 60.0)


class Pages(InboundList):
    """Twilio's list, page by page."""

    def __init__(self, *pages: tuple[Listed, ...]) -> None:
        self._pages = pages

    async def inbound_page(self, following: str | None) -> Page:
        """One page."""
        number = int(following or 0)
        return Page(self._pages[number], str(number + 1) if number + 1 < len(self._pages) else None)


def _swept(folder: Path, pages: Pages, mark: float = NOW - 120.0) -> list[str]:
    """The texts that are stored after one sweep, of a database that is an hour old."""

    async def scenario() -> list[str]:
        found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=NOW - 3600.0)
        ledger = LedgerThread(Ledger(found.connection, RULES))
        await ledger.run(store.begin_run, NOW - 3600.0)
        call = Call("conv_1", ANA, "agent_1", "completed", "push", NOW - 1800.0)
        await ledger.run(calls.record_call, call, NOW - 1800.0)
        await ledger.run(receipts.complete_sweep, mark)
        await sweep(ledger, pages, RULES, NOW)
        rows = await ledger.run(
            Ledger.all, "select content from conversation_messages where direction = 'inbound' order by id"
        )
        await ledger.close()
        return [row["content"] for row in rows]

    return asyncio.run(scenario())


def test_a_listed_message_without_a_time_is_left_alone_since_it_may_be_history(tmp_path: Path) -> None:
    undated = replace(WRITTEN, sid="SM" + "2" * 32, body="de otro año", created_at=None)
    assert _swept(tmp_path, Pages((WRITTEN, undated))) == ["¿Precio?"]


def test_a_sweep_after_a_clock_that_was_ahead_looks_as_far_back_as_any_other(tmp_path: Path) -> None:
    older = replace(WRITTEN, sid="SM" + "2" * 32, body="antes", created_at=NOW - 300.0)
    assert _swept(tmp_path, Pages((WRITTEN,), (older,)), mark=NOW + 86400.0) == ["¿Precio?", "antes"]
