"""What wakes a worker."""

from __future__ import annotations

import asyncio

import pytest

from wa_relay.loops.bell import Bell


def test_a_wait_ends_when_the_bell_rings_or_when_its_time_is_over() -> None:
    async def scenario() -> None:
        bell = Bell()
        await bell.wait(0.01)
        bell.ring()
        await bell.wait(3600.0)
        bell.clear()
        bell.ring_at(100.0, 99.98)
        await bell.wait(3600.0)

    asyncio.run(asyncio.wait_for(scenario(), 5))


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

    asyncio.run(asyncio.wait_for(scenario(), 5))
