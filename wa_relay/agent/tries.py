"""How often a turn is tried: three sessions at most, within 90 s in all, whatever the transport."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wa_relay.logs import say
from wa_relay.model import AgentError, Answer, Moment
from wa_relay.policy import Circuit
from wa_relay.text.markup import to_whatsapp
from wa_relay.text.plain import visible

AWAY_PAUSE = 2.0
"""Seconds between two tries, of all turns together, while the service is away: a customer waits for each."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`tries` sessions within `total` seconds; pauses are `uniform(0, min(cap, base * 2**n))` seconds."""

    tries: int = 3
    total: float = 90.0
    base: float = 2.0
    cap: float = 30.0


class TryFailedError(Exception):
    """One try brought no answer.

    `at_once`: nothing is broken, a fresh try needs no pause. `permanent`: no try will do better.
    `away`: the service could not be reached, or had a fault of its own.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        at_once: bool = False,
        away: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.at_once = at_once
        self.away = away
        self.retry_after = retry_after


async def with_tries(
    attempt: Callable[[Moment], Awaitable[Answer]],
    timeout: float,
    limits: Limits,
    circuit: Circuit,
    ids: Mapping[str, Any] | None = None,
) -> Answer:
    """The answer of the first try that brings one; a try gets `timeout` seconds, or what is left of the total.

    `attempt` is given its deadline on the loop's clock and raises `TryFailedError`; `ids` name the turn in the log.
    While the `circuit` that all turns share is open, a try waits for its place. Raises `AgentError` when a failure is
    permanent or the limits are reached.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.total
    for number in range(1, limits.tries + 1):
        await _admitted(circuit, end)
        deadline = min(loop.time() + timeout, end)
        try:
            async with asyncio.timeout_at(deadline + 1.0):
                answer = await attempt(deadline)
            circuit.succeeded()
            if visible(to_whatsapp(answer.text)):
                return answer
            failed = TryFailedError("the answer has nothing in it that can be seen", at_once=True)
        except TryFailedError as failure:
            failed = failure
            if failure.away:
                circuit.failed(loop.time())
            else:
                circuit.succeeded()
        except TimeoutError:
            failed = TryFailedError(f"no answer within {timeout:g} s", at_once=True)
        say("agent_try_failed", attempt=number, of=limits.tries, why=failed.reason, **(ids or {}))
        if failed.permanent:
            raise AgentError(failed.reason, permanent=True)
        pause = _pause(failed, number, limits)
        if number == limits.tries or loop.time() + pause >= end:
            break
        await asyncio.sleep(pause)
    raise AgentError(f"the agent brought no answer in {_counted(number)}; the last time: {failed.reason}")


async def _admitted(circuit: Circuit, end: Moment) -> None:
    loop = asyncio.get_running_loop()
    while rest := circuit.rest(loop.time()):
        if loop.time() + rest >= end:
            raise AgentError("the agent service is away, and there was no place for a try in time")
        await asyncio.sleep(rest)
    circuit.tried(loop.time())


def _pause(failed: TryFailedError, number: int, limits: Limits) -> float:
    if failed.at_once:
        return 0.0
    if failed.retry_after is not None:
        return max(0.0, failed.retry_after)
    return random.uniform(0.0, min(limits.cap, limits.base * 2.0 ** (number - 1)))  # noqa: S311 (a pause, no secret)


def _counted(tries: int) -> str:
    return "one try" if tries == 1 else f"{tries} tries"
