"""What known calls lack: outcomes of batches, also of those that give none in time, and details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loops.incoming import Incoming, played, until_known
from tests.sources.scripted import START, Scripted, batch, json_answer, recipient
from wa_relay.ledger import batches, calls
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.model import BatchHint, Call


def _hint(ended_at: float | None, outcome: str = "completed") -> BatchHint:
    call = Call("conv_1", "+573138500001", "agent_1", outcome, "webhook", ended_at, batch_id="btcal_1")
    return BatchHint(call, "btcal_1", "rcpt_1")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


STUCK = batch(recipient(1, "in_progress"), status="in_progress")


@pytest.mark.parametrize(
    "script",
    [
        Scripted(batches={"btcal_1": STUCK}),
        Scripted(answers={"/v1/convai/batch-calling/btcal_1": json_answer({"detail": "no"}, 422)}),
        Scripted(answers={"/v1/convai/batch-calling/btcal_1": json_answer({}, 503)}),
    ],
    ids=["never_final", "unreadable", "unavailable"],
)
@pytest.mark.parametrize(("outcome", "content"), [("completed", "Hola"), ("failed", "No te encontramos")])
def test_a_hint_that_its_batch_does_not_settle_in_two_minutes_takes_the_webhooks_own_status(
    tmp_path: Path, script: Scripted, outcome: str, content: str
) -> None:
    async def scenario(ledger: LedgerThread, incoming: Incoming, clock: list[float]) -> None:
        reported_at = clock[0]
        await ledger.run(batches.record_hint, _hint(reported_at - 5.0, outcome), reported_at)
        following = asyncio.create_task(incoming.call_facts.run())
        asked = 0
        for clock[0] in (reported_at + age for age in (0.0, 6.0, 60.0, 119.9)):
            incoming.wakers.follow_up.ring()
            await _until(lambda before=asked: len(script.asked) > before)  # type: ignore[misc]
            asked = len(script.asked)
            assert not await ledger.run(Ledger.all, "select 1 from calls", ())
        clock[0] = reported_at + 120.0
        incoming.wakers.follow_up.ring()
        assert await until_known(ledger, "conv_1") is None
        (opening,) = await ledger.run(Ledger.all, "select content from conversation_messages", ())
        assert opening["content"] == content
        assert not await ledger.run(Ledger.all, "select 1 from call_hints", ())
        following.cancel()

    script.asked.clear()
    played(tmp_path, script, scenario)


def test_a_hinted_call_whose_end_is_not_known_is_not_followed_up(tmp_path: Path) -> None:
    async def scenario(ledger: LedgerThread, incoming: Incoming, clock: list[float]) -> None:
        await ledger.run(batches.record_hint, _hint(None), clock[0])
        clock[0] += 121.0
        following = asyncio.create_task(incoming.call_facts.run())
        assert await until_known(ledger, "conv_1") == "too_old"
        following.cancel()

    played(tmp_path, Scripted(batches={"btcal_1": STUCK}), scenario)


def test_of_the_calls_whose_details_nobody_needs_one_a_minute_is_fetched(tmp_path: Path) -> None:
    script = Scripted()

    async def scenario(ledger: LedgerThread, incoming: Incoming, clock: list[float]) -> None:
        async def report(number: int) -> int:
            known = Call(f"conv_{number}", f"+57313853910{number}", "agent_1", "completed", "push", START + 299.0)
            state = await ledger.run(calls.record_call, known, clock[0])
            incoming.announcements.announce(known, state, "push")
            return state.call_id

        await incoming.call_facts.fetch_details(await report(1), "conv_1")
        following = asyncio.create_task(incoming.call_facts.run())
        await report(2)
        await report(3)
        clock[0] += 61.0
        await report(4)
        await _until(lambda: script.of("conv_4") != [])
        assert script.of("conv_2") + script.of("conv_3") == []
        following.cancel()

    played(tmp_path, script, scenario)
