"""Operators' actions on conversations, for the routes of the API and for the control socket."""

from __future__ import annotations

from collections.abc import Callable

from wa_relay.ledger import handover, human_messages
from wa_relay.ledger.audit import deed_of, run_audited
from wa_relay.ledger.human_messages import Failure, HumanMessage, Stored
from wa_relay.ledger.unfinished_sends import Begun
from wa_relay.logs import say
from wa_relay.loops.bell import Wakers
from wa_relay.loops.send_barrier import once_nothing_begins
from wa_relay.model import Moment
from wa_relay.policy import Operator
from wa_relay.server.listener import RequestLedger


class OperatorActions:
    """Takes conversations over, gives them back and writes in them. Each returns None for an unknown customer."""

    def __init__(self, ledger: RequestLedger, clock: Callable[[], Moment], wakers: Wakers) -> None:
        self._ledger = ledger
        self._clock = clock
        self._wakers = wakers

    async def take_over(self, address: str, operator: Operator, hours: float | None) -> int | None:
        """Takes a conversation over, for `hours` or for `handover.return_after_hours`. Returns its id."""
        deed = deed_of(operator, "takeover", address)

        async def attempt(begun: Begun) -> int | None:
            now = self._clock()
            return await self._ledger.run(
                run_audited, deed, now, handover.take_over, address, operator, hours, now, begun
            )

        taken = await once_nothing_begins(attempt)
        if taken is not None:
            say("taken_over", conversation=taken, by=operator.name, source=operator.channel)
            self._wakers.send.ring()
        return taken

    async def release(self, address: str, operator: Operator) -> int | None:
        """Gives a conversation back to the agent. Returns its id."""
        deed, now = deed_of(operator, "release", address), self._clock()
        released = await self._ledger.run(run_audited, deed, now, handover.release, address, operator, now)
        if released is not None:
            say("released", conversation=released, by=operator.name, source=operator.channel)
            self._wakers.turn.ring()
        return released

    async def note_read(self, address: str) -> int | None:
        """Records that an operator has looked. Returns the conversation's id."""
        return await self._ledger.run(handover.note_read, address)

    async def write(self, address: str, message: HumanMessage, operator: Operator, key: str | None) -> Stored | Failure:
        """Stores an operator's message, due at once; that takes the conversation over. Returns why if it is refused."""
        deed = deed_of(operator, "send", address)

        async def attempt(begun: Begun) -> Stored | Failure:
            now = self._clock()
            return await self._ledger.run(
                run_audited, deed, now, human_messages.write, address, message, operator, key, now, begun
            )

        stored = await once_nothing_begins(attempt)
        if isinstance(stored, Stored) and not stored.repeated:
            say(
                "operator_wrote",
                conversation=stored.conversation_id,
                message=stored.message_id,
                by=operator.name,
                source=operator.channel,
                anyway=message.anyway or None,
            )
            self._wakers.send.ring()
        return stored
