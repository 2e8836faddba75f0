"""The workers around a claim: the state after a fault halfway through a job, and after a stop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.flaky import flaky
from wa_relay.ledger import calls, inbox, store
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.unfinished_sends import BEGIN_WITHIN
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.answering import Agent, TurnWorker
from wa_relay.loops.bell import Bell, Wakers
from wa_relay.loops.rates import Rates
from wa_relay.loops.sending import SendWorker
from wa_relay.loops.worker import Worker
from wa_relay.model import (
    Accepted,
    Answer,
    Call,
    Inbound,
    Line,
    NoCapacityError,
    NoteTools,
    NoteTry,
    NotSent,
    Outgoing,
    Question,
    SendRefused,
    SendResult,
)
from wa_relay.policy import OpeningText, Rules

RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText(body="Hola")},
    debounce=0.0,
    fallback="Luego",
)
STATUS = "select status from conversation_messages where id = ?"


class Network:
    """Twilio as one test wants it: `results` by the order of the requests, then acceptance."""

    def __init__(self, *results: SendResult) -> None:
        self._results, self.requests = list(results), 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def send(self, message: Outgoing) -> SendResult:  # noqa: ARG002 - what it says does not matter here
        """Answers once it may."""
        self.requests += 1
        number = self.requests
        await self.may_answer.wait()
        return self._results.pop(0) if self._results else Accepted(f"SM{number:032x}")


class Parrot:
    """An agent that answers at once, and keeps what it was asked."""

    needs_context = True

    async def file_limit(self, _agent_id: str) -> int:
        """Takes no files."""
        return 0

    def __init__(self) -> None:
        self.asked: list[Question] = []

    async def answer(self, question: Question, _note_tools: NoteTools, _note_try: NoteTry) -> Answer:
        """Says the question again."""
        self.asked.append(question)
        return Answer(f"¿{question.text}?")


async def _no_details(_call_id: int, _key: str) -> None:
    """Finds nothing."""


class Doubtful(LedgerThread):
    """A ledger whose lease is in doubt once: the answer to its renewal came late, and the next one succeeds."""

    doubts = 1

    def lease_holds(self) -> bool:
        """False at first."""
        self.doubts -= 1
        return self.doubts < 0


class Room:
    """A ledger with that many people who have been called, and the workers on it."""

    def __init__(self, folder: Path, people: int = 1, ledger: type[LedgerThread] = LedgerThread) -> None:
        self.database = flaky(folder / "relay.db", now=time.time() - 60.0)
        self.ledger = ledger(Ledger(self.database, RULES))
        self.reader = Reader(folder / "relay.db")
        self._people = people

    async def call(self) -> None:
        """Records the calls."""
        now = time.time()
        await self.ledger.run(store.begin_run, now)
        for number in range(self._people):
            one = Call(
                f"conv_{number}",
                f"+5731385391{number:02}",
                "agent_1",
                "completed",
                "push",
                now,
                summary="Preguntó por el plan.",
            )
            await self.ledger.run(calls.record_call, one, now)

    def sender(self, network: Network) -> SendWorker:
        """A worker that sends over a network."""
        return SendWorker(self.ledger, network, Wakers(), time.time, rates=Rates(50, {}, "", time.time()))

    def asker(
        self,
        agent: Agent,
        fetch_details: Callable[[int, str], Awaitable[None]] | None = None,
        reader: Reader | None = None,
        wakers: Wakers | None = None,
    ) -> TurnWorker:
        """A worker that asks an agent."""
        return TurnWorker(
            self.ledger,
            agent,
            time.time,
            RULES,
            reader or self.reader,
            wakers or Wakers(),
            fetch_details=fetch_details or _no_details,
        )

    async def until(self, what: object, sql: str, *parameters: object) -> None:
        """Waits for a value in the database, 10 s at most."""

        def found(db: Queries) -> object:
            return db.execute(sql, parameters).fetchone()[0]

        async with asyncio.timeout(30):
            # The database rings no bell.
            while await self.reader.read(found) != what:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _working(worker: Worker) -> AsyncIterator[None]:
    running = asyncio.create_task(worker.run())
    yield
    await worker.stop(1.0)
    await running


def _run(
    folder: Path,
    scenario: Callable[[Room], Awaitable[None]],
    people: int = 1,
    ledger: type[LedgerThread] = LedgerThread,
) -> None:
    async def whole() -> None:
        room = Room(folder, people, ledger)
        await room.call()
        await scenario(room)
        room.reader.close()
        await room.ledger.close()

    asyncio.run(asyncio.wait_for(whole(), 90))


@pytest.mark.parametrize("fault", [StorageUnavailable("locked"), RuntimeError("unforeseen")])
def test_a_turn_is_answered_also_when_its_calls_details_can_not_be_had_or_stored(
    tmp_path: Path, fault: Exception
) -> None:
    async def refused(_call_id: int, _key: str) -> None:
        raise fault

    async def scenario(room: Room) -> None:
        await room.ledger.run(inbox.record_inbound, Inbound("SM1", "+573138539100", "precio"), time.time())
        async with _working(room.asker(Parrot(), fetch_details=refused)):
            await room.until("answered", "select state from turns")

    _run(tmp_path, scenario)


@pytest.mark.parametrize("readable", [True, False])
def test_the_agent_gets_the_thread_even_if_the_reader_fails(tmp_path: Path, readable: bool) -> None:
    async def scenario(room: Room) -> None:
        await room.ledger.run(inbox.record_inbound, Inbound("SM1", "+573138539100", "precio"), time.time())
        parrot, reader = Parrot(), Reader(tmp_path / ("relay.db" if readable else "elsewhere.db"))
        async with _working(room.asker(parrot, reader=reader)):
            await room.until("answered", "select state from turns")
        reader.close()
        (question,) = parrot.asked
        assert (question.call_key, question.summary) == ("conv_0", "Preguntó por el plan.")
        assert question.thread == (Line("agent", "Hola"),)

    _run(tmp_path, scenario)


def test_an_answer_that_is_stored_at_the_second_try_is_sent_without_waiting(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        class Untimely(Parrot):
            """An agent during whose answer the disk breaks."""

            async def answer(self, question: Question, _note_tools: NoteTools, _note_try: NoteTry) -> Answer:
                room.database.failing.append("commit")
                return await super().answer(question, _note_tools, _note_try)

        class Looking(Bell):
            """A sender's bell that looks for the answer when it is rung."""

            def ring(self) -> None:
                sql = "select 1 from conversation_messages where kind = 'reply'"
                queued.append(room.ledger.hand_over(Ledger.all, sql))

        queued: list[asyncio.Future[list[sqlite3.Row]]] = []
        await room.ledger.run(inbox.record_inbound, Inbound("SM1", "+573138539100", "precio"), time.time())
        async with _working(room.asker(Untimely(), wakers=Wakers(send=Looking()))):
            await room.until("answered", "select state from turns")
        assert len(await queued[-1]) == 1

    _run(tmp_path, scenario)


def test_a_turn_whose_answer_can_never_be_stored_fails_and_holds_nobody_back(tmp_path: Path) -> None:
    class Odd:
        """An agent with a session id that no file takes."""

        needs_context = False

        async def file_limit(self, _agent_id: str) -> int:
            return 0

        async def answer(self, question: Question, _note_tools: NoteTools, _note_try: NoteTry) -> Answer:
            return Answer(question.text, session_id="\ud800")

    async def scenario(room: Room) -> None:
        await room.ledger.run(inbox.record_inbound, Inbound("SM1", "+573138539100", "precio"), time.time())
        async with _working(room.asker(Odd())):
            await room.until("failed", "select state from turns")

    _run(tmp_path, scenario)


def test_a_send_whose_result_can_not_be_stored_is_uncertain_and_not_on_the_wire_for_ever(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        async with _working(room.sender(Network(SendRefused("21211", "no number", "customer", message="\ud800")))):
            await room.until("uncertain", STATUS, 1)

    _run(tmp_path, scenario)


def test_answers_of_twilio_about_single_messages_do_not_hold_back_the_others(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        network = Network(*[NotSent("HTTP 400 63049", 3600.0)] * 6)
        async with _working(room.sender(network)):
            await room.until(14, "select count(*) from conversation_messages where status = 'sent'")

    _run(tmp_path, scenario, people=20)


def test_refusals_of_a_service_that_is_too_busy_are_counted_until_it_accepts_again(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        network = Network(*[NotSent("429", 3600.0, busy=True)] * 3)
        worker = room.sender(network)
        async with _working(worker):
            async with asyncio.timeout(30):
                # The worker rings no bell for this.
                while network.requests < 3 or worker.refusals < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await room.ledger.run(inbox.record_inbound, Inbound("SM1", "+573138539100", "precio"), time.time())
            async with _working(room.asker(Parrot(), wakers=Wakers(send=worker.bell))), asyncio.timeout(30):
                while worker.refusals:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    _run(tmp_path, scenario, people=3)


def test_turns_for_which_the_agent_has_no_room_are_counted_as_failures(tmp_path: Path) -> None:
    class Full(Parrot):
        """An agent without room."""

        async def answer(self, question: Question, _note_tools: NoteTools, _note_try: NoteTry) -> Answer:
            raise NoCapacityError(f"429: {question.text}", retry_after=0.01)

    async def scenario(room: Room) -> None:
        for number in range(3):
            message = Inbound(f"SM{number}", f"+57313853910{number}", "precio")
            await room.ledger.run(inbox.record_inbound, message, time.time())
        asker = room.asker(Full())
        async with _working(asker), asyncio.timeout(45):
            while asker.failures < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    _run(tmp_path, scenario, people=3)


def test_a_stop_lets_a_send_end_that_was_being_claimed_when_it_came(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        network, held, may_go = Network(), threading.Event(), threading.Event()

        def hold(_ledger: Ledger) -> None:
            held.set()
            assert may_go.wait(10)

        holding = asyncio.create_task(room.ledger.run(hold))
        await asyncio.to_thread(held.wait, 10)
        worker = room.sender(network)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stopping = asyncio.create_task(worker.stop(10.0))
        await asyncio.sleep(0)
        network.may_answer.clear()
        may_go.set()
        await room.until("sending", STATUS, 1)
        await asyncio.wait([stopping], timeout=0.1)
        assert not stopping.done()
        network.may_answer.set()
        await asyncio.gather(holding, stopping, running)
        await room.until("sent", STATUS, 1)

    _run(tmp_path, scenario)


def test_a_worker_that_never_ran_can_be_stopped(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        worker: Worker = room.sender(Network())
        await worker.stop(10.0)
        await worker.run()

    _run(tmp_path, scenario)


def test_a_claim_that_comes_back_after_a_second_begins_no_request(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        network = Network()
        other = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
        other.execute("begin immediate")
        async with _working(room.sender(network)):
            await asyncio.sleep(BEGIN_WITHIN + 0.1)
            assert network.requests == 0
            other.rollback()
            await room.until("sent", "select status from conversation_messages")
        other.close()
        # The late claim was the first attempt, and the only request belongs to the second.
        await room.until(2, "select sends from conversation_messages")
        assert network.requests == 1

    _run(tmp_path, scenario)


def test_a_message_that_was_claimed_while_the_lease_was_in_doubt_is_sent_later(tmp_path: Path) -> None:
    async def scenario(room: Room) -> None:
        network = Network()
        async with _working(room.sender(network)):
            await room.until("sent", STATUS, 1)
        assert network.requests == 1

    _run(tmp_path, scenario, ledger=Doubtful)
