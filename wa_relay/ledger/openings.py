"""Openings: the message that follows a call, made from the facts in the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger import journal
from wa_relay.ledger.engine import Row
from wa_relay.ledger.outbox import NewMessage, queue_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Moment, Scalar, Source

SELECT_CALL = """
    select c.id, c.elevenlabs_conversation_id, c.conversation_id, c.phone_number, c.outcome, c.recorded_at,
        c.client_name, c.agent_name, c.batch_name, c.group_name, c.variables, c.summary, s.window_ends_at, c.agent_id,
        c.source, c.ended_at, c.seconds, c.collected, c.decide_by
    from calls c join conversation_state s on s.id = c.conversation_id where {where}"""
SELECT_CALL_BY_KEY = SELECT_CALL.format(where="c.elevenlabs_conversation_id = :key")
SELECT_CALL_BY_ID = SELECT_CALL.format(where="c.id = :id")

WHY_NO_OPENING = {
    "outcome_not_followed": "calls with this outcome have no opening",
    "too_old": "the call ended before this database was made, too long ago, or at an unknown time",
    "opted_out": "the customer has opted out",
    "recent_opening": "the customer got an opening within opening.min_gap_hours",
    "handed_over": "a person has the conversation",
    "too_short": "the call was shorter than min_call_seconds",
    "condition": "the call's collected values are not those of the outcome's `when`",
    "undecided": "the call's length or collected values are not known yet",
}
WHY_WAITING = {
    "delay": "openings of this outcome wait for their delay",
    "name": "the backend may still report the customer's name",
    "quiet_hours": "openings wait for the end of quiet hours",
}


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A stored call. `phone` is the number that was dialled; `window_ends_at` is the conversation's.

    `seconds` and `collected` are None while they are not known. `decide_by` is when a call that waits for them is
    decided without them, None for a decided call.
    """

    id: int
    key: str
    conversation_id: int
    phone: str
    outcome: str
    recorded_at: Moment
    client_name: str | None
    agent_name: str | None
    batch_name: str | None
    group_name: str | None
    variables: Mapping[str, Scalar]
    summary: str | None
    window_ends_at: Moment | None
    agent_id: str
    source: Source
    ended_at: Moment | None
    seconds: float | None
    collected: Mapping[str, Scalar] | None
    decide_by: Moment | None

    @property
    def name(self) -> str | None:
        """Returns the customer's name: the report's, otherwise a variable's; None without one."""
        return policy.client_name(self.client_name, self.variables) or None


def known_call(
    call: Call, call_id: int, conversation_id: int, window_ends_at: Moment | None, recorded_at: Moment
) -> KnownCall:
    """A call that has just been stored and decided."""
    return KnownCall(
        id=call_id,
        key=call.key,
        conversation_id=conversation_id,
        phone=call.phone,
        outcome=call.outcome,
        recorded_at=recorded_at,
        client_name=call.client_name,
        agent_name=call.agent_name,
        batch_name=call.batch_name,
        group_name=call.group_name,
        variables=call.variables,
        summary=call.summary,
        window_ends_at=window_ends_at,
        agent_id=call.agent_id,
        source=call.source,
        ended_at=call.ended_at,
        seconds=call.seconds,
        collected=call.collected,
        decide_by=None,
    )


def find_call(ledger: Ledger, key: str) -> KnownCall | None:
    """The call with ElevenLabs' id, None for an unknown one."""
    row = ledger.one(SELECT_CALL_BY_KEY, {"key": key})
    return None if row is None else _known(row)


def get_call(ledger: Ledger, key: str) -> KnownCall:
    """The call with ElevenLabs' id; raises `LookupError` for an unknown one."""
    return _known(ledger.need_one(SELECT_CALL_BY_KEY, {"key": key}))


def get_call_by_id(ledger: Ledger, call_id: int) -> KnownCall:
    """The call with our id; raises `LookupError` for an unknown one."""
    return _known(ledger.need_one(SELECT_CALL_BY_ID, {"id": call_id}))


def render_opening(ledger: Ledger, call: KnownCall, now: Moment) -> policy.Rendered:
    """The opening of a call as it would be sent now."""
    values = opening_values(ledger, call)
    ends_at = call.window_ends_at
    window_open = ends_at is not None and now < ends_at - policy.WINDOW_MARGIN
    return policy.render_opening(opening_text(ledger, call), values, window_open=window_open)


def opening_values(ledger: Ledger, call: KnownCall) -> dict[str, Scalar]:
    """The values of a call's placeholders."""
    return policy.opening_values(
        ledger.rules,
        call.variables,
        name=call.client_name,
        agent_name=call.agent_name,
        batch_name=call.batch_name,
        group_name=call.group_name,
    )


def opening_text(ledger: Ledger, call: KnownCall) -> policy.OpeningText:
    """The message that is configured for the call's outcome, empty without one."""
    return ledger.rules.openings.get(call.outcome, policy.OpeningText())


def needs_template(ledger: Ledger, call: KnownCall, now: Moment) -> bool:
    """True if the call's opening would be sent as a template now."""
    return render_opening(ledger, call, now).content_sid is not None


def queue_opening(ledger: Ledger, call: KnownCall, plan: policy.Write, now: Moment) -> int:
    """Puts a call's opening into the outbox, and returns its id."""
    opening = NewMessage(
        call.conversation_id,
        "opening",
        render_opening(ledger, call, now).content,
        plan.due_at,
        call_id=call.id,
        not_after=plan.not_after,
        to_address=call.phone,
    )
    message_id = queue_message(ledger, opening, now)
    if plan.due_at > now:
        _record_wait(ledger, call, message_id, plan.due_at, now)
    return message_id


def record_decision(
    ledger: Ledger,
    conversation_id: int,
    call_id: int,
    plan: policy.Skip | policy.Write | policy.Wait,
    now: Moment,
    **facts: Scalar,
) -> None:
    """Journals a call that was recorded, with what was decided about its opening."""
    reason = plan.reason if isinstance(plan, policy.Skip) else "undecided" if isinstance(plan, policy.Wait) else None
    entry = journal.Entry(
        "call",
        reason,
        "it is followed by an opening" if reason is None else WHY_NO_OPENING[reason],
        conversation_id=conversation_id,
        call_id=call_id,
        facts=facts,
    )
    journal.record(ledger, entry, now)


def why_waiting(
    rules: policy.Rules, text: policy.OpeningText, ended_at: Moment | None, due_at: Moment, now: Moment
) -> str:
    """The reason (a key of `WHY_WAITING`) why an opening is due later than now."""
    if (now if ended_at is None else min(ended_at, now)) + text.delay > now:
        return "delay"
    return "name" if due_at == now + rules.push_grace else "quiet_hours"


def _record_wait(ledger: Ledger, call: KnownCall, message_id: int, due_at: Moment, now: Moment) -> None:
    ended_at = now if call.ended_at is None else min(call.ended_at, call.recorded_at)
    reason = why_waiting(ledger.rules, opening_text(ledger, call), ended_at, due_at, now)
    entry = journal.Entry(
        "wait",
        reason,
        WHY_WAITING[reason],
        conversation_id=call.conversation_id,
        call_id=call.id,
        message_id=message_id,
        facts={"due_at": due_at},
    )
    journal.record(ledger, entry, now)


def _known(row: Row) -> KnownCall:
    columns = dict(zip(KnownCall.__slots__, row, strict=True))
    columns["variables"] = json.loads(row["variables"])
    columns["collected"] = None if row["collected"] is None else json.loads(row["collected"])
    return KnownCall(**columns)
