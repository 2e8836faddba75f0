"""Calls: each is recorded once, from any source, together with its opening, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wa_relay import policy
from wa_relay.ledger import (
    batches,
    call_details,
    customers,
    failed_calls,
    forgotten,
    merging,
    openings,
    waiting_openings,
)
from wa_relay.ledger.customers import Customer
from wa_relay.ledger.engine import EngineName, Query
from wa_relay.ledger.faults import CallConflict
from wa_relay.ledger.openings import KnownCall
from wa_relay.ledger.read_ahead import reads_ahead
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Moment
from wa_relay.moments import stamp
from wa_relay.phone import mask, other_spelling

SELECT_CALL_STATE = """
    select calls.id, calls.elevenlabs_conversation_id, calls.conversation_id, calls.skipped,
        m.id, m.status, m.reason, m.error_code, m.error_message, m.twilio_message_id, m.due_at,
        exists (select 1 from holds where subject in ('operator', 'burst', 'account', 'sender'))
    from calls left join conversation_messages m on m.call_id = calls.id and m.kind = 'opening'
    where calls.elevenlabs_conversation_id = :key"""
SELECT_REPORTED = """
    select exists (select 1 from calls where elevenlabs_conversation_id = :key) as known,
        exists (select 1 from addresses where address = :address)
            or exists (select 1 from addresses where address = :other) as called,
        exists (select 1 from opt_outs where phone_number = :address and returned_at is null)
            or exists (select 1 from opt_outs where phone_number = :other and returned_at is null) as opted_out,
        exists (select 1 from call_hints where elevenlabs_conversation_id = :key) as hinted,
        exists (select 1 from holds where subject <> 'limited' and subject <> 'template') as held,
        last_push_at, exists (select 1 from forgotten) as some_forgotten
    from relay"""
"""Says which tables a reported call is looked up in: for a campaign's call, in none."""

SELECT_LAST_CALL = "select max(coalesce(ended_at, recorded_at)) from calls where conversation_id = :id"
INSERT_CALLED_CONVERSATION = """
    insert into conversation_state
        (phone_number, client_name, elevenlabs_conversation_id, agent_id, status, started_at, last_message_at,
        created_at, sender, call_summary)
    values (:phone, :name, :key, :agent_id, :status, :stamp, :stamp, :now, :sender, :summary)"""
POINT_AT_FIRST_CALL = "update conversation_state set call_id = :call_id where id = :id"
POINT_AT_CALL = """
    update conversation_state set call_id = :call_id, elevenlabs_conversation_id = :key, agent_id = :agent_id,
        client_name = coalesce(:name, client_name), call_summary = :summary
    where id = :id"""
INSERT_CALL = """
    insert into calls (elevenlabs_conversation_id, conversation_id, phone_number, agent_id, agent_name, batch_id,
        batch_name, recipient_id, client_name, client_id, group_id, group_name, outcome, source, ended_at, recorded_at,
        variables, summary, transcript, seconds, collected, raw, decide_by, skipped, details_at, lacks_details)
    values (:key, :conversation_id, :phone, :agent_id, :agent_name, :batch_id, :batch_name, :recipient_id,
        :client_name, :client_id, :group_id, :group_name, :outcome, :source, :ended_at, :now, :variables, :summary,
        :transcript, :seconds, :collected, :raw, :decide_by, :skipped, :details_at,
        :lacks_details)"""
MARK_PUSHED = "update relay set last_push_at = :now"
SELECT_LAST_PUSH = "select last_push_at from relay"
SELECT_UNKNOWN_KEYS: Mapping[EngineName, str] = {
    "sqlite": """
    select value from json_each(:keys)
    where not exists (select 1 from calls where elevenlabs_conversation_id = value)""",
    "postgres": """
    select value from json_array_elements_text(cast(:keys as json)) as keys (value)
    where not exists (select 1 from calls where elevenlabs_conversation_id = value)""",
}
MARK_ANONYMOUS = "update conversation_state set erased_at = :now where phone_number = :key"
DROP_DETAILS = "update calls set details_at = null, lacks_details = false where elevenlabs_conversation_id = :key"

Plan = policy.Skip | policy.Write | policy.Wait
Details = Literal["known", "later", "due"]

NOTE_PUSH_EVERY = 60.0
"""Seconds between two notes of the time of the last push."""


@dataclass(frozen=True, slots=True)
class _Reported:
    """What is stored about a reported call; the columns of `SELECT_REPORTED` in order."""

    known: bool
    called: bool
    opted_out: bool
    hinted: bool
    held: bool
    last_push_at: Moment | None
    some_forgotten: bool


@dataclass(frozen=True, slots=True)
class CallState:
    """The state of a call. `message_status` is None if there is no opening.

    A call with neither an opening nor `skipped` waits until its length or its collected values are known.
    `due_at` is when a queued opening is due, `held` is true while a pause keeps openings back.
    `created` is false for a call that was known; for a new one, `details` says when its details are to be fetched.
    """

    call_id: int
    key: str
    conversation_id: int
    skipped: str | None
    message_id: int | None = None
    message_status: str | None = None
    reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    sid: str | None = None
    due_at: Moment | None = None
    held: bool = False
    details: Details = "known"
    created: bool = False


def _query_of_reported(call: Call, _now: Moment) -> Query:
    other = other_spelling(call.phone) or call.phone
    return SELECT_REPORTED, {"key": call.key, "address": call.phone, "other": other}


def _names_of(call: Call, _now: Moment) -> tuple[str, ...]:
    return (call.key, *customers.spellings(call.phone))


@reads_ahead(_query_of_reported, customer="", names=_names_of)
def record_call(ledger: Ledger, call: Call, now: Moment) -> CallState:
    """Stores a call with its conversation and its opening, or fills in what a known one lacks.

    Raises `CallConflict` if the call is known with another customer's phone; nothing changes then.
    """
    reported = _Reported(*ledger.need_one(*_query_of_reported(call, now)))
    known, customer = openings.find_call(ledger, call.key) if reported.known else None, None
    if known is None:
        if reported.some_forgotten and forgotten.is_forgotten(ledger, "call", call.key):
            return _forgotten_state(call)
        customer = customers.find_customer(ledger, call.phone) if reported.called else None
        # A webhook reports a failed call under its conversation, the batch under `<batch>/<recipient>`.
        same = None if customer is None else failed_calls.find_duplicate_failure(ledger, call, customer.id)
        known = None if same is None else openings.find_call(ledger, same)
    if known is not None:
        # Before anything is written: a conflict that has changed nothing need not be undone.
        _refuse_conflict(ledger, known, call)
        _note_push(ledger, call, reported.last_push_at, now)
        call_details.fill_in(ledger, known, call, now)
        return call_state(ledger, known.key)
    backend_pushes = _note_push(ledger, call, reported.last_push_at, now)
    # The customer was erased, but the opt-out stays in force: the call is counted, and no message is sent.
    if customer is None and reported.some_forgotten and forgotten.opted_out_before(ledger, call.phone):
        return _count_forgotten(ledger, call, reported, now)
    if customer is None:
        opted_out = bool(reported.opted_out)
    else:
        if call.phone != customer.phone:
            # The batch dialled another spelling of a known number, which the customer's next message may come from.
            customer = merging.learn_address(ledger, customer, call.phone, now)
        opted_out = customer.status == "opted_out"
    facts = waiting_openings.customer_facts(ledger, None if customer is None else customer.id, opted_out=opted_out)
    plan = plan_call(ledger, call, facts, now, backend_pushes=backend_pushes)
    return _insert(ledger, call, customer, plan, reported, opted_out, now)


def plan_call(
    ledger: Ledger, call: Call, facts: policy.CustomerFacts, now: Moment, *, backend_pushes: bool
) -> policy.Skip | policy.Write | policy.Wait:
    """Returns the verdict of the rules on an unknown call; changes nothing."""
    return policy.plan_opening(call, facts, ledger.rules, fence=ledger.fence, backend_pushes=backend_pushes, now=now)


def record_calls(ledger: Ledger, calls: Sequence[Call], now: Moment) -> list[CallState]:
    """Stores a polled call. A call that is known with another customer's phone stays unchanged."""
    states = []
    for call in calls:
        try:
            states.append(record_call(ledger, call, now))
        except CallConflict:
            continue
    return states


def call_state(ledger: Ledger, key: str) -> CallState:
    """Returns the state of a known call; raises `LookupError` for an unknown one."""
    state = CallState(*ledger.need_one(SELECT_CALL_STATE, {"key": key}))
    return replace(state, held=bool(state.held))


def as_created(state: CallState) -> CallState:
    """The state of a call that this request made known, read again."""
    return replace(state, created=True)


def as_accepted(state: CallState, sid: str) -> CallState:
    """The state of a call whose opening Twilio has just accepted."""
    return replace(state, message_status="sent", sid=sid)


def unknown_calls(ledger: Ledger, keys: Sequence[str]) -> set[str]:
    """Those of the keys that no call has, or had when it was erased."""
    found = (row[0] for row in ledger.all(SELECT_UNKNOWN_KEYS[ledger.db.name], {"keys": json.dumps(list(keys))}))
    return {key for key in found if not forgotten.is_forgotten(ledger, "call", key)}


def _note_push(ledger: Ledger, call: Call, last_push_at: Moment | None, now: Moment) -> bool:
    """Remembers that the backend reports calls. True if it did so in the last 24 hours."""
    if call.source != "push":
        return policy.backend_reports(last_push_at, now)
    if last_push_at is None or not 0.0 <= now - last_push_at < NOTE_PUSH_EVERY:
        ledger.run(MARK_PUSHED, {"now": now})
    return True


def pushes_recently(ledger: Ledger, now: Moment) -> bool:
    """True if the backend has reported a call in the last 24 hours."""
    row = ledger.one(SELECT_LAST_PUSH)
    return row is not None and policy.backend_reports(row[0], now)


def _forgotten_state(call: Call) -> CallState:
    """The answer to another report of an erased call."""
    return CallState(0, call.key, 0, "forgotten")


def _count_forgotten(ledger: Ledger, call: Call, reported: _Reported, now: Moment) -> CallState:
    """Counts a call to a forgotten customer who had opted out: nothing of it says who that is."""
    (trace,) = forgotten.traces_of(ledger, [("call", call.key)], now)
    forgotten.remember(ledger, [trace])
    batches.drop_hint(ledger, call.key)
    counted = forgotten.anonymous(call, f"{forgotten.ERASED}{trace.hash}")
    facts = policy.CustomerFacts(opted_out=True)
    plan = policy.plan_opening(counted, facts, ledger.rules, fence=ledger.fence, backend_pushes=False, now=now)
    _insert(ledger, counted, None, plan, reported, True, now)
    ledger.run(MARK_ANONYMOUS, {"key": counted.key, "now": now})
    ledger.run(DROP_DETAILS, {"key": counted.key})
    return replace(call_state(ledger, counted.key), created=True)


def _refuse_conflict(ledger: Ledger, known: KnownCall, call: Call) -> None:
    if call.phone in customers.spellings(known.phone):
        return
    if customers.find_conversation(ledger.db, call.phone) == known.conversation_id:
        return
    raise CallConflict(
        f"call {call.key} is known with the phone {mask(known.phone)}, not {mask(call.phone)}: "
        "correct the report, or leave it.",
        permanent=True,
    )


def _insert(
    ledger: Ledger,
    call: Call,
    customer: Customer | None,
    plan: Plan,
    reported: _Reported,
    opted_out: bool,
    now: Moment,
) -> CallState:
    """Stores a new call with what follows from it. What is known of it is not read again."""
    name = policy.client_name(call.client_name, call.variables) or None
    last_call = None
    if customer is not None:
        conversation_id = customer.id
        row = ledger.one(SELECT_LAST_CALL, {"id": customer.id})
        last_call = None if row is None else row[0]
    else:
        conversation = {
            "phone": call.phone,
            "name": name,
            "key": call.key,
            "agent_id": call.agent_id,
            "status": "opted_out" if opted_out else "active",
            "stamp": stamp(now),
            "now": now,
            "sender": customers.first_sender(ledger.rules, call.agent_id),
            "summary": call.summary,
        }
        conversation_id = customers.open_conversation(ledger, INSERT_CALLED_CONVERSATION, conversation, now)
    call_id, details = _insert_call(ledger, call, conversation_id, plan, now)
    ended_at = call.ended_at if call.ended_at is not None else now
    if customer is None:
        ledger.write(POINT_AT_FIRST_CALL, {"call_id": call_id, "id": conversation_id})
    elif last_call is None or ended_at >= last_call:
        latest = {"call_id": call_id, "key": call.key, "agent_id": call.agent_id, "name": name}
        ledger.run(POINT_AT_CALL, latest | {"summary": call.summary, "id": conversation_id})
    if reported.hinted:
        batches.drop_hint(ledger, call.key)
    openings.record_decision(ledger, conversation_id, call_id, plan, now, source=call.source, outcome=call.outcome)
    message_id = None
    if isinstance(plan, policy.Write):
        window_ends_at = None if customer is None else customer.window_ends_at
        known = openings.known_call(call, call_id, conversation_id, window_ends_at, now)
        message_id = openings.queue_opening(ledger, known, plan, now)
    return CallState(
        call_id=call_id,
        key=call.key,
        conversation_id=conversation_id,
        skipped=plan.reason if isinstance(plan, policy.Skip) else None,
        message_id=message_id,
        message_status=None if message_id is None else "queued",
        due_at=plan.due_at if isinstance(plan, policy.Write) else None,
        held=bool(reported.held),
        details=details,
        created=True,
    )


def _insert_call(ledger: Ledger, call: Call, conversation_id: int, plan: Plan, now: Moment) -> tuple[int, Details]:
    """Returns the call's id, and when its details are to be fetched."""
    has_conversation = "/" not in call.key
    old = isinstance(plan, policy.Skip) and plan.reason == "too_old"
    waits = isinstance(plan, policy.Wait)
    lacks_details = has_conversation and not old and (call.summary is None or waits)
    opening = ledger.rules.openings.get(call.outcome, policy.OpeningText())
    at_once = waits or (isinstance(plan, policy.Write) and policy.lacks_value(call, opening))
    details: Details = "known" if not lacks_details else "due" if at_once else "later"
    call_id = ledger.insert(
        INSERT_CALL,
        call_details.reported(call)
        | {
            "key": call.key,
            "conversation_id": conversation_id,
            "phone": call.phone,
            "agent_id": call.agent_id,
            "outcome": call.outcome,
            "source": call.source,
            "ended_at": call.ended_at,
            "now": now,
            "variables": json.dumps(dict(call.variables), ensure_ascii=False),
            "raw": call.raw,
            "decide_by": plan.until if isinstance(plan, policy.Wait) else None,
            "skipped": plan.reason if isinstance(plan, policy.Skip) else None,
            "details_at": now if details == "due" else None,
            "lacks_details": lacks_details,
        },
    )
    return call_id, details
