"""The answering worker: puts turns to the agent, and stores the answers with the messages that carry them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from wa_relay import metrics
from wa_relay.ledger import agent_input, try_journal, turns
from wa_relay.ledger.agent_input import Informed, TurnJob
from wa_relay.ledger.faults import LeaseLost, StorageUnavailable
from wa_relay.ledger.handover import request_in_turn
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.typing import TypingIndicator
from wa_relay.loops.worker import IDLE, Worker, rest_until
from wa_relay.model import (
    AgentError,
    Answer,
    Moment,
    NoCapacityError,
    NoteTools,
    NoteTry,
    Question,
    Silence,
    Unreadable,
)
from wa_relay.policy import NO_CAPACITY_BASE, NO_CAPACITY_CAP, AdaptiveLimit, Rules, retry_delay
from wa_relay.text.cleaning import visible
from wa_relay.text.for_agent import compose
from wa_relay.text.markdown import to_whatsapp
from wa_relay.text.splitting import split

TURN_SLOTS = 128


class Agent(Protocol):
    """Answers turns.

    `needs_context` is false for an agent that needs only the customer's messages.
    """

    needs_context: bool

    async def file_limit(self, agent_id: str, /) -> int:
        """Returns how many files of a turn the agent takes; 0 for none."""
        ...

    async def answer(
        self, question: Question, note_tools: NoteTools, note_try: NoteTry, /
    ) -> Answer | Silence | Unreadable:
        """Answers one question within the turn's time.

        Awaits `note_tools` before the effect of a tool that was, or may have been, called, and `note_try` after
        each session that failed. Raises `NoCapacityError` when there is no room for a session, and `AgentError` when
        no try brought an answer.
        """
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
        typing: TypingIndicator | None = None,
    ) -> None:
        super().__init__(ledger, clock, wakers.turn, TURN_SLOTS)
        self._agent = agent
        self._rules = rules
        self._reader = reader
        self._fetch_details = fetch_details
        self._wakers = wakers
        self._typing = typing
        self._sessions = AdaptiveLimit(TURN_SLOTS)
        self.failures = 0

    async def _look(self) -> tuple[bool, float]:
        now = self._clock()
        # A turn that is not claimed waits in the ledger, where what the customer writes meanwhile joins it.
        room = min(self.room, self._sessions.room)
        if room < 1:
            self._held_back = True
            return False, IDLE
        claimed = await self._ledger.run(turns.claim_turns, room, now)
        for job in claimed.jobs:
            self._start(self._run_turn(job, self._sessions.opened()))
        if claimed.answered:
            self._wakers.send.ring()
        self._held_back = claimed.next_due is not None and claimed.next_due <= now
        return len(claimed.jobs) + claimed.answered == room, rest_until(claimed.next_due, now)

    async def _run_turn(self, job: TurnJob, session: int) -> None:
        """Asks one turn and stores the result. `session` is its place among the open sessions."""
        admitted: bool | None = None
        try:
            admitted = await self._answer(job)
        except asyncio.CancelledError:
            with contextlib.suppress(LeaseLost):
                await asyncio.shield(self._ledger.run(turns.reopen_turn, job.turn_id, self._clock()))
            raise
        except LeaseLost:
            # The daemon that took over asks the turn again.
            return
        except Exception as error:
            # A turn that is asked again forever would hold back everything that the customer writes.
            fail("turn_fault", error, turn=job.turn_id)
            await self._persist(turns.fail_turn, job.turn_id, f"unexpected: {type(error).__name__}", self._clock())
            self._wakers.send.ring()
        finally:
            self._sessions.closed(session, admitted=admitted)
            if self._held_back:
                self.bell.ring()

    async def _answer(self, job: TurnJob) -> bool | None:
        """Returns True if the agent answered, False if it had no capacity, None for any other end."""
        ids: dict[str, Any] = {"turn": job.turn_id, "conversation": job.conversation_id, "call": job.question.call_key}
        question = await self._with_files(job, await self._informed(job))
        if not question.files and not question.has_words:
            await self._unreadable(job, ids)
            return None
        say("agent_asked", **ids, phone=job.phone, text=question.text)
        began = time.perf_counter()
        try:
            answer = await self._ask(job, question)
            if isinstance(answer, Unreadable):
                await self._persist(try_journal.record_try, job.turn_id, "unreadable", self._clock())
                await self._unreadable(job, ids)
                return True
            parts = [] if isinstance(answer, Silence) else self._parts(answer)
        except NoCapacityError as error:
            await self._put_off(job, error, ids)
            return False
        except AgentError as error:
            metrics.count_turn("failed", time.perf_counter() - began)
            await self._failed(job, error.message, ids)
            return None
        except LeaseLost:
            raise
        except Exception as error:
            metrics.count_turn("failed", time.perf_counter() - began)
            fail("agent_fault", error, **ids)
            why = f"unexpected: {type(error).__name__}"
            await self._persist(try_journal.record_try, job.turn_id, "failed", self._clock(), why)
            await self._failed(job, why, ids)
            return None
        self.failures = 0
        result = "silent" if isinstance(answer, Silence) else "answered"
        metrics.count_turn(result, time.perf_counter() - began)
        if isinstance(answer, Silence):
            say("agent_silent", **ids, session=answer.session_id)
        else:
            say("agent_answered", **ids, session=answer.session_id, parts=len(parts), text=answer.text)
        if not await self._take(job.turn_id, parts, answer.session_id):
            say("agent_answer_dropped", **ids, why="the customer wrote more meanwhile: the turn is asked again")
            self.bell.ring()
        return True

    async def _with_files(self, job: TurnJob, question: Question) -> Question:
        """The question with the files that the agent takes; the others become notes."""
        if not question.files:
            return question
        limit = await self._agent.file_limit(question.agent_id)
        if limit >= len(question.files):
            return question
        composed = compose(job.messages, limit)
        return replace(question, text=composed.text, files=composed.files)

    async def _unreadable(self, job: TurnJob, ids: dict[str, Any]) -> None:
        """Ends a turn of which the agent can be given nothing."""
        await self._persist(turns.finish_unreadable, job.turn_id, self._clock())
        say("turn_unreadable", **ids, why="the agent takes none of the files")
        self._wakers.send.ring()

    async def _ask(self, job: TurnJob, question: Question) -> Answer | Silence | Unreadable:
        """Asks the agent, and shows that it is typing while it thinks."""
        typing = None if self._typing is None else asyncio.create_task(self._typing.run(job.turn_id))
        try:

            async def note_tools(*, handover: bool = False) -> None:
                await self._note_tools(job, handover=handover)

            async def note_try(why: str) -> None:
                await self._persist(try_journal.record_try, job.turn_id, "failed", self._clock(), why)

            return await self._agent.answer(question, note_tools, note_try)
        finally:
            if typing is not None:
                typing.cancel()

    def _parts(self, answer: Answer) -> list[str]:
        """The messages that carry an answer. Raises `AgentError` if there is nothing visible in it."""
        parts = [part for part in split(to_whatsapp(answer.text), self._rules.max_length) if visible(part)]
        if not parts:
            raise AgentError("the answer has nothing visible in it")
        return parts

    async def _take(self, turn_id: int, parts: list[str], session_id: str | None) -> bool:
        """Stores the answer. Returns False if the turn is asked again instead."""
        now = self._clock()
        try:
            stored = self._ledger.hand_over(turns.take_answer, turn_id, parts, session_id, now)
            # The sender's claim comes behind it in the ledger's queue, so that both share a commit.
            self._wakers.send.ring()
            return await stored
        except StorageUnavailable:
            taken = await self._persist(turns.take_answer, turn_id, parts, session_id, now)
            self._wakers.send.ring()
            return taken

    async def _note_tools(self, job: TurnJob, *, handover: bool) -> None:
        """Returns once it is durable that the turn is never asked again, or that the agent requested a person."""
        if not handover:
            await self._persist(turns.note_tools, job.turn_id)
        elif await self._persist(request_in_turn, job.turn_id, self._clock()):
            say("handover_requested", turn=job.turn_id, conversation=job.conversation_id, why="tool")
            self._wakers.send.ring()

    async def _put_off(self, job: TurnJob, error: NoCapacityError, ids: dict[str, Any]) -> None:
        """Puts a turn off for lack of capacity, or fails it when it has waited too long."""
        now = self._clock()
        pause = retry_delay(job.put_offs, error.retry_after, base=NO_CAPACITY_BASE, cap=NO_CAPACITY_CAP)
        pause = self._rules.scaled(pause)
        if await self._persist(turns.put_off_turn, job.turn_id, now + pause, now, error.message):
            self.failures += 1
            say("agent_no_capacity", **ids, why=error.message, pause=round(pause, 1))
        else:
            await self._failed(job, f"no room for a session for too long; the last time: {error.message}", ids)

    async def _informed(self, job: TurnJob) -> Question:
        """The question with the thread and the call's summary, fetched now if it is not there yet."""
        if not self._agent.needs_context:
            return job.question
        informed = await self._read(job)
        if not informed.needs_details or job.call_id is None or job.question.call_key is None:
            return informed.question
        try:
            await self._fetch_details(job.call_id, job.question.call_key)
        except Exception as error:
            say("details_missing", call=job.question.call_key, why=str(error))
        return (await self._read(job)).question

    async def _read(self, job: TurnJob) -> Informed:
        try:
            return await self._reader.read(agent_input.inform, job)
        except StorageUnavailable:
            return await self._persist(agent_input.inform_on_writer, job)

    async def _failed(self, job: TurnJob, why: str, ids: dict[str, Any]) -> None:
        self.failures += 1
        fallback = await self._persist(turns.fail_turn, job.turn_id, why, self._clock())
        warn("agent_failed", **ids, phone=job.phone, why=why, fallback=fallback)
        self._wakers.send.ring()
