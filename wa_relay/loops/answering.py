"""The answering worker: puts turns to the agent, and stores the answers with the messages that carry them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from wa_relay.ledger import questions, turns
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.questions import Informed, TurnJob
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.worker import IDLE, Worker, rest_until
from wa_relay.model import AgentError, Answer, Moment, Question
from wa_relay.policy import Rules
from wa_relay.text.markup import to_whatsapp
from wa_relay.text.plain import visible
from wa_relay.text.splitting import split

TURN_SLOTS = 128


class Agent(Protocol):
    """Who answers a turn. Raises `AgentError` when no try brought an answer.

    `reads_context` is false for who needs nothing but the customer's words.
    """

    reads_context: bool

    async def answer(self, question: Question) -> Answer:
        """Answers one question within the turn's time."""
        ...


class TurnWorker(Worker):
    """Puts turns to the agent and stores the answers, with the messages that carry them."""

    def __init__(
        self,
        ledger: LedgerThread,
        agent: Agent,
        clock: Callable[[], Moment],
        rules: Rules,
        reader: Reader,
        wakers: Wakers,
        *,
        fetch_details: Callable[[int, str], Awaitable[None]],
    ) -> None:
        super().__init__(ledger, clock, wakers.turn, TURN_SLOTS)
        self._agent, self._rules, self._reader = agent, rules, reader
        self._fetch_details, self._wakers = fetch_details, wakers
        self.failures = 0

    async def _look(self) -> tuple[bool, float]:
        now = self._clock()
        if self.room < 1:
            return False, IDLE
        room = self.room
        claimed = await self._ledger.run(turns.claim_turns, room, now)
        due = claimed.next_due
        for job in claimed.jobs:
            self._start(self._ask(job))
        if claimed.answered:
            self._wakers.send.ring()
        self._held_back = due is not None and due <= now
        return len(claimed.jobs) + claimed.answered == room, rest_until(due, now)

    async def _ask(self, job: TurnJob) -> None:
        try:
            await self._answer(job)
        except asyncio.CancelledError:
            await asyncio.shield(self._ledger.run(turns.reopen_turn, job.turn_id, self._clock()))
            raise
        except Exception as error:
            # A turn that is asked for ever would hold back all that the person writes.
            fail("turn_fault", error, turn=job.turn_id)
            await self._persist(turns.fail_turn, job.turn_id, f"unexpected: {type(error).__name__}", self._clock())
            self._wakers.send.ring()
        finally:
            if self._held_back:
                self.bell.ring()

    async def _answer(self, job: TurnJob) -> None:
        ids: dict[str, Any] = {"turn": job.turn_id, "conversation": job.conversation_id, "call": job.question.call_key}
        question = await self._informed(job)
        say("agent_asked", **ids, phone=job.phone, text=question.text)
        try:
            answer = await self._agent.answer(question)
            parts = split(to_whatsapp(answer.text), self._rules.max_length)
            parts = [part for part in parts if visible(part)]
            if not parts:
                raise AgentError("the answer has nothing in it that can be seen")
        except AgentError as error:
            await self._failed(job, error.message, ids)
            return
        except Exception as error:
            fail("agent_fault", error, **ids)
            await self._failed(job, f"unexpected: {type(error).__name__}", ids)
            return
        self.failures = 0
        say("agent_answered", **ids, session=answer.session_id, parts=len(parts), text=answer.text)
        await self._finish(job.turn_id, parts, answer.session_id)

    async def _finish(self, turn_id: int, parts: list[str], session_id: str | None) -> None:
        now = self._clock()
        try:
            stored = self._ledger.hand_over(turns.finish_turn, turn_id, parts, session_id, now)
            # The sender's claim comes behind it in the ledger's queue, so that both share a commit.
            self._wakers.send.ring()
            await stored
        except StorageUnavailable:
            await self._persist(turns.finish_turn, turn_id, parts, session_id, now)
            self._wakers.send.ring()

    async def _informed(self, job: TurnJob) -> Question:
        """The question with the thread and the call's summary, fetched now if it is not there yet."""
        if not self._agent.reads_context:
            return job.question
        informed = await self._read(job)
        if not informed.needs_details or job.call_id is None or job.question.call_key is None:
            return informed.question
        try:
            await self._fetch_details(job.call_id, job.question.call_key)
        except Exception as error:
            say("details_not_told", call=job.question.call_key, why=str(error))
        return (await self._read(job)).question

    async def _read(self, job: TurnJob) -> Informed:
        try:
            return await self._reader.read(questions.inform, job)
        except StorageUnavailable:
            return await self._persist(questions.inform_on_writer, job)

    async def _failed(self, job: TurnJob, why: str, ids: dict[str, Any]) -> None:
        self.failures += 1
        told = await self._persist(turns.fail_turn, job.turn_id, why, self._clock())
        warn("agent_failed", **ids, phone=job.phone, why=why, fallback=told)
        self._wakers.send.ring()
