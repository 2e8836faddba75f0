"""Openings that wait: for facts about their call, for their delay, for quiet hours; and what ends the wait.

A call whose length or collected values its opening depends on is stored undecided (`decide_by`) and has no opening
until they are known. Everything that waits follows the configuration of the latest start.
"""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger import openings, send_results
from wa_relay.ledger.daily_limit import WAITS, DailyLimit
from wa_relay.ledger.engine import Row
from wa_relay.ledger.openings import KnownCall
from wa_relay.ledger.outbox import Proof
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Moment

SELECT_LAST_OPENING = """
    select max(coalesce(accepted_at, created_at)) from conversation_messages
    where conversation_id = :id and kind = 'opening' and status <> 'failed'"""
SELECT_STATUS = "select status, handler from conversation_state where id = :id"
SELECT_WROTE_SINCE = """
    select 1 from conversation_messages
    where conversation_id = :id and direction = 'inbound' and accepted_at >= :since limit 1"""
SELECT_UNDECIDED = "select id from calls where decide_by <= :now order by decide_by limit :limit"
MARK_DECIDED = "update calls set decide_by = null, skipped = :skipped where id = :id"
SELECT_QUEUED_OPENINGS_OF = """
    select id, call_id from conversation_messages
    where conversation_id = :id and kind = 'opening' and status = 'queued'"""
SELECT_QUEUED_OPENINGS = """
    select id, call_id, due_at, not_after, sends, sender, waits_for from conversation_messages
    where kind = 'opening' and status = 'queued' order by due_at"""
SELECT_EXPIRED = """
    select id from conversation_messages
    where status = 'queued' and kind = 'opening' and not_after <= :now limit 500"""
SET_TIMES = "update conversation_messages set due_at = :due_at, not_after = :not_after where id = :id"

EXPIRED = Proof("rule", "it waited until the follow-up was too late")
CONVERSATION_STARTED = Proof("customer", "the customer wrote before the opening was due")


@dataclass(frozen=True, slots=True)
class Decided:
    """The result for a call that was undecided. `due_at` is None without an opening to send."""

    key: str
    conversation_id: int
    message_id: int | None
    skipped: str | None
    due_at: Moment | None


def customer_facts(ledger: Ledger, conversation_id: int | None, *, opted_out: bool) -> policy.CustomerFacts:
    """The facts about a customer that the rules of openings need; `conversation_id` is None for a new one."""
    if conversation_id is None:
        return policy.CustomerFacts(opted_out)
    (last_opening_at,) = ledger.need_one(SELECT_LAST_OPENING, {"id": conversation_id})
    handler = ledger.need_one(SELECT_STATUS, {"id": conversation_id})["handler"]
    return policy.CustomerFacts(opted_out, last_opening_at, handed_over=handler == "human")


def decide(ledger: Ledger, call: KnownCall, now: Moment) -> Decided | None:
    """Decides a call that waits for facts; None if it is decided already, or has to wait longer."""
    if call.decide_by is None:
        return None
    opted_out = ledger.need_one(SELECT_STATUS, {"id": call.conversation_id})[0] == "opted_out"
    plan = policy.plan_opening(
        _as_call(call),
        customer_facts(ledger, call.conversation_id, opted_out=opted_out),
        ledger.rules,
        fence=ledger.fence,
        backend_pushes=False,
        now=now,
        reported_at=call.recorded_at,
    )
    if isinstance(plan, policy.Wait):
        return None
    skipped = plan.reason if isinstance(plan, policy.Skip) else None
    ledger.run(MARK_DECIDED, {"id": call.id, "skipped": skipped})
    openings.record_decision(ledger, call.conversation_id, call.id, plan, now, decided="late")
    if isinstance(plan, policy.Skip):
        return Decided(call.key, call.conversation_id, None, plan.reason, None)
    message_id = openings.queue_opening(ledger, call, plan, now)
    if ledger.one(SELECT_WROTE_SINCE, {"id": call.conversation_id, "since": call.ended_at}):
        send_results.end(ledger, message_id, "conversation_started", CONVERSATION_STARTED, now)
        return Decided(call.key, call.conversation_id, message_id, None, None)
    return Decided(call.key, call.conversation_id, message_id, None, plan.due_at)


def decide_overdue(ledger: Ledger, limit: int, now: Moment) -> list[Decided]:
    """Decides the calls that have waited as long as they may."""
    rows = ledger.all(SELECT_UNDECIDED, {"now": now, "limit": limit})
    decided = (decide(ledger, openings.get_call_by_id(ledger, row["id"]), now) for row in rows)
    return [one for one in decided if one is not None]


def end_by_customer(ledger: Ledger, conversation_id: int, written_at: Moment, now: Moment) -> None:
    """Ends the openings that still wait for their delay or for quiet hours when their customer writes."""
    for row in ledger.all(SELECT_QUEUED_OPENINGS_OF, {"id": conversation_id}):
        call = openings.get_call_by_id(ledger, row["call_id"])
        if written_at >= (call.ended_at or 0.0) and allowed_at(ledger, call, now) > now:
            send_results.end(ledger, row["id"], "conversation_started", CONVERSATION_STARTED, now)


def expire(ledger: Ledger, now: Moment) -> list[int]:
    """Ends openings that waited until they were worth nothing, whatever they waited for."""
    ended = [row["id"] for row in ledger.all(SELECT_EXPIRED, {"now": now})]
    for message_id in ended:
        send_results.end(ledger, message_id, "expired", EXPIRED, now)
    return ended


def replan(ledger: Ledger, now: Moment) -> int:
    """Recomputes the times of queued openings by the rules of this start. Returns the number of openings."""
    rows = ledger.all(SELECT_QUEUED_OPENINGS)
    daily = DailyLimit(ledger, now, waiting=False)
    for row in rows:
        call = openings.get_call_by_id(ledger, row["call_id"])
        not_after = policy.worthless_at(_ended_at(call), openings.opening_text(ledger, call), ledger.rules, call.phone)
        due_at = _replanned(ledger, row, call, daily, now)
        if (due_at, not_after) != (row["due_at"], row["not_after"]):
            ledger.run(SET_TIMES, {"id": row["id"], "due_at": due_at, "not_after": not_after})
    return len(rows)


def _replanned(ledger: Ledger, row: Row, call: KnownCall, daily: DailyLimit, now: Moment) -> Moment:
    due_at: Moment = row["due_at"]
    # A due opening is checked again when it is claimed, and a retry keeps its pause.
    if due_at <= now or row["sends"]:
        return due_at
    allowed = allowed_at(ledger, call, now)
    if row["waits_for"] == WAITS and allowed <= now:
        return daily.due_at(row["sender"], call.conversation_id)
    return allowed


def is_delayed(ledger: Ledger, call: KnownCall, now: Moment) -> bool:
    """True while the delay after the end of the call has not passed."""
    return _ended_at(call) + openings.opening_text(ledger, call).delay > now


def allowed_at(ledger: Ledger, call: KnownCall, now: Moment) -> Moment:
    """The first moment from `now` on at which delay and quiet hours allow the call's opening."""
    ended_at = _ended_at(call)
    return policy.allowed_at(ended_at, openings.opening_text(ledger, call), ledger.rules, call.phone, now)


def _ended_at(call: KnownCall) -> Moment:
    # A backend's clock may be ahead of ours.
    return call.recorded_at if call.ended_at is None else min(call.ended_at, call.recorded_at)


def _as_call(call: KnownCall) -> Call:
    return Call(
        key=call.key,
        phone=call.phone,
        agent_id=call.agent_id,
        outcome=call.outcome,
        source=call.source,
        ended_at=call.ended_at,
        client_name=call.client_name,
        variables=call.variables,
        seconds=call.seconds,
        collected=call.collected,
    )
