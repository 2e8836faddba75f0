"""The sweep of Twilio's list: which entries are customers' messages, and which it leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.sweeping import InboundList, sweep
from wa_relay.channel.inbound import listed_inbound
from wa_relay.ledger import calls, claims, file, receipts, send_results, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.bell import Wakers
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.reconcile import Reconciler
from wa_relay.model import Accepted, Call, Listed, Page, Receipt, UpstreamError
from wa_relay.policy import OpeningText, Rules

NOW = 1_795_000_000.0
ANA = "+573138539155"
RULES = Rules(timezone=ZoneInfo("America/Bogota"), openings={"completed": OpeningText(body="Hola")})
WRITTEN = Listed("SM" + "1" * 32, "inbound", "+14155238886", ANA, "¿Precio?", "received", NOW - 60.0)


class Pages(InboundList):
    """Twilio's list, page by page."""

    def __init__(self, *pages: tuple[Listed, ...]) -> None:
        self._pages = pages

    async def inbound_page(self, following: str | None, _sender: str | None, /) -> Page:
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


class Late(InboundList):
    """Twilio's list, of which one message is fetched; meanwhile another receipt of it may come."""

    def __init__(self, ledger: LedgerThread, status: str, meanwhile: str | None = None) -> None:
        self._ledger, self._status, self._meanwhile = ledger, status, meanwhile

    async def fetch(self, sid: str) -> Listed | None:
        """The message."""
        if self._meanwhile:
            await self._ledger.run(receipts.record_receipt, Receipt(sid, self._meanwhile), NOW)
        return replace(WRITTEN, sid=sid, direction="outbound-api", status=self._status)


def _fetched(folder: Path, status: str, meanwhile: str | None = None) -> tuple[Wakers, bool]:
    """The bells after a receipt was fetched, and whether a request that waited for the message was woken."""

    async def scenario() -> tuple[Wakers, bool]:
        found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=NOW - 3600.0)
        ledger, wakers = LedgerThread(Ledger(found.connection, RULES)), Wakers()
        await ledger.run(store.begin_run, NOW - 3600.0)
        call = Call("conv_1", ANA, "agent_1", "completed", "push", NOW - 1800.0)
        state = await ledger.run(calls.record_call, call, NOW - 1800.0)
        assert state.message_id is not None
        await ledger.run(claims.claim_messages, 1, NOW - 1800.0)
        await ledger.run(send_results.finish_send, state.message_id, Accepted("SM" + "1" * 32), NOW - 1800.0)
        waiting = asyncio.create_task(wakers.board.wait(state.message_id, 5.0))
        await asyncio.sleep(0)
        following = asyncio.create_task(_reconciler(ledger, Late(ledger, status, meanwhile), wakers).follow_sends())
        async with asyncio.timeout(30):
            # The database rings no bell.
            while not await ledger.run(Ledger.all, "select 1 from receipts where status = ?", (status,)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.wait([waiting], timeout=0.5)
        following.cancel()
        await ledger.close()
        return wakers, waiting.done() and waiting.result() is not None

    return asyncio.run(scenario())


def _reconciler(ledger: LedgerThread, listing: InboundList, wakers: Wakers) -> Reconciler:
    return Reconciler(
        ledger, listing, lambda: NOW, RULES, wakers, Signs(), read_inbound=listed_inbound, on_adopted=lambda: None
    )


def test_a_receipt_that_was_fetched_wakes_the_sender_and_the_request_that_waits(tmp_path: Path) -> None:
    wakers, woken = _fetched(tmp_path, "undelivered")
    assert woken
    assert asyncio.run(wakers.send.wait(0.01))


def test_a_sweep_that_succeeds_ends_the_row_of_failures(tmp_path: Path) -> None:
    seen: list[int] = []

    class Away(Pages):
        """Twilio's list, which fails three times."""

        failing = 3
        watched: Reconciler

        async def inbound_page(self, following: str | None, _sender: str | None, /) -> Page:
            seen.append(self.watched.failures)
            self.failing -= 1
            if self.failing >= 0:
                raise UpstreamError("Twilio is not available", status=503)
            return await super().inbound_page(following, _sender)

    async def scenario() -> None:
        found = file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=NOW - 3600.0)
        ledger, wakers = LedgerThread(Ledger(found.connection, RULES)), Wakers()
        await ledger.run(store.begin_run, NOW - 3600.0)
        away = Away((WRITTEN,))
        away.watched = reconciler = _reconciler(ledger, away, wakers)
        sweeping = asyncio.create_task(reconciler.sweep_inbound())
        async with asyncio.timeout(30):
            while away.failing >= 0 or reconciler.failures:
                wakers.sweep.ring()
                await asyncio.sleep(0.01)
        sweeping.cancel()
        await ledger.close()
        assert seen[:4] == [0, 1, 2, 3]

    asyncio.run(scenario())


def test_an_alarm_of_a_fetched_receipt_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _fetched(tmp_path, "undelivered", meanwhile="delivered")
    assert "alarm" in [record.getMessage() for record in caplog.records]


def test_a_listed_message_without_a_time_is_left_alone_since_it_may_be_history(tmp_path: Path) -> None:
    undated = replace(WRITTEN, sid="SM" + "2" * 32, body="de otro año", created_at=None)
    assert _swept(tmp_path, Pages((WRITTEN, undated))) == ["¿Precio?"]


def test_a_sweep_after_a_clock_that_was_ahead_looks_as_far_back_as_any_other(tmp_path: Path) -> None:
    older = replace(WRITTEN, sid="SM" + "2" * 32, body="antes", created_at=NOW - 300.0)
    assert _swept(tmp_path, Pages((WRITTEN,), (older,)), mark=NOW + 86400.0) == ["¿Precio?", "antes"]


def test_a_sweep_stores_nothing_of_a_message_that_is_known(tmp_path: Path) -> None:
    class Watched(LedgerThread):
        """A ledger that keeps the names of its operations."""

        names: list[str]

        def hand_over(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
            self.names.append(operation.__name__)
            return super().hand_over(operation, *args, **kwargs)

    async def scenario() -> list[str]:
        found = file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=NOW - 3600.0)
        ledger = Watched(Ledger(found.connection, RULES))
        ledger.names = []
        await ledger.run(store.begin_run, NOW - 3600.0)
        call = Call("conv_1", ANA, "agent_1", "completed", "push", NOW - 1800.0)
        await ledger.run(calls.record_call, call, NOW - 1800.0)
        for _ in range(2):
            await sweep(ledger, Pages((WRITTEN,)), RULES, NOW)
        await ledger.close()
        return ledger.names

    assert asyncio.run(scenario()).count("record_inbound") == 1
