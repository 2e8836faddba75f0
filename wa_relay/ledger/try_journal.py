"""The journal's entries of tries: each agent session for a turn, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wa_relay.ledger import journal
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

SELECT_TRIED_TURN = "select conversation_id, call_id, state from turns where id = :turn_id"

End = Literal["answered", "silent", "unreadable", "failed", "no_capacity", "interrupted"]
"""The end of a session."""

DETAILS: dict[End, str] = {
    "answered": "the session brought an answer",
    "silent": "the agent chose not to answer",
    "unreadable": "the session took none of the files",
    "interrupted": "the process ended during the session",
}
DETAIL_LIMIT = 500


@dataclass(frozen=True, slots=True)
class TriedTurn:
    """A turn for which a session has ended."""

    id: int
    conversation_id: int
    call_id: int | None
    being_asked: bool


def record_try(
    ledger: Ledger, turn_id: int, end: End, now: Moment, detail: str = "", session_id: str | None = None
) -> None:
    """Records how one session for a turn ended. `detail` says why it failed."""
    row = ledger.one(SELECT_TRIED_TURN, {"turn_id": turn_id})
    if row is None:
        return
    conversation_id, call_id, state = row
    turn = TriedTurn(turn_id, conversation_id, call_id, being_asked=state == "asking")
    record_end(ledger, turn, end, now, detail, session_id)


def record_end(
    ledger: Ledger, turn: TriedTurn, end: End, now: Moment, detail: str = "", session_id: str | None = None
) -> None:
    """Records how one session for a turn that has been read ended.

    A session may end after its turn (the customer opted out meanwhile): it is recorded too, without its id, which
    erasing the customer could not find any more.
    """
    entry = journal.Entry(
        "try",
        end,
        (detail or DETAILS.get(end, ""))[:DETAIL_LIMIT],
        conversation_id=turn.conversation_id,
        call_id=turn.call_id,
        turn_id=turn.id,
        facts={"session": session_id} if session_id and turn.being_asked else {},
    )
    journal.record(ledger, entry, now)
