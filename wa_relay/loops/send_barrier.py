"""Waiting until no request that was claimed before a decision can begin any more (`ledger/unfinished_sends.py`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from wa_relay.ledger import unfinished_sends
from wa_relay.ledger.unfinished_sends import BEGUN_AFTER, LOOK_AGAIN, Begun, MayBegin

T = TypeVar("T")


class Runs(Protocol):
    """Runs operations on the ledger."""

    async def run(self, operation: Callable[..., T], *arguments: object) -> T:
        """Runs one operation and returns its result once it is durable."""
        ...


async def once_nothing_begins(operation: Callable[[Begun], Awaitable[T]]) -> T:
    """Repeats an operation until no message of the agent can begin after it, at most for about a second."""
    begun = Begun(time.monotonic)
    while True:
        try:
            return await operation(begun)
        except MayBegin:
            await asyncio.sleep(LOOK_AGAIN)


async def until_begun(ledger: Runs, conversation_id: int | None = None) -> None:
    """Waits until each send that was claimed before this call has begun, or never will; of one conversation or all."""
    unclear: frozenset[unfinished_sends.Send] = await ledger.run(unfinished_sends.unfinished_sends, conversation_id)
    end = time.monotonic() + BEGUN_AFTER
    while unclear and time.monotonic() < end:
        await asyncio.sleep(LOOK_AGAIN)
        unclear &= await ledger.run(unfinished_sends.unfinished_sends, conversation_id)
