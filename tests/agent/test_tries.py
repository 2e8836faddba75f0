"""The tries of a turn, and how turns share an unavailable service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC
from io import StringIO

import pytest

from wa_relay.agent.tries import ToolNote, Tries, TryFailedError
from wa_relay.logs import LOGGER, EventFormatter
from wa_relay.model import AgentError, Answer, NoCapacityError, Silence
from wa_relay.policy import Circuit, TryLimits

QUICK = TryLimits(tries=3, total=5.0, base=0.001)


@pytest.fixture
def log() -> Iterator[StringIO]:
    """The daemon's log at `debug`."""
    shown = StringIO()
    handler, before = logging.StreamHandler(shown), (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
    handler.setFormatter(EventFormatter(as_json=False, personal_data=False, timezone=UTC))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.DEBUG)
    yield shown
    LOGGER.handlers[:], LOGGER.level, LOGGER.propagate = before


def attempts(
    *outcomes: Answer | Silence | TryFailedError,
) -> tuple[Callable[[float], Awaitable[Answer | Silence]], list[float]]:
    """Plays the outcomes, repeating the last one; notes when each try was made."""
    made: list[float] = []

    async def attempt(_deadline: float) -> Answer | Silence:
        made.append(asyncio.get_running_loop().time())
        outcome = outcomes[min(len(made), len(outcomes)) - 1]
        if isinstance(outcome, TryFailedError):
            raise outcome
        return outcome

    return attempt, made


def test_a_service_that_is_away_is_tried_by_one_turn_at_a_time_until_it_is_back() -> None:
    async def scenario() -> None:
        circuit, pause = Circuit(pause=0.2), 0.2
        away, made = attempts(TryFailedError("refused", away=True))
        for _ in range(2):
            with pytest.raises(AgentError):
                await Tries(1.0, QUICK, circuit).first_answer(away)
        assert len(made) == 6
        assert made[5] - made[4] >= pause - 0.01
        back, again = attempts(Answer("Hola"))
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(Tries(1.0, QUICK, circuit).first_answer(back) for _ in range(5)))
        assert again[0] - began >= pause - 0.05
        assert again[-1] - again[0] < 3 * pause
        assert circuit.failures == 0

    asyncio.run(scenario())


def test_a_turn_that_finds_no_place_in_time_fails() -> None:
    async def scenario() -> None:
        circuit = Circuit(threshold=1, pause=30.0)
        circuit.failed(asyncio.get_running_loop().time())
        attempt, made = attempts(Answer("Hola"))
        with pytest.raises(AgentError, match="is away"):
            await Tries(1.0, QUICK, circuit).first_answer(attempt)
        assert made == []

    asyncio.run(scenario())


def test_an_agent_that_is_silent_is_not_away() -> None:
    async def scenario() -> None:
        circuit = Circuit()
        attempt, made = attempts(TryFailedError("silent", at_once=True))
        for _ in range(4):
            with pytest.raises(AgentError):
                await Tries(1.0, QUICK, circuit).first_answer(attempt)
        assert (len(made), circuit.failures) == (12, 0)

    asyncio.run(scenario())


def test_the_reason_of_every_failed_try_is_in_the_log(log: StringIO) -> None:
    async def scenario() -> None:
        attempt, _ = attempts(TryFailedError("ElevenLabs broke the session (close code 1011)"), Answer("Hola"))
        await Tries(1.0, QUICK).first_answer(attempt)

    asyncio.run(scenario())
    assert "agent_try_failed" in log.getvalue()
    assert 'why="ElevenLabs broke the session (close code 1011)"' in log.getvalue()


def test_silence_is_an_answer_at_the_first_try() -> None:
    async def scenario() -> None:
        attempt, made = attempts(Silence("conv_1"))
        assert await Tries(1.0, QUICK).first_answer(attempt) == Silence("conv_1")
        assert len(made) == 1

    asyncio.run(scenario())


def test_a_refusal_for_lack_of_capacity_counts_neither_as_a_try_nor_as_a_fault() -> None:
    async def scenario() -> None:
        circuit = Circuit(threshold=1)
        attempt, made = attempts(TryFailedError("429", no_capacity=True, retry_after=7.0))
        with pytest.raises(NoCapacityError) as caught:
            await Tries(1.0, QUICK, circuit).first_answer(attempt)
        assert (len(made), caught.value.retry_after, circuit.failures) == (1, 7.0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "failure",
    [
        TryFailedError("lost"),
        TryFailedError("silent", at_once=True),
        TryFailedError("full", no_capacity=True),
        Answer(" "),
    ],
)
def test_a_turn_whose_tools_may_have_run_is_not_tried_again(failure: TryFailedError | Answer) -> None:
    async def scenario() -> None:
        async def record(*, handover: bool = False) -> None:
            recorded.append(1)

        recorded: list[int] = []
        note = ToolNote(record)
        await note.make()
        await note.make()
        attempt, made = attempts(failure)
        with pytest.raises(AgentError, match="a tool was or may have been called"):
            await Tries(1.0, QUICK).first_answer(attempt, note)
        assert (len(made), len(recorded)) == (1, 1)

    asyncio.run(scenario())
