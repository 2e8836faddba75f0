"""Many of everything at once. The long forms are run by `make soak`."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.e2e.stage import AGENT, LISTENING, LUIS, Stage, payload, run, stage, until
from tests.stopwatch import used, waited
from wa_relay.standins.elevenlabs import Recipient

POLLING = {"poll": {"enabled": True, "interval_seconds": 1, "push_grace_seconds": 1}, "opening": {"burst_limit": 0}}


BUSY = 2.5
"""Seconds of waiting for a processor, over five, that a machine without other work does not cause."""


def phones(count: int) -> list[str]:
    return [f"+5730{number:08d}" for number in range(count)]


@pytest.mark.parametrize("calls", [25, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_call_reported_by_every_source_twenty_times_is_one_opening(tmp_path: Path, calls: int) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING) as s:
            s.twilio.configure(delays=None)
            people = phones(calls)
            batch = s.elevenlabs.add_batch(
                name="todos", agent_id=AGENT.agent_id, recipients=[Recipient(phone) for phone in people]
            )
            lanes = asyncio.Semaphore(40)
            firsts = await asyncio.gather(
                *(_report_call(s, batch, place, phone, lanes) for place, phone in enumerate(people))
            )
            assert firsts.count(1) + firsts.count(0) == calls, "one report at most is not a duplicate"
            await until(lambda: len(s.twilio.accepted()) >= calls, 60 + calls / 5)
            await until(lambda: s.relay.log.count("call_received") >= calls)
            assert sorted(message.to for message in s.twilio.accepted()) == people

    run(scenario(), within=240 + calls)


async def _report_call(s: Stage, batch: str, place: int, phone: str, lanes: asyncio.Semaphore) -> int:
    """Ends a call and reports it ten times by each way; counts the reports that were the first."""
    s.elevenlabs.start_call(batch, place)
    key = s.elevenlabs.finish_call(batch, place)
    assert key is not None

    async def push() -> bool:
        async with lanes:
            answer = await s.report(payload(key, phone))
            assert answer.status in (200, 202), answer.text
            return not answer.json["duplicate"]

    async def post() -> bool:
        async with lanes:
            assert await s.elevenlabs.post_call(key) == 200
            return False

    return sum(await asyncio.gather(*(ask() for _ in range(10) for ask in (push, post))))


@pytest.mark.parametrize(("rounds", "most"), [(2, 4), pytest.param(200, 8, marks=pytest.mark.soak)])
def test_of_several_daemons_started_at_once_one_serves(tmp_path: Path, rounds: int, most: int) -> None:
    async def scenario() -> None:
        dice = random.Random(4)
        async with stage(tmp_path, start=False) as s:
            for number in range(rounds):
                s.relay.write_config({"server": {"port": 0}})
                count = dice.randint(2, most) if rounds > 2 else most
                started = [await s.relay.spawn("serve") for _ in range(count)]
                lines = await asyncio.gather(*(each.stdout.readline() for each in started if each.stdout))
                serving = [each for each, line in zip(started, lines, strict=True) if LISTENING.search(line.decode())]
                assert len(serving) == 1, (number, lines)
                for each in started:
                    if each is serving[0]:
                        each.terminate()
                    assert await each.wait() == (0 if each is serving[0] else 75)

    run(scenario(), within=240 + rounds * 15)


@pytest.mark.parametrize(("calls", "messages"), [(1000, 50), pytest.param(50_000, 500, marks=pytest.mark.soak)])
def test_a_first_start_against_years_of_history_writes_to_nobody(tmp_path: Path, calls: int, messages: int) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING, start=False) as s:
            s.elevenlabs.add_history(calls, agent_id=AGENT.agent_id, ended_at=time.time() - 60)
            for phone in phones(messages):
                await s.twilio.customer_writes(phone, "¿Sigue la oferta?", deliver=False)
            written = time.time()
            await until(lambda: time.time() > int(written) + 1.01 or None)
            await s.relay.start()
            await until(lambda: s.relay.log.count("call_received") >= calls, 60 + calls / 50)
            batch = s.elevenlabs.add_batch(
                name="hoy", agent_id=AGENT.agent_id, recipients=[Recipient(LUIS, {"name": "Luis"})]
            )
            s.elevenlabs.start_call(batch, 0)
            s.elevenlabs.finish_call(batch, 0)
            await s.sent(1, LUIS, 30)
            assert [message.to for message in s.twilio.accepted()] == [LUIS]
            assert (await s.call("GET", "/api/stats")).json["skipped"] == {"too_old": calls}

    run(scenario(), within=180 + calls / 20)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_five_hundred_customers_in_five_seconds_are_all_taken_within_a_second(tmp_path: Path, times: int) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"unknown_sender": "agent", "unknown_sender_agent_id": "agent_x"}}) as s:
            s.twilio.configure(webhook_url=s.twilio.settings.webhook_url.partition("#")[0])
            people = phones(500 * times)
            assert s.relay.process is not None
            daemon = s.relay.process.pid
            waited_before, used_before = waited(), used(daemon)

            async def write(place: int) -> tuple[int | None, float]:
                await asyncio.sleep(place * 5.0 / len(people))
                began = time.monotonic()
                delivery = await s.twilio.customer_writes(people[place], "Hola")
                return delivery.status, time.monotonic() - began

            written = await asyncio.gather(*(write(place) for place in range(len(people))))
            assert {status for status, _ in written} == {200}
            if times == 1:
                # Where others take the processors, a queue grows: then only the work of the daemon can be bounded. It
                # stores, asks and answers meanwhile, which takes 3 to 4 ms for a customer on a machine with room.
                assert used(daemon) - used_before < 4.0
                slowest = max(seconds for _, seconds in written)
                assert slowest < 1.0 or waited() - waited_before > BUSY, slowest
            assert _resident(daemon) < 200 * 1024 * 1024
            stats = (await s.call("GET", "/api/stats")).json
            assert stats["messages"]["inbound"] == len(people)

    run(scenario(), within=300)


def _resident(pid: int) -> int:
    """The memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
