"""Why a customer was, or was not, written to: the journal's entries about one conversation, oldest first.

Nothing is reconstructed: each entry is shown as it was recorded when the decision was made. What holds back everybody
(a pause, the breaker, a refused account) is recorded once, and shown to the customers whose messages waited meanwhile.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger import customers, journal
from wa_relay.ledger.engine import Queries, Row
from wa_relay.ledger.journal import Recorded
from wa_relay.model import Moment
from wa_relay.moments import stamp
from wa_relay.reports.snapshot import snapshot

SELECT_STORED_MESSAGES = """
    select id, kind, direction, created_at, call_id, accepted_at from conversation_messages
    where conversation_id = :id order by id"""
SELECT_KEYS_OF_CALLS = "select id, elevenlabs_conversation_id from calls where conversation_id = :id"
SELECT_GENERAL_ENTRIES = """
    select id, at, event, reason, detail, actor, facts from journal
    where conversation_id is null and message_id is null and turn_id is null and event in ('hold', 'operator')
    order by id"""

WHY_HELD = {
    "burst": "more openings are due than opening.burst_limit allows: they wait for `wa-relay resume`",
    "account": "Twilio refuses the account or the sender: everything waits until it accepts a message",
    "account_released": "Twilio has accepted a message: what waited goes out again",
    "sender": "Twilio reported a fault of the sender for three messages in a row: everything of it waits",
    "sender_released": "a message of the sender was sent: what waited goes out again",
    "limited": "Twilio reported a limit of the sender for three openings in a row: its openings wait",
}
WHY_MOVED = {
    "sending": "every rule of sending allows it",
    "sent": "Twilio accepted the message",
    "uncertain": "it is unknown whether Twilio has the message",
    "failed": "the message ended",
    "queued": "the message was not sent and is tried again",
}
FOR_OPENINGS = frozenset({"pause", "resume", "burst", "limited"})
"""The holds that keep only openings back; all others concern every message."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `reason` is a code or None, `detail` the rule as a sentence; `call` is ElevenLabs' id of the call.

    `status` is the message's status after a move of it, or the handler after a handover; None for anything else.
    """

    at: Moment
    event: str
    reason: str | None
    detail: str
    call: str | None
    message_id: int | None
    status: str | None = None
    error_code: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of `why --json`."""
        return {
            "at": stamp(self.at),
            "event": self.event,
            "reason": self.reason,
            "detail": self.detail,
            "call": self.call,
            "message_id": self.message_id,
            "status": self.status,
            "error_code": self.error_code,
        }


@dataclass(frozen=True, slots=True)
class _Waited:
    """The time in which a message waited in the outbox; `end` is None while it waits."""

    begin: Moment
    end: Moment | None
    opening: bool


def why(db: Queries, phone: str) -> list[Decision] | None:
    """Every decision about a customer, oldest first; None for an unknown one. `phone` is any address."""
    with snapshot(db):
        conversation_id = customers.find_conversation(db, phone)
        if conversation_id is None:
            return None
        keys = {row[0]: row[1] for row in db.execute(SELECT_KEYS_OF_CALLS, {"id": conversation_id})}
        stored = db.execute(SELECT_STORED_MESSAGES, {"id": conversation_id}).fetchall()
        recorded = journal.read_of_conversation(db, conversation_id)
        general = db.execute(SELECT_GENERAL_ENTRIES).fetchall()
    # In the order in which they were recorded, even where a clock was set back between two of them.
    times = list(itertools.accumulate((each.at for each in recorded), max))
    found = [(at, 1, each.id, _decision(each, keys)) for at, each in zip(times, recorded, strict=True)]
    # A message was stored before it moved, even where the move's operation read the clock first.
    moved: dict[int, Moment] = {}
    for at, each in zip(times, recorded, strict=True):
        if each.entry.message_id is not None:
            moved.setdefault(each.entry.message_id, at)
    found += [
        (min(row["created_at"], moved.get(row["id"], math.inf)), 0, row["id"], _stored(row, keys)) for row in stored
    ]
    waits = tuple(_waits(stored, recorded))
    found += [(row["at"], 2, row["id"], _general(row)) for row in general if _concerns(row, waits)]
    return [decision for *_, decision in sorted(found, key=lambda each: each[:3])]


def _decision(recorded: Recorded, keys: dict[int, str]) -> Decision:
    entry = recorded.entry
    held = entry.event == "hold"
    detail = entry.detail or (WHY_HELD.get(entry.reason or "") if held else WHY_MOVED.get(recorded.to_status or ""))
    return Decision(
        at=recorded.at,
        event="wait" if held else entry.event,
        reason=entry.reason,
        detail=_with_actor(detail or "", entry.actor),
        call=None if entry.call_id is None else keys.get(entry.call_id),
        message_id=entry.message_id,
        status=recorded.to_status,
        error_code=recorded.code,
    )


def _stored(row: Row, keys: dict[int, str]) -> Decision:
    inbound = row["direction"] == "inbound"
    return Decision(
        at=row["created_at"],
        event="message",
        reason=None,
        detail="the customer wrote" if inbound else f"the {row['kind']} was put into the outbox",
        call=None if row["call_id"] is None else keys.get(row["call_id"]),
        message_id=row["id"],
        status="received" if inbound else "queued",
    )


def _general(row: Row) -> Decision:
    facts = json.loads(row["facts"]) if row["facts"] else {}
    detail = row["detail"] or WHY_HELD.get(row["reason"], "")
    return Decision(
        at=row["at"],
        event="wait" if row["event"] == "hold" else row["event"],
        reason=row["reason"],
        detail=_with_actor(detail, row["actor"]),
        call=None,
        message_id=None,
        error_code=facts.get("code"),
    )


def _with_actor(detail: str, actor: str | None) -> str:
    """The rule as a sentence; with the user, if one acted."""
    if actor is None or f"by {actor}" in detail:
        return detail
    return f"{detail}, by {actor}" if detail else f"by {actor}"


def _waits(stored: list[Row], recorded: list[Recorded]) -> Iterator[_Waited]:
    """The times in which the customer's messages waited in the outbox, by the moves that were recorded."""
    moves: dict[int, list[Recorded]] = {}
    for each in recorded:
        if each.entry.message_id is not None and each.from_status is not None:
            moves.setdefault(each.entry.message_id, []).append(each)
    for row in stored:
        if row["direction"] == "inbound":
            continue
        opening, since = row["kind"] == "opening", row["created_at"]
        for move in moves.get(row["id"], []):
            if move.from_status == "queued" and since is not None:
                yield _Waited(since, move.at, opening)
                since = None
            elif move.to_status == "queued":
                since = move.at
        if since is not None:
            yield _Waited(since, None, opening)


def _concerns(row: Row, waits: tuple[_Waited, ...]) -> bool:
    """True if an entry about everybody was made while a message of this customer waited."""
    return any(
        wait.begin <= row["at"] and (wait.end is None or row["at"] <= wait.end)
        for wait in waits
        if wait.opening or row["reason"] not in FOR_OPENINGS
    )
