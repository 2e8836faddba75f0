"""Calls on their way in: hints that their batch never settles, and the same failure told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.sources.scripted import START, Scripted, batch, json_answer, recipient, service
from wa_relay.ledger import batches, file, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.loops.bell import Wakers
from wa_relay.loops.intake import Intake
from wa_relay.model import BatchHint, Call
from wa_relay.policy import OpeningText, Rules

DAY = 86_400.0
RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText(body="Hola"), "failed": OpeningText(body="No te encontramos")},
)


def _played(
    folder: Path, script: Scripted, scenario: Callable[[LedgerThread, Intake, list[float]], Awaitable[None]]
) -> None:
    """Plays a scenario against a script; the list holds the moment that the clock shows."""

    async def whole() -> None:
        found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=START - 60.0)
        ledger, clock = LedgerThread(Ledger(found.connection, RULES)), [START + 300.0]
        await ledger.run(store.begin_run, START)
        async with service(script) as api:
            intake = Intake(ledger, api, lambda: clock[0], Wakers(), agent_ids=(), patience=RULES.max_call_age)
            await scenario(ledger, intake, clock)
        await ledger.close()

    asyncio.run(asyncio.wait_for(whole(), 20))


async def _until_known(ledger: LedgerThread, key: str) -> str | None:
    """Why a call is not followed by an opening, once it is known."""
    sql = "select skipped from calls where elevenlabs_conversation_id = ?"
    async with asyncio.timeout(5):
        # The database rings no bell.
        while not (rows := await ledger.run(Ledger.all, sql, (key,))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    reason: str | None = rows[0]["skipped"]
    return reason


def test_a_clock_that_is_set_back_does_not_keep_the_poller_at_rest(tmp_path: Path) -> None:
    workspace = "/v1/convai/batch-calling/workspace"
    script = Scripted(answers={workspace: json_answer({"detail": "later"}, 429, **{"Retry-After": "600"})})

    async def scenario(_ledger: LedgerThread, intake: Intake, clock: list[float]) -> None:
        polling = asyncio.create_task(intake.poll())
        for rounds, moment in ((1, START + 300.0), (2, START - 7200.0)):
            clock[0] = moment
            intake.wakers.poll.ring()
            async with asyncio.timeout(5):
                while len(script.asked) < rounds or intake.health.consecutive_failures < rounds:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        polling.cancel()

    _played(tmp_path, script, scenario)


class Leaping(asyncio.SelectorEventLoop):
    """A loop whose clock a test sets ahead, so that every timed wait is over."""

    ahead = 0.0

    def time(self) -> float:
        """The loop's time, in seconds."""
        return super().time() + self.ahead


def test_a_poller_whose_bell_never_rings_makes_no_round_however_long_it_waits(tmp_path: Path) -> None:
    script, loop = Scripted(), Leaping()

    async def scenario() -> None:
        found = file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=START - 60.0)
        ledger = LedgerThread(Ledger(found.connection, RULES))
        async with service(script) as api:
            intake = Intake(
                ledger,
                api,
                lambda: START,
                Wakers(),
                agent_ids=(),
                patience=RULES.max_call_age,
            )
            polling = asyncio.create_task(intake.poll())
            for _ in range(3):
                await asyncio.sleep(0)
                loop.ahead += 7200.0
                # Long enough for a round to reach the service.
                await asyncio.sleep(0.1)
            polling.cancel()
        await ledger.close()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())
    assert script.asked == []


def _told(ended_at: float | None) -> BatchHint:
    call = Call("conv_1", "+573138500001", "agent_1", "completed", "webhook", ended_at, batch_id="btcal_1")
    return BatchHint(call, "btcal_1", "rcpt_1")


@pytest.mark.parametrize("ended_at", [START + 120.0, None])
def test_a_hint_that_its_batch_never_settles_is_a_call_without_an_opening_after_a_day(
    tmp_path: Path, ended_at: float | None
) -> None:
    async def scenario(ledger: LedgerThread, intake: Intake, clock: list[float]) -> None:
        await ledger.run(batches.record_hint, _told(ended_at), clock[0])
        clock[0] += DAY + 1.0
        following = asyncio.create_task(intake.follow_up())
        assert await _until_known(ledger, "conv_1") == "too_old"
        following.cancel()

    stuck = batch(recipient(1, "in_progress"), status="in_progress")
    _played(tmp_path, Scripted(batches={"btcal_1": stuck}), scenario)


def test_a_hint_whose_batch_can_never_be_read_is_a_call_without_an_opening_after_a_day(tmp_path: Path) -> None:
    async def scenario(ledger: LedgerThread, intake: Intake, clock: list[float]) -> None:
        await ledger.run(batches.record_hint, _told(START + 120.0), clock[0])
        clock[0] += DAY + 1.0
        following = asyncio.create_task(intake.follow_up())
        assert await _until_known(ledger, "conv_1") == "too_old"
        following.cancel()

    refused = json_answer({"detail": "no"}, 422)
    _played(tmp_path, Scripted(answers={"/v1/convai/batch-calling/btcal_1": refused}), scenario)
