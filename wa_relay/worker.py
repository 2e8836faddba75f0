"""The workers: claim what is due, do it outside, finish it in the ledger.

Two of them: one puts turns to the agent, one sends what the outbox holds. Order within a
conversation is the ledger's doing; a worker takes whatever a claim gives it, all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from wa_relay import text
from wa_relay.bell import Bell, Board
from wa_relay.ledger import outbox, sends, turns
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.outbox import SendJob
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.sends import Finished
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.ledger.turns import Informed, TurnJob
from wa_relay.logs import fail, say, warn
from wa_relay.model import (
    Accepted,
    AgentError,
    Answer,
    Moment,
    NotSent,
    Outgoing,
    Question,
    SendResult,
    Unclear,
)
from wa_relay.policy import Circuit, Rules

P = ParamSpec("P")
T = TypeVar("T")

SEND_SLOTS = 256
TURN_SLOTS = 128
SEND_DEADLINE = 40.0
"""Seconds for one request, above the channel's own limits: nothing may wait for ever."""

IDLE = 1.0
"""The net under the bell: a worker looks by itself at least this often (seconds)."""


class Agent(Protocol):
    """Who answers a turn. Raises `AgentError` when no try brought an answer.

    `reads_context` is false for who needs nothing but the customer's words.
    """

    reads_context: bool

    async def answer(self, question: Question) -> Answer:
        """Answers one question within the turn's time."""
        ...


class Channel(Protocol):
    """Who carries a message. Faults of the other side are results, never exceptions."""

    async def send(self, message: Outgoing) -> SendResult:
        """Makes one request, once."""
        ...


class Worker:
    """What both workers share: the loop around a claim, the running jobs, and a clean stop."""

    def __init__(self, ledger: LedgerThread, clock: Callable[[], Moment], slots: int) -> None:
        self._ledger, self._clock, self._slots = ledger, clock, slots
        self._jobs: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._looking = asyncio.Lock()
        # True while something is due that the last look could not take: the end of a job may free it.
        self._held_back = False
        self.bell = Bell()

    async def run(self) -> None:
        """Works until `stop`; storage that fails is waited out."""
        while not self._stopping:
            self.bell.clear()
            try:
                async with self._looking:
                    busy, pause = (False, 0.0) if self._stopping else await self._look()
            except StorageUnavailable:
                busy, pause = False, IDLE
            except Exception as error:
                fail("worker_fault", error, worker=type(self).__name__)
                busy, pause = False, IDLE
            if not busy:
                await self.bell.wait(pause)

    async def stop(self, grace: float) -> None:
        """Takes no new job, lets the running ones end within `grace` seconds, then ends them."""
        self._stopping = True
        self.bell.ring()
        # What is being claimed just now becomes a job yet.
        async with self._looking:
            pass
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=grace)
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def _look(self) -> tuple[bool, float]:
        """Claims and starts what is due: whether there may be more, and how long to rest if not."""
        raise AssertionError("a worker says what it looks for")

    @property
    def room(self) -> int:
        """How many more jobs may run."""
        return self._slots - len(self._jobs)

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            fail("job_fault", error, worker=type(self).__name__)
        if not self.room - 1:
            self.bell.ring()

    async def _persist(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Stores a result however long the storage is away: what happened outside can't be undone."""
        pause = 0.2
        while True:
            try:
                return await self._ledger.run(operation, *args, **kwargs)
            except StorageUnavailable as error:
                warn("storage_away", message=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)


class SendWorker(Worker):
    """Sends what the outbox holds, at the sender's rate."""

    def __init__(
        self,
        ledger: LedgerThread,
        channel: Channel,
        board: Board,
        clock: Callable[[], Moment],
        *,
        per_second: float,
        on_unclear: Callable[[], None],
    ) -> None:
        super().__init__(ledger, clock, SEND_SLOTS)
        self._channel, self._board, self._on_unclear = channel, board, on_unclear
        self._rate, self._tokens, self._filled_at = per_second, 1.0, clock()
        self.circuit = Circuit()

    async def _look(self) -> tuple[bool, float]:
        now = self._clock()
        allowed = min(self.room, int(self._refilled(now)))
        if not self.circuit.allows(now):
            return False, IDLE
        if self.circuit.failures >= 5:
            allowed = min(allowed, 1)
        if allowed < 1:
            return False, IDLE if self.room < 1 else max(0.002, (1.0 - self._tokens) / self._rate)
        claimed, due = await self._ledger.run(_claim_messages, allowed, now)
        if claimed.burst:
            warn(
                "burst_held",
                openings=claimed.burst,
                what="more openings are due than opening.burst_limit: "
                "look why, then let them go with `wa-relay resume`",
            )
        for message_id, reason in claimed.ended:
            say("message_ended", message=message_id, reason=reason)
            self._board.tell(message_id)
        self._tokens -= len(claimed.jobs)
        for job in claimed.jobs:
            self.circuit.tried(now)
            self._start(self._send(job))
        self._held_back = due is not None and due <= now
        return bool(claimed.ended) or len(claimed.jobs) == allowed, _rest(due, now)

    def _refilled(self, now: Moment) -> float:
        # A tenth of a second's worth may go at once: smooth, and no burst after a rest.
        most = max(1.0, self._rate / 10.0)
        self._tokens = min(most, self._tokens + max(0.0, now - self._filled_at) * self._rate)
        self._filled_at = now
        return self._tokens

    async def _send(self, job: SendJob) -> None:
        result = await self._request(job.outgoing)
        identity = job.outgoing.message_id
        assert identity is not None
        try:
            finished = await self._persist(sends.finish_send, identity, result, self._clock())
        except Exception as error:
            # On the wire for ever it would hold its conversation, and nobody would see it.
            fail("result_fault", error, message=identity)
            result = Unclear(f"its result could not be stored: {type(error).__name__}")
            finished = await self._persist(sends.finish_send, identity, result, self._clock())
        self._note(result)
        self._log(job, result, finished)
        self._board.tell(identity)
        if self._held_back or finished.due_at is not None:
            self.bell.ring()
        if finished.status == "uncertain":
            self._on_unclear()

    async def _request(self, outgoing: Outgoing) -> SendResult:
        try:
            async with asyncio.timeout(SEND_DEADLINE):
                return await self._channel.send(outgoing)
        except TimeoutError:
            return Unclear(f"no answer within {SEND_DEADLINE:.0f} s")
        except Exception as error:
            # Whatever this is, it may have happened after the first byte.
            fail("send_fault", error, message=outgoing.message_id)
            return Unclear(f"the request broke off: {type(error).__name__}")

    def _note(self, result: SendResult) -> None:
        if isinstance(result, Unclear) or (isinstance(result, NotSent) and not result.answered):
            self.circuit.failed(self._clock())
        elif not isinstance(result, NotSent):
            self.circuit.succeeded()

    def _log(self, job: SendJob, result: SendResult, finished: Finished) -> None:
        ids: dict[str, Any] = {
            "message": finished.message_id,
            "conversation": job.conversation_id,
            "call": job.call_key,
        }
        ids["phone"], ids["text"] = job.outgoing.to, job.outgoing.body
        if finished.alarm:
            warn("alarm", **ids, what=finished.alarm)
        kind = {"reply": "answer"}.get(job.kind, job.kind)
        if isinstance(result, Accepted):
            say(f"{kind}_sent", **ids, sid=result.sid)
        elif isinstance(result, NotSent):
            say(f"{kind}_put_off", **ids, why=result.evidence)
        elif isinstance(result, Unclear):
            warn(f"{kind}_uncertain", **ids, why=result.evidence)
        else:
            warn(f"{kind}_refused", **ids, code=result.code, meaning=result.meaning)


class TurnWorker(Worker):
    """Puts turns to the agent and stores the answers, with the messages that carry them."""

    def __init__(
        self,
        ledger: LedgerThread,
        agent: Agent,
        clock: Callable[[], Moment],
        rules: Rules,
        reader: Reader,
        *,
        fetch_details: Callable[[int, str], Awaitable[None]],
        on_answer: Callable[[], None],
    ) -> None:
        super().__init__(ledger, clock, TURN_SLOTS)
        self._agent, self._rules, self._reader = agent, rules, reader
        self._fetch_details, self._on_answer = fetch_details, on_answer
        self.failures = 0

    async def _look(self) -> tuple[bool, float]:
        now = self._clock()
        if self.room < 1:
            return False, IDLE
        room = self.room
        claimed, due = await self._ledger.run(_claim_turns, room, now)
        for job in claimed.jobs:
            self._start(self._ask(job))
        if claimed.answered:
            self._on_answer()
        self._held_back = due is not None and due <= now
        return len(claimed.jobs) + claimed.answered == room, _rest(due, now)

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
            self._on_answer()
        finally:
            if self._held_back:
                self.bell.ring()

    async def _answer(self, job: TurnJob) -> None:
        ids: dict[str, Any] = {"turn": job.turn_id, "conversation": job.conversation_id, "call": job.question.call_key}
        question = await self._informed(job)
        say("agent_asked", **ids, phone=job.phone, text=question.text)
        try:
            answer = await self._agent.answer(question)
            parts = text.split(text.to_whatsapp(answer.text), self._rules.max_length)
            parts = [part for part in parts if text.visible(part)]
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
            self._on_answer()
            await stored
        except StorageUnavailable:
            await self._persist(turns.finish_turn, turn_id, parts, session_id, now)
            self._on_answer()

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
            return await self._reader.read(turns.inform, job)
        except StorageUnavailable:
            return await self._persist(turns.inform_here, job)

    async def _failed(self, job: TurnJob, why: str, ids: dict[str, Any]) -> None:
        self.failures += 1
        told = await self._persist(turns.fail_turn, job.turn_id, why, self._clock())
        warn("agent_failed", **ids, phone=job.phone, why=why, fallback=told)
        self._on_answer()


# A claim and the look at what comes next are one operation: a turn of the ledger's thread costs more than both.


def _claim_messages(ledger: Ledger, limit: int, now: Moment) -> tuple[outbox.Claimed, Moment | None]:
    return outbox.claim_messages(ledger, limit, now), outbox.next_due(ledger)


def _claim_turns(ledger: Ledger, limit: int, now: Moment) -> tuple[turns.ClaimedTurns, Moment | None]:
    claimed, row = turns.claim_turns(ledger, limit, now), ledger.one(turns.NEXT_DUE)
    return claimed, None if row is None else row[0]


def _rest(due: Moment | None, now: Moment) -> float:
    """How long a worker may sleep; what is due already and was not taken waits for the bell."""
    return IDLE if due is None or due <= now else min(IDLE, due - now)
