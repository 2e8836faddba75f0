"""The events that wake a worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wa_relay.loops.bell import Bell, Board, Move


def test_a_wait_ends_when_the_bell_rings_or_when_its_time_is_over() -> None:
    async def scenario() -> None:
        bell = Bell()
        await bell.wait(0.01)
        bell.ring()
        await bell.wait(3600.0)
        bell.clear()
        bell.ring_at(100.0, 99.98)
        await bell.wait(3600.0)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_wait_says_whether_the_bell_rang_or_its_time_was_over() -> None:
    async def scenario() -> None:
        bell = Bell()
        assert not await bell.wait(0.01)
        bell.ring()
        assert await bell.wait(0.01)
        assert await bell.wait()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_bell_keeps_one_timer_however_often_it_is_rung_for_later() -> None:
    async def scenario() -> None:
        bell = Bell()
        loop: Any = asyncio.get_running_loop()
        for moment in range(2000, 1000, -1):
            bell.ring_at(float(moment), 0.0)
            if moment % 7 == 0:
                bell.clear()
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]
        # One of the bell's, and one of this test's own time limit.
        assert len(timers) <= 2

    asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("later", range(5))
def test_a_cancellation_that_meets_the_bell_is_not_lost(later: int) -> None:
    async def scenario() -> None:
        bell = Bell()
        waiting = asyncio.create_task(bell.wait(3600.0))
        for _ in range(3):
            await asyncio.sleep(0)
        bell.ring()
        for _ in range(later):
            await asyncio.sleep(0)
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_who_waits_for_a_message_gets_its_move_or_nothing_when_the_time_is_over() -> None:
    async def scenario() -> None:
        board = Board()
        assert await board.wait(1, 0.01) is None
        waiting = [asyncio.create_task(board.wait(number, 3600.0)) for number in (1, 1, 2, 3)]
        await asyncio.sleep(0)
        board.announce(1, Move("SM1"))
        board.announce(2)
        board.announce(2, Move("SM2"))
        waiting[3].cancel()
        moves = await asyncio.gather(*waiting, return_exceptions=True)
        assert moves[:3] == [Move("SM1"), Move("SM1"), Move(None)]
        assert isinstance(moves[3], asyncio.CancelledError)
        assert not board._waiting

    asyncio.run(asyncio.wait_for(scenario(), 30))
