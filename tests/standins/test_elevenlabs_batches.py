"""Batches that move through time: by hand, by themselves, and as our poller sees them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.standins.elevenlabs_played import ANA, KEY, START, fetched, played, run
from tests.stopwatch import Stopwatch
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.model import Call
from wa_relay.sources.batch_outcomes import Rejection
from wa_relay.sources.poll_memory import PollMemory
from wa_relay.sources.poller import PollReport, poll
from wa_relay.standins.elevenlabs import Agent, ElevenLabsStandin, Recipient
from wa_relay.standins.elevenlabs.state import World

NOBODY = Recipient("+573001112244", outcome="failed", conversation=False)
MACHINE = Recipient("+573001112255", outcome="voicemail")


@dataclass
class Book:
    """A call book that remembers in memory."""

    settled: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    async def settled_batches(self) -> Mapping[str, str]:
        return self.settled

    async def settle_batch(self, batch_id: str, mark: str) -> None:
        self.settled[batch_id] = mark

    async def unknown(self, keys: Sequence[str]) -> set[str]:
        return set(keys) - {call.key for call in self.calls}

    def reject(self, rejection: Rejection) -> None:
        raise AssertionError(f"every conversation here is a call: {rejection}")

    async def record_polled(self, calls: Sequence[Call]) -> None:
        self.calls += calls


async def polled(standin: ElevenLabsStandin, book: Book) -> PollReport:
    async with ElevenLabs(standin.url, KEY) as api:
        return await poll(api, book, PollMemory(86_400.0), agent_ids=["agent_1"], now=time.time())


def world() -> tuple[World, str]:
    one = World()
    one.add_agent(Agent("agent_1"))
    return one, one.add_batch("Campaña", "agent_1", [ANA, NOBODY, MACHINE], START).id


def test_counters_and_status_follow_the_recipients() -> None:
    one, batch_id = world()
    batch = one.batches[batch_id]

    def shown() -> tuple[str, int, int, float]:
        return batch.status, batch.dispatched, batch.finished, batch.updated_at

    assert shown() == ("pending", 0, 0, START)
    one.set_status(batch_id, 0, "dispatched", START + 1)
    assert shown() == ("in_progress", 1, 0, START + 1)
    one.start_call(batch_id, 0, START + 2)
    one.finish_call(batch_id, 0, "completed", START + 60, START + 60, analysed=False)
    assert shown() == ("in_progress", 1, 1, START + 60)
    one.finish_call(batch_id, 1, "failed", START + 61, START + 61, analysed=True)
    one.finish_call(batch_id, 2, "voicemail", START + 62, START + 62, analysed=True)
    assert shown() == ("completed", 3, 3, START + 62)


def test_a_status_that_nobody_knows_leaves_the_call_open() -> None:
    one, batch_id = world()
    one.set_status(batch_id, 0, "teleported", START + 1)
    assert (one.batches[batch_id].dispatched, one.batches[batch_id].finished) == (1, 0)
    assert one.batches[batch_id].rows[0].status == "teleported"


def test_a_conversation_is_analysed_after_it_is_over() -> None:
    one, batch_id = world()
    call = one.start_call(batch_id, 0, START)
    assert call is not None
    assert (call.status, call.transcript) == ("in-progress", [])
    one.hang_up(batch_id, 0, START + 100, "completed")
    assert (call.status, call.analysed, one.batches[batch_id].rows[0].status) == ("processing", False, "in_progress")
    one.finish_call(batch_id, 0, "completed", START + 100, START + 101, analysed=True)
    assert (call.status, call.analysed, call.started_at + call.duration) == ("done", True, START + 100)


def test_a_retry_keeps_the_recipients_and_makes_new_conversations() -> None:
    one, batch_id = world()
    batch = one.batches[batch_id]
    for position, outcome in enumerate(("completed", "failed", "voicemail")):
        one.finish_call(batch_id, position, outcome, START + 60, START + 60, analysed=True)
    before = [(row.id, row.conversation_id) for row in batch.rows]
    assert one.retry(batch_id, START + 100) == 2
    assert (batch.status, batch.retries, batch.finished, batch.dispatched) == ("in_progress", 1, 1, 1)
    one.finish_call(batch_id, 2, "completed", START + 160, START + 160, analysed=True)
    after = [(row.id, row.conversation_id) for row in batch.rows]
    assert [row_id for row_id, _ in after] == [row_id for row_id, _ in before]
    assert after[0] == before[0]
    assert after[2][1] not in (None, before[2][1])


def test_the_poller_records_each_outcome_once() -> None:
    async def scenario() -> None:
        async with played() as standin:
            book = Book()
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA, NOBODY, MACHINE])
            assert (await polled(standin, book)).calls == 0
            standin.start_call(batch, 0)
            assert (await polled(standin, book)).calls == 0
            ended_at = float(int(time.time()) - 30)
            call = standin.finish_call(batch, 0, ended_at=ended_at)
            standin.finish_call(batch, 1)
            assert (await polled(standin, book)).calls == 2
            standin.finish_call(batch, 2)
            assert (await polled(standin, book)).calls == 1
            assert (await polled(standin, book)).fetched == 0
            by_outcome = {answer.outcome: answer for answer in book.calls}
            ana = by_outcome["completed"]
            assert (ana.key, ana.ended_at, ana.variables) == (call, ended_at, {"customer_name": "Ana"})
            assert ana.summary is not None
            assert by_outcome["failed"].key.startswith(f"{batch}/rcpt_")
            assert by_outcome["voicemail"].batch_name == "Campaña"

    run(scenario())


def test_the_poller_finds_the_calls_of_a_retry() -> None:
    async def scenario() -> None:
        async with played() as standin:
            book = Book()
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[MACHINE])
            first = standin.finish_call(batch, 0)
            await polled(standin, book)
            standin.retry(batch)
            second = standin.finish_call(batch, 0, "completed")
            await polled(standin, book)
            assert [(answer.key, answer.outcome) for answer in book.calls] == [
                (first, "voicemail"),
                (second, "completed"),
            ]

    run(scenario())


def test_a_batch_plays_by_itself_stage_by_stage() -> None:
    async def scenario() -> None:
        async with played() as standin:
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA, NOBODY])
            await standin.play(batch, rings=0.01, talks=0.01, analysis=0.01)
            moves = [(e.data["position"], e.data["status"]) for e in standin.journal.entries("recipient")]
            assert [status for position, status in moves if position == 0] == [
                "dispatched",
                "initiated",
                "in_progress",
                "completed",
            ]
            assert [status for position, status in moves if position == 1] == ["dispatched", "initiated", "failed"]
            _, answer = await fetched(standin, f"/v1/convai/batch-calling/{batch}")
            assert (answer["status"], answer["total_calls_finished"]) == ("completed", 2)
            _, call = await fetched(standin, f"/v1/convai/conversations/{answer['recipients'][0]['conversation_id']}")
            assert (call["status"], call["metadata"]["text_only"]) == ("done", False)

    run(scenario())


@pytest.mark.parametrize("frozen", [True, False])
def test_recipients_may_hide_when_they_changed(frozen: bool) -> None:
    async def scenario() -> None:
        async with played() as standin:
            batch = standin.add_batch(
                name="Campaña", agent_id="agent_1", recipients=[ANA], created_at=START, frozen_updates=frozen
            )
            standin.finish_call(batch, 0)
            _, answer = await fetched(standin, f"/v1/convai/batch-calling/{batch}")
            one = answer["recipients"][0]
            assert (one["updated_at_unix"] == one["created_at_unix"]) is frozen

    run(scenario())


def test_fifty_thousand_old_calls_are_there_in_a_moment() -> None:
    async def scenario() -> None:
        async with played() as standin:
            watch = Stopwatch()
            batch = standin.add_history(50_000, agent_id="agent_1", ended_at=START)
            _, answer = await fetched(standin, f"/v1/convai/batch-calling/{batch}")
            assert len(answer["recipients"]) == answer["total_calls_finished"] == 50_000
            assert watch.seconds < 10
            last = standin.world.conversations[answer["recipients"][-1]["conversation_id"]]
            assert last.started_at + last.duration == START

    run(scenario())
