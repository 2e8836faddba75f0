"""Carries out the tries of a turn: one agent session after another, until one brings a reply or none may follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wa_relay.logs import say
from wa_relay.model import AgentError, Answer, Moment, NoCapacityError, NoteTools, NoteTry, Silence, Unreadable
from wa_relay.policy import AWAY_PAUSE, Circuit, TryLimits
from wa_relay.text.cleaning import visible
from wa_relay.text.markdown import to_whatsapp

Result = Answer | Silence | Unreadable
"""The ends of a session after which no further try is needed."""

TRY_GRACE = 1.0
"""Seconds beyond its deadline that a try gets to end cleanly."""


class TryFailedError(Exception):
    """One try brought no answer.

    `at_once`: nothing is broken, a fresh try needs no pause. `permanent`: no try will do better. `away`: the service
    could not be reached, or had an error of its own. `no_capacity`: it had no room; this does not count as a try.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        at_once: bool = False,
        away: bool = False,
        no_capacity: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.at_once = at_once
        self.away = away
        self.no_capacity = no_capacity
        self.retry_after = retry_after


class ToolNote:
    """Records once, durably, that a turn's tools were or may have been called. Such a turn is never asked again.

    That the agent has asked for a person is recorded once, too.
    """

    def __init__(self, record: NoteTools) -> None:
        self._record = record
        self.made = False
        self.handed_over = False

    async def make(self, *, handover: bool = False) -> None:
        """Returns when the record is durable."""
        if self.handed_over if handover else self.made:
            return
        # Set before: a record that was interrupted may have become durable.
        self.made = True
        self.handed_over = self.handed_over or handover
        await self._record(handover=handover)


class Tries:
    """The state that all turns of one agent share: the limits of a turn, and the circuit that opens while it is away.

    `timeout` is in seconds, for one try.
    """

    def __init__(self, timeout: float, limits: TryLimits | None = None, circuit: Circuit | None = None) -> None:
        self._timeout = timeout
        self._limits = limits or TryLimits()
        self._circuit = circuit or Circuit(pause=AWAY_PAUSE)

    async def first_answer(
        self,
        try_once: Callable[[Moment], Awaitable[Result]],
        tools: ToolNote | None = None,
        ids: Mapping[str, Any] | None = None,
        note_try: NoteTry | None = None,
    ) -> Result:
        """The answer of the first try that brings one; a try gets the timeout, or what is left of the total.

        `try_once` is given its deadline on the loop's clock and raises `TryFailedError`; `ids` name the turn in the
        log, and `note_try` records each failed try. While the circuit is open, a try waits for its place. Raises
        `NoCapacityError` when the service has no room, and `AgentError` when a failure is permanent, the limits are
        reached, or `tools` were noted.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.total
        for number in range(1, self._limits.tries + 1):
            # One try at a time for all turns while the service is away: a thousand waiting turns would keep it down.
            await self._wait_for_place(end)
            outcome = await self._try(try_once, min(loop.time() + self._timeout, end))
            if not isinstance(outcome, TryFailedError):
                return outcome
            failed = outcome
            say("agent_try_failed", number=number, of=self._limits.tries, why=failed.reason, **(ids or {}))
            if note_try is not None and not (failed.no_capacity and _may_wait(failed, tools)):
                await note_try(failed.reason)
            # Before the pause: a turn whose tools may have run is never tried again, or a booking is made twice.
            _raise_if_final(failed, tools)
            pause = self._limits.pause(number, at_once=failed.at_once, retry_after=failed.retry_after)
            if number == self._limits.tries or loop.time() + pause >= end:
                break
            await asyncio.sleep(pause)
        raise AgentError(f"the agent brought no answer in {_counted(number)}; the last time: {failed.reason}")

    async def _try(self, try_once: Callable[[Moment], Awaitable[Result]], deadline: Moment) -> Result | TryFailedError:
        try:
            async with asyncio.timeout_at(deadline + TRY_GRACE):
                answer = await try_once(deadline)
        except TryFailedError as failed:
            if failed.away:
                self._circuit.failed(asyncio.get_running_loop().time())
            else:
                self._circuit.succeeded()
            return failed
        except TimeoutError:
            return TryFailedError(f"no answer within {self._timeout:g} s", at_once=True)
        self._circuit.succeeded()
        # Only tags or marks: Twilio refuses an empty body (21602), and the customer would get nothing.
        if isinstance(answer, Answer) and not visible(to_whatsapp(answer.text)):
            return TryFailedError("the answer has nothing visible in it", at_once=True)
        return answer

    async def _wait_for_place(self, end: Moment) -> None:
        loop = asyncio.get_running_loop()
        while rest := self._circuit.rest(loop.time()):
            if loop.time() + rest >= end:
                raise AgentError("the agent service is away, and no try was possible in time")
            await asyncio.sleep(rest)
        self._circuit.tried(loop.time())


def _may_wait(failed: TryFailedError, tools: ToolNote | None) -> bool:
    """True if the turn is put off: that records the try."""
    return not failed.permanent and (tools is None or not tools.made)


def _raise_if_final(failed: TryFailedError, tools: ToolNote | None) -> None:
    if tools is not None and tools.made:
        raise AgentError(f"{failed.reason}; a tool was or may have been called, so it is not asked again")
    if failed.permanent:
        raise AgentError(failed.reason, permanent=True)
    if failed.no_capacity:
        raise NoCapacityError(failed.reason, retry_after=failed.retry_after)


def _counted(tries: int) -> str:
    return "one try" if tries == 1 else f"{tries} tries"
