"""Poll rounds: when they are made, and their cost at the shipped stand-in, counted in its journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.loops.incoming import Incoming, played
from tests.sources.scripted import START, Scripted, json_answer, service
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import batches, file, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.bell import Wakers
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.loops.polling import Polling
from wa_relay.policy import OpeningText, Rules
from wa_relay.standins.elevenlabs import Agent, ElevenLabsStandin, Recipient

AGENT = Agent("agent_1")
DAY = 86_400.0
RULES = Rules(timezone=ZoneInfo("America/Bogota"), openings={"completed": OpeningText(body="Hola")})


@dataclass
class Scene:
    """A poller between a real ledger and the stand-in, with a clock that a test may set."""

    elevenlabs: ElevenLabsStandin
    ledger: LedgerThread
    polling: Polling
    api: ElevenLabs
    now: float

    def requests(self) -> int:
        return len(self.elevenlabs.journal.entries("request"))

    async def round(self) -> int:
        """Runs one round to its end; returns how many requests it made."""
        before = self.requests()
        await self.polling.poll_once()
        return self.requests() - before

    async def settle_everything(self) -> None:
        async for page in self.api.batch_pages():
            for one in page.batches:
                await self.ledger.run(batches.mark_settled, one.id, one.mark)

    async def known(self) -> set[str]:
        rows = await self.ledger.run(Ledger.all, "select elevenlabs_conversation_id as key from calls", ())
        return {row["key"] for row in rows}


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    elevenlabs = ElevenLabsStandin()
    elevenlabs.add_agent(AGENT)
    await elevenlabs.start()
    now = time.time()
    found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=now - 400 * DAY)
    ledger = LedgerThread(Ledger(found.connection, RULES))
    await ledger.run(store.begin_run, now)
    try:
        async with ElevenLabs(elevenlabs.url, "sk_standin") as api:
            shown = Scene(elevenlabs, ledger, None, api, now)  # type: ignore[arg-type]
            wakers, clock = Wakers(), lambda: shown.now
            shown.polling = Polling(
                ledger, api, clock, wakers.poll, CallAnnouncements(clock, wakers), agent_ids=(), horizon=RULES.horizon
            )
            yield shown
    finally:
        await ledger.close()
        await elevenlabs.stop()


def add_old_batches(elevenlabs: ElevenLabsStandin, count: int) -> None:
    for number in range(count):
        elevenlabs.add_history(1, agent_id=AGENT.agent_id, ended_at=time.time() - 30 * DAY - number)


def test_a_round_over_nine_thousand_settled_batches_makes_a_handful_of_requests(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path) as s:
            add_old_batches(s.elevenlabs, 9000)
            await s.settle_everything()
            await s.round()
            assert await s.round() <= 3
            s.now += 3600.0
            assert await s.round() >= 90, "a full listing once an hour"
            assert await s.round() <= 3

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_batch_that_was_made_long_ago_and_runs_today_is_asked_for_by_its_id(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path) as s:
            old = s.elevenlabs.add_batch(
                name="programada",
                agent_id=AGENT.agent_id,
                recipients=[Recipient("+573001112233")],
                created_at=s.now - 60 * DAY,
            )
            s.elevenlabs.world.batches[old].scheduled_at = s.now - 60.0
            add_old_batches(s.elevenlabs, 300)
            await s.settle_everything()
            await s.round()
            key = s.elevenlabs.finish_call(old, 0)
            assert await s.round() <= 5
            assert key in await s.known()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_batch_that_is_not_settled_is_followed_on_whatever_page_it_lies(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path) as s:
            old = s.elevenlabs.add_batch(
                name="lenta",
                agent_id=AGENT.agent_id,
                recipients=[Recipient("+573001112233"), Recipient("+573001112244")],
                created_at=s.now - 60 * DAY,
            )
            add_old_batches(s.elevenlabs, 300)
            await s.settle_everything()
            s.elevenlabs.start_call(old, 0)
            first = s.elevenlabs.finish_call(old, 0)
            await s.round()
            second = s.elevenlabs.finish_call(old, 1)
            assert await s.round() <= 5
            assert {first, second} <= await s.known()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_clock_that_is_set_back_does_not_keep_the_poller_at_rest(tmp_path: Path) -> None:
    workspace = "/v1/convai/batch-calling/workspace"
    script = Scripted(answers={workspace: json_answer({"detail": "later"}, 429, **{"Retry-After": "600"})})

    async def scenario(_ledger: LedgerThread, incoming: Incoming, clock: list[float]) -> None:
        polling = asyncio.create_task(incoming.polling.run())
        for rounds, moment in ((1, START + 300.0), (2, START - 7200.0)):
            clock[0] = moment
            incoming.wakers.poll.ring()
            async with asyncio.timeout(20):
                while len(script.asked) < rounds or incoming.polling.health.consecutive_failures < rounds:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        polling.cancel()

    played(tmp_path, script, scenario)


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
            incoming = Incoming.of(ledger, api, lambda: START)
            polling = asyncio.create_task(incoming.polling.run())
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
