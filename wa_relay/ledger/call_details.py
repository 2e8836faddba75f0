"""Details of a call that arrive after it was recorded: other reports, its summary and its variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wa_relay.ledger import journal, openings, waiting_openings
from wa_relay.ledger.openings import KnownCall
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.waiting_openings import Decided
from wa_relay.model import Call, CallDetails, Moment, Scalar

FILL_IN_CALL = """
    update calls set agent_name = coalesce(agent_name, :agent_name), batch_id = coalesce(batch_id, :batch_id),
        batch_name = coalesce(batch_name, :batch_name), recipient_id = coalesce(recipient_id, :recipient_id),
        client_name = coalesce(client_name, :client_name), client_id = coalesce(client_id, :client_id),
        group_id = coalesce(group_id, :group_id), group_name = coalesce(group_name, :group_name),
        summary = coalesce(summary, :summary), transcript = coalesce(transcript, :transcript), variables = :variables,
        seconds = coalesce(seconds, :seconds), collected = coalesce(collected, :collected)
    where id = :id and (coalesce(agent_name, :agent_name) is distinct from agent_name
        or coalesce(batch_id, :batch_id) is distinct from batch_id
        or coalesce(batch_name, :batch_name) is distinct from batch_name
        or coalesce(recipient_id, :recipient_id) is distinct from recipient_id
        or coalesce(client_name, :client_name) is distinct from client_name
        or coalesce(client_id, :client_id) is distinct from client_id
        or coalesce(group_id, :group_id) is distinct from group_id
        or coalesce(group_name, :group_name) is distinct from group_name
        or coalesce(summary, :summary) is distinct from summary
        or coalesce(transcript, :transcript) is distinct from transcript
        or coalesce(seconds, :seconds) is distinct from seconds
        or coalesce(collected, :collected) is distinct from collected
        or variables <> :variables)"""
FILL_IN_CONVERSATION = """
    update conversation_state set client_name = coalesce(:name, client_name),
        call_summary = coalesce(call_summary, :summary)
    where id = :conversation_id and call_id = :call_id"""
SELECT_QUEUED_OPENING = """
    select id, due_at, sends from conversation_messages
    where call_id = :call_id and kind = 'opening' and status = 'queued'"""
REWRITE_OPENING = "update conversation_messages set content = :content, due_at = :due_at where id = :id"
SAVE_DETAILS = """
    update calls set summary = coalesce(:summary, summary), transcript = coalesce(:transcript, transcript),
        variables = :variables, seconds = coalesce(seconds, :seconds), collected = coalesce(collected, :collected),
        details_at = case when :final then null else details_at end, lacks_details = lacks_details and not :final
    where id = :id"""


@dataclass(frozen=True, slots=True)
class QueuedOpening:
    """An opening that waits to be sent."""

    id: int
    due_at: Moment
    sends: int


def save_details(ledger: Ledger, call_id: int, details: CallDetails, now: Moment) -> Decided | None:
    """Stores what the conversation at ElevenLabs says of a call.

    Returns the decision about a call that waited for it, None if none was made.
    """
    known = openings.get_call_by_id(ledger, call_id)
    found = {
        "id": call_id,
        "summary": details.summary,
        "transcript": details.transcript,
        "variables": _json(merge_variables(known.variables, details.variables)),
        "seconds": details.seconds,
        "collected": _json(details.collected),
        "final": details.final,
    }
    ledger.run(SAVE_DETAILS, found)
    return _update_opening(ledger, known.key, urgent=False, now=now)


def fill_in(ledger: Ledger, known: KnownCall, call: Call, now: Moment) -> None:
    """Adds to a known call what another report of it contains."""
    variables = merge_variables(known.variables, call.variables)
    if ledger.run(FILL_IN_CALL, reported(call) | {"id": known.id, "variables": _json(variables)}):
        filled = journal.Entry(
            "call",
            "filled_in",
            "another report of the call brought what was missing",
            conversation_id=known.conversation_id,
            call_id=known.id,
            facts={"source": call.source},
        )
        journal.record(ledger, filled, now)
    _update_opening(ledger, known.key, urgent=call.source == "push", now=now)


def reported(call: Call) -> dict[str, str | int | float | None]:
    """Columns that one report may lack and another fills in."""
    return {
        "agent_name": call.agent_name,
        "batch_id": call.batch_id,
        "batch_name": call.batch_name,
        "recipient_id": call.recipient_id,
        "client_name": call.client_name,
        "client_id": call.client_id,
        "group_id": call.group_id,
        "group_name": call.group_name,
        "summary": call.summary,
        "transcript": call.transcript,
        "seconds": call.seconds,
        "collected": _json(call.collected),
    }


def _json(values: Mapping[str, Scalar] | None) -> str | None:
    return None if values is None else json.dumps(dict(values), ensure_ascii=False)


def merge_variables(known: Mapping[str, Scalar], new: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Keeps what is known and adds what is new; an empty text (null at its source) gives way to a value."""
    return {**known, **{name: value for name, value in new.items() if known.get(name, "") == ""}}


def _update_opening(ledger: Ledger, key: str, *, urgent: bool, now: Moment) -> Decided | None:
    """Brings the conversation and its opening up to date with what is known of the call.

    `urgent` ends the wait for a name. Returns the decision about a call that waited for facts.
    """
    call = openings.get_call(ledger, key)
    name = call.name
    renamed = {"name": name, "summary": call.summary, "call_id": call.id, "conversation_id": call.conversation_id}
    ledger.run(FILL_IN_CONVERSATION, renamed)
    if call.decide_by is not None:
        return waiting_openings.decide(ledger, call, now)
    row = ledger.one(SELECT_QUEUED_OPENING, {"call_id": call.id})
    if row is None:
        return None
    opening = QueuedOpening(*row)
    # Only the wait for the name ends early: a later due time has another reason (delay, quiet hours, a retry).
    graced = not opening.sends and now < opening.due_at <= call.recorded_at + ledger.rules.push_grace
    due = waiting_openings.allowed_at(ledger, call, now) if graced and (urgent or name) else opening.due_at
    content = openings.render_opening(ledger, call, now).content
    ledger.run(REWRITE_OPENING, {"content": content, "due_at": due, "id": opening.id})
    return None
