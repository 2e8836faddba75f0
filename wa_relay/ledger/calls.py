"""Calls: recorded once whoever tells of them, with the opening that follows in the same transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import attempts, batches, consent
from wa_relay.ledger.faults import CallConflict
from wa_relay.ledger.outbox import NewMessage, queue_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Moment, Scalar
from wa_relay.moments import stamp
from wa_relay.phone import mask

KNOWN = "select calls.*, s.phone_number from calls join conversation_state s on s.id = calls.conversation_id where {}"
KNOWN_BY_KEY = KNOWN.format("calls.elevenlabs_conversation_id = ?")
STATE = """
    select calls.id, calls.elevenlabs_conversation_id as key, calls.conversation_id, calls.skipped,
        m.id as message_id, m.status, m.reason, m.error_code, m.error_message, m.twilio_message_id, m.due_at,
        (select paused_operator or paused_burst or account_fault is not null from relay) as held
    from calls left join conversation_messages m on m.call_id = calls.id and m.kind = 'opening'
    where calls.elevenlabs_conversation_id = ?"""
PERSON = """
    select s.id, s.window_ends_at, s.call_id,
        (select 1 from opt_outs where phone_number in (:phone, :other) and returned_at is null) as opted_out,
        (select max(coalesce(accepted_at, created_at)) from conversation_messages
            where conversation_id = s.id and kind = 'opening' and status <> 'failed') as last_opening_at,
        (select max(coalesce(ended_at, recorded_at)) from calls where conversation_id = s.id) as last_call_at
    from (select 1) left join conversation_state s on s.phone_number = :phone"""
INSERT_CONVERSATION = """
    insert into conversation_state
        (phone_number, client_name, elevenlabs_conversation_id, agent_id, status, started_at, last_message_at,
        created_at)
    values (:phone, :name, :key, :agent_id, :status, :stamp, :stamp, :now)"""
POINT_AT_CALL = """
    update conversation_state set call_id = :call_id, elevenlabs_conversation_id = :key, agent_id = :agent_id,
        client_name = coalesce(:name, client_name), call_summary = :summary
    where id = :id"""
INSERT_CALL = """
    insert into calls (elevenlabs_conversation_id, conversation_id, agent_id, agent_name, batch_id, batch_name,
        recipient_id, client_name, client_id, group_id, group_name, outcome, source, ended_at, recorded_at,
        variables, summary, transcript, raw, skipped, details_at)
    values (:key, :conversation_id, :agent_id, :agent_name, :batch_id, :batch_name, :recipient_id, :client_name,
        :client_id, :group_id, :group_name, :outcome, :source, :ended_at, :now, :variables, :summary, :transcript,
        :raw, :skipped, :details_at)"""
FILL_IN = """
    update calls set agent_name = coalesce(agent_name, :agent_name), batch_id = coalesce(batch_id, :batch_id),
        batch_name = coalesce(batch_name, :batch_name), recipient_id = coalesce(recipient_id, :recipient_id),
        client_name = coalesce(client_name, :client_name), client_id = coalesce(client_id, :client_id),
        group_id = coalesce(group_id, :group_id), group_name = coalesce(group_name, :group_name),
        summary = coalesce(summary, :summary), transcript = coalesce(transcript, :transcript), variables = :variables
    where id = :id"""
RENAME = """
    update conversation_state set client_name = coalesce(:name, client_name),
        call_summary = coalesce(call_summary, :summary)
    where id = (select conversation_id from calls where id = :call_id) and call_id = :call_id"""
QUEUED_OPENING = """
    select id, due_at, attempts from conversation_messages
    where call_id = ? and kind = 'opening' and status = 'queued'"""
REWRITE_OPENING = "update conversation_messages set content = ?, due_at = ? where id = ?"
NOTE_PUSH = "update relay set last_push_at = ?"
LAST_PUSH = "select last_push_at from relay"
UNKNOWN = """
    select value from json_each(?)
    where not exists (select 1 from calls where elevenlabs_conversation_id = value)"""

DUE_DETAILS = """
    update calls set details_tries = details_tries + 1,
        details_at = case when details_tries >= 8 then null else :now + 5 * (1 << details_tries) end
    where id in (select id from calls where details_at <= :now order by details_at limit :limit)
    returning id, elevenlabs_conversation_id as key"""
NO_DETAILS = "update calls set details_at = null where id = ? and details_tries > 1"
SAVE_DETAILS = """
    update calls set summary = coalesce(:summary, summary), transcript = coalesce(:transcript, transcript),
        variables = :variables, details_at = case when :final then null else details_at end
    where id = :id"""


@dataclass(frozen=True, slots=True)
class CallState:
    """What holds for a call now. `message_status` is None where nobody is written to.

    `due_at` is when a queued opening is due, `held` is true while a pause keeps openings back;
    `created` is false for a call that was known.
    """

    call_id: int
    key: str
    conversation_id: int
    created: bool
    skipped: str | None
    message_id: int | None
    message_status: str | None
    reason: str | None
    error_code: str | None
    error_message: str | None
    sid: str | None
    due_at: Moment | None
    held: bool


def record_call(ledger: Ledger, call: Call, now: Moment) -> CallState:
    """Stores a call with its conversation and its opening, or fills in what a known one lacks.

    Raises `CallConflict` when the call is known with another phone; nothing changes then.
    """
    backend_pushes = _note_push(ledger, call, now)
    known = ledger.one(KNOWN_BY_KEY, (call.key,)) or attempts.told_before(ledger, call)
    if known is not None:
        if known["phone_number"] != call.phone:
            raise CallConflict(
                f"call {call.key} is known with the phone {mask(known['phone_number'])}, not {mask(call.phone)}: "
                "correct the report, or leave it.",
                permanent=True,
            )
        _fill_in(ledger, known, call, now)
        return _state(ledger, known["elevenlabs_conversation_id"], created=False)
    person = ledger.one(PERSON, consent.spellings(call.phone))
    assert person is not None
    plan = policy.plan_opening(
        call,
        policy.Person(bool(person["opted_out"]), person["last_opening_at"]),
        ledger.rules,
        fence=ledger.fence,
        backend_pushes=backend_pushes,
        now=now,
    )
    _insert(ledger, call, person, plan, now)
    return _state(ledger, call.key, created=True)


def record_calls(ledger: Ledger, calls: Sequence[Call], now: Moment) -> list[CallState]:
    """Stores what a poll found; a call that is known with another phone is left as it is."""
    states = []
    for call in calls:
        try:
            states.append(record_call(ledger, call, now))
        except CallConflict:
            continue
    return states


def call_state(ledger: Ledger, key: str) -> CallState:
    """What holds now for a call that is known."""
    return _state(ledger, key, created=False)


def unknown_calls(ledger: Ledger, keys: Sequence[str]) -> set[str]:
    """Those of the keys that no call has."""
    return {row[0] for row in ledger.all(UNKNOWN, (json.dumps(list(keys)),))}


def due_details(ledger: Ledger, limit: int, now: Moment) -> list[tuple[int, str]]:
    """Calls (id, key) whose summary and variables are still to be fetched."""
    return [(row["id"], row["key"]) for row in ledger.all(DUE_DETAILS, {"now": now, "limit": limit})]


def save_details(
    ledger: Ledger,
    call_id: int,
    summary: str | None,
    transcript: str | None,
    variables: Mapping[str, Scalar],
    final: bool,
    now: Moment,
) -> None:
    """Keeps what the conversation told; `final` when nothing more is to come."""
    known = ledger.one(KNOWN.format("calls.id = ?"), (call_id,))
    if known is None:
        return
    merged = _merge_variables(json.loads(known["variables"]), variables)
    parameters = {
        "id": call_id,
        "summary": summary,
        "transcript": transcript,
        "variables": json.dumps(merged, ensure_ascii=False),
        "final": int(final),
    }
    ledger.run(SAVE_DETAILS, parameters)
    _after_fill_in(ledger, call_id, known["elevenlabs_conversation_id"], urgent=False, now=now)


def _merge_variables(known: Mapping[str, Scalar], new: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Keeps what is known and adds what is new; an empty text (null at its source) gives way to a value."""
    return {**known, **{name: value for name, value in new.items() if known.get(name, "") == ""}}


def no_details(ledger: Ledger, call_id: int) -> None:
    """The agent service does not know the conversation: asked twice, it is not asked again."""
    ledger.run(NO_DETAILS, (call_id,))


def placeholders(ledger: Ledger, call: sqlite3.Row) -> dict[str, Scalar]:
    """The values of an opening's placeholders, from a row of `calls`."""
    return policy.opening_values(
        ledger.rules,
        json.loads(call["variables"]),
        name=call["client_name"],
        agent_name=call["agent_name"],
        batch_name=call["batch_name"],
        group_name=call["group_name"],
    )


def render(ledger: Ledger, call: sqlite3.Row, window_ends_at: Moment | None, now: Moment) -> policy.Rendered:
    """The opening of a call as it would be sent now."""
    opening = ledger.rules.openings.get(call["outcome"], policy.OpeningText())
    window_open = window_ends_at is not None and now < window_ends_at - policy.WINDOW_MARGIN
    return policy.render_opening(opening, placeholders(ledger, call), window_open=window_open)


def _note_push(ledger: Ledger, call: Call, now: Moment) -> bool:
    """Remembers that the backend reports calls; tells if it did so in the last 24 hours."""
    if call.source == "push":
        ledger.run(NOTE_PUSH, (now,))
        return True
    row = ledger.one(LAST_PUSH)
    return row is not None and row[0] is not None and now - row[0] < 86400.0


def _insert(ledger: Ledger, call: Call, person: sqlite3.Row, plan: policy.Skip | policy.Write, now: Moment) -> None:
    name = policy.client_name(call.client_name, call.variables) or None
    conversation_id = person["id"] or ledger.insert(
        INSERT_CONVERSATION,
        {
            "phone": call.phone,
            "name": name,
            "key": call.key,
            "agent_id": call.agent_id,
            "status": "opted_out" if person["opted_out"] else "active",
            "stamp": stamp(now),
            "now": now,
        },
    )
    call_id = _insert_call(ledger, call, conversation_id, plan, now)
    ended_at = call.ended_at if call.ended_at is not None else now
    if person["last_call_at"] is None or ended_at >= person["last_call_at"]:
        ledger.run(
            POINT_AT_CALL,
            {
                "call_id": call_id,
                "key": call.key,
                "agent_id": call.agent_id,
                "name": name,
                "summary": call.summary,
                "id": conversation_id,
            },
        )
    ledger.run(batches.DROP_HINT, (call.key,))
    if isinstance(plan, policy.Write):
        row = ledger.one(KNOWN_BY_KEY, (call.key,))
        assert row is not None
        content = render(ledger, row, person["window_ends_at"], now).content
        opening = NewMessage(
            conversation_id, "opening", content, plan.due_at, call_id=call_id, not_after=plan.not_after
        )
        queue_message(ledger, opening, now)


def _insert_call(
    ledger: Ledger, call: Call, conversation_id: int, plan: policy.Skip | policy.Write, now: Moment
) -> int:
    has_conversation = "/" not in call.key
    old = isinstance(plan, policy.Skip) and plan.reason == "too_old"
    return ledger.insert(
        INSERT_CALL,
        _told(call)
        | {
            "key": call.key,
            "conversation_id": conversation_id,
            "agent_id": call.agent_id,
            "outcome": call.outcome,
            "source": call.source,
            "ended_at": call.ended_at,
            "now": now,
            "variables": json.dumps(dict(call.variables), ensure_ascii=False),
            "raw": call.raw,
            "skipped": plan.reason if isinstance(plan, policy.Skip) else None,
            "details_at": now if has_conversation and not old and call.summary is None else None,
        },
    )


def _told(call: Call) -> dict[str, str | None]:
    """What one report may lack and another fill in."""
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
    }


def _fill_in(ledger: Ledger, known: sqlite3.Row, call: Call, now: Moment) -> None:
    variables = _merge_variables(json.loads(known["variables"]), call.variables)
    told = _told(call) | {"id": known["id"], "variables": json.dumps(variables, ensure_ascii=False)}
    ledger.run(FILL_IN, told)
    _after_fill_in(ledger, known["id"], known["elevenlabs_conversation_id"], urgent=call.source == "push", now=now)


def _after_fill_in(ledger: Ledger, call_id: int, key: str, *, urgent: bool, now: Moment) -> None:
    """Brings the thread and a waiting opening up to what is known; `urgent` ends the wait for a name."""
    row = ledger.one(KNOWN_BY_KEY, (key,))
    assert row is not None
    name = policy.client_name(row["client_name"], json.loads(row["variables"])) or None
    ledger.run(RENAME, {"name": name, "summary": row["summary"], "call_id": call_id})
    waiting = ledger.one(QUEUED_OPENING, (call_id,))
    if waiting is None:
        return
    window = ledger.one("select window_ends_at from conversation_state where id = ?", (row["conversation_id"],))
    assert window is not None
    # Only the wait for the name ends early: a later due time has another reason (quiet hours, a retry).
    graced = not waiting["attempts"] and now < waiting["due_at"] <= row["recorded_at"] + ledger.rules.push_grace
    due = policy.opens_at(now, ledger.rules, row["phone_number"]) if graced and (urgent or name) else waiting["due_at"]
    ledger.run(REWRITE_OPENING, (render(ledger, row, window[0], now).content, due, waiting["id"]))


def _state(ledger: Ledger, key: str, *, created: bool) -> CallState:
    row = ledger.one(STATE, (key,))
    assert row is not None
    return CallState(
        call_id=row["id"],
        key=row["key"],
        conversation_id=row["conversation_id"],
        created=created,
        skipped=row["skipped"],
        message_id=row["message_id"],
        message_status=row["status"],
        reason=row["reason"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        sid=row["twilio_message_id"],
        due_at=row["due_at"],
        held=bool(row["held"]),
    )


def as_created(state: CallState) -> CallState:
    """The state of a call that this request made known, read again."""
    return replace(state, created=True)
