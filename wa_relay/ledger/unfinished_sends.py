"""Sends whose request may still begin: claimed by a daemon, on this host or another, and without a result.

A claim gives the right to begin the request within `BEGIN_WITHIN` of the moment before the claim's transaction. A
daemon that is later than that gives the message back to the queue, and the next claim asks every rule again. So what
forbids a send has to wait for at most `BEGUN_AFTER`: then each request has begun, and is in flight, or never begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wa_relay.ledger.store import Ledger
from wa_relay.model import RelayError

BEGIN_WITHIN = 1.0
"""Seconds from before a claim within which its request has to begin."""

BEGUN_AFTER = 1.25
"""Seconds after which a send that was seen without a result has begun, or never will."""

LOOK_AGAIN = 0.03
"""Seconds between two looks at a send that has no result."""

SELECT_AGENTS_SENDS = """
    select id, sends from conversation_messages
    where conversation_id = :id and in_flight and status = 'sending' and (kind = 'opening' or kind = 'reply')"""
SELECT_SENDS_OF_CONVERSATION = """
    select id, sends from conversation_messages
    where conversation_id = :id and in_flight and status = 'sending'"""
SELECT_SENDS = "select id, sends from conversation_messages where in_flight and status = 'sending'"


@dataclass(frozen=True, slots=True)
class Send:
    """One try to send a message: the `number`-th."""

    message_id: int
    number: int


class MayBegin(RelayError):
    """A message of the agent may begin at this moment. Nothing was changed: try again in `LOOK_AGAIN` seconds."""


@dataclass(slots=True)
class Begun:
    """Remembers since when a send was seen without a result. `clock` counts seconds, from any moment."""

    clock: Callable[[], float]
    _seen: dict[Send, float] = field(default_factory=dict)

    def has(self, send: Send) -> bool:
        """True once a send was seen for so long that its request has begun, or never will."""
        at = self.clock()
        return at - self._seen.setdefault(send, at) >= BEGUN_AFTER


def refuse_unbegun(ledger: Ledger, conversation_id: int, begun: Begun) -> None:
    """Raises `MayBegin` while an opening or a reply of the conversation may begin after this transaction."""
    for row in ledger.all(SELECT_AGENTS_SENDS, {"id": conversation_id}):
        if not begun.has(Send(row["id"], row["sends"])):
            raise MayBegin(f"message {row['id']} is being sent. Try again in a moment.")


def unfinished_sends(ledger: Ledger, conversation_id: int | None = None) -> frozenset[Send]:
    """The sends without a result, of one conversation or of all."""
    if conversation_id is None:
        rows = ledger.all(SELECT_SENDS)
    else:
        rows = ledger.all(SELECT_SENDS_OF_CONVERSATION, {"id": conversation_id})
    return frozenset(Send(row["id"], row["sends"]) for row in rows)
