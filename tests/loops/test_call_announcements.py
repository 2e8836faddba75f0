"""Calls on their way in: poll rounds, hints whose batch gives no outcome, numbers that can't be used."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.sources.scripted import START, Scripted, batch, json_answer, recipient, service
from wa_relay import metrics
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import batches, calls, file, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import LOGGER, EventFormatter
from wa_relay.loops.bell import Wakers
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.loops.call_facts import CallFacts
from wa_relay.loops.polling import Polling
from wa_relay.model import BatchHint, Call
from wa_relay.policy import OpeningText, Rules
from wa_relay.sources.batch_outcomes import Rejection

DAY = 86_400.0
RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText(body="Hola"), "failed": OpeningText(body="No te encontramos")},
)


@dataclass
class Incoming:
    """What brings calls into a real ledger, on one clock."""

    wakers: Wakers
    announcements: CallAnnouncements
    polling: Polling
    call_facts: CallFacts

    @classmethod
    def of(cls, ledger: LedgerThread, api: ElevenLabs, clock: Callable[[], float]) -> Incoming:
        wakers = Wakers()
        announcements = CallAnnouncements(clock, wakers)
        polling = Polling(ledger, api, clock, wakers.poll, announcements, agent_ids=(), horizon=RULES.horizon)
        return cls(wakers, announcements, polling, CallFacts(ledger, api, clock, wakers.follow_up, announcements))


def _played(
    folder: Path, script: Scripted, scenario: Callable[[LedgerThread, Incoming, list[float]], Awaitable[None]]
) -> None:
    """Plays a scenario against a script; the list holds the moment that the clock shows."""

    async def whole() -> None:
        found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=START - 60.0)
        ledger, clock = LedgerThread(Ledger(found.connection, RULES)), [START + 300.0]
        await ledger.run(store.begin_run, START)
        async with service(script) as api:
            incoming = Incoming.of(ledger, api, lambda: clock[0])
            await scenario(ledger, incoming, clock)
        await ledger.close()

    asyncio.run(asyncio.wait_for(whole(), 60))


async def _until_known(ledger: LedgerThread, key: str) -> str | None:
    """Why a call is not followed by an opening, once it is known."""
    sql = "select skipped from calls where elevenlabs_conversation_id = ?"
    async with asyncio.timeout(20):
        # The database rings no bell.
        while not (rows := await ledger.run(Ledger.all, sql, (key,))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    reason: str | None = rows[0]["skipped"]
    return reason


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
        assert await _until_known(ledger, "conv_1") is None
        (opening,) = await ledger.run(Ledger.all, "select content from conversation_messages", ())
        assert opening["content"] == content
        assert not await ledger.run(Ledger.all, "select 1 from call_hints", ())
        following.cancel()

    script.asked.clear()
    _played(tmp_path, script, scenario)


def test_a_hinted_call_whose_end_is_not_known_is_not_followed_up(tmp_path: Path) -> None:
    async def scenario(ledger: LedgerThread, incoming: Incoming, clock: list[float]) -> None:
        await ledger.run(batches.record_hint, _hint(None), clock[0])
        clock[0] += 121.0
        following = asyncio.create_task(incoming.call_facts.run())
        assert await _until_known(ledger, "conv_1") == "too_old"
        following.cancel()

    _played(tmp_path, Scripted(batches={"btcal_1": STUCK}), scenario)


def _unusable(source: str) -> float:
    return float(metrics.CALLS.labels(source, "unusable_number")._value.get())


def test_a_number_that_can_not_be_used_is_a_warning_without_the_number_and_counts_once(
    tmp_path: Path,
) -> None:
    unusable = batch(recipient(1, "failed", None, phone_number="3001112233"), status="in_progress")

    async def scenario(_ledger: LedgerThread, incoming: Incoming, _clock: list[float]) -> None:
        before = {source: _unusable(source) for source in ("poll", "webhook")}
        for _ in range(3):
            await incoming.polling.poll_once()
        incoming.announcements.reject(Rejection("number_unusable", "conv_9", phone="anonymous"), "webhook")
        incoming.announcements.reject(Rejection("number_unusable", "conv_9", phone="anonymous"), "webhook")
        assert {source: _unusable(source) - before[source] for source in before} == {"poll": 1, "webhook": 1}

    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(EventFormatter(as_json=False, personal_data=False, timezone=RULES.timezone))
    LOGGER.addHandler(handler)
    try:
        _played(tmp_path, Scripted(batches={"btcal_1": unusable}), scenario)
    finally:
        LOGGER.removeHandler(handler)
    polled, hooked = (line for line in log.getvalue().splitlines() if "call_number_unusable" in line)
    assert "WARNING" in polled
    assert "call=btcal_1/rcpt_1 batch=btcal_1 recipient=rcpt_1 source=poll" in polled
    assert "call=conv_9" in hooked
    assert "3001112233" not in log.getvalue()


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

    _played(tmp_path, script, scenario)
