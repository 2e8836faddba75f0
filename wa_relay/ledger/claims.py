"""Claims: which messages of the outbox are sent now, by every rule of sending.

A message is marked `sending` in a transaction before the request is made, and the mark says which attempt of
which run it is. `sends` deals with the result.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger import journal, openings, sends
from wa_relay.ledger.outbox import MOVED, Proof
from wa_relay.ledger.store import SELECT_RELAY, Ledger
from wa_relay.model import Moment, Outgoing

SELECT_DUE = """
    select m.id, m.conversation_id, m.kind, m.content, m.call_id, m.turn_id, m.due_at, m.not_after, m.attempts,
        m.notice, coalesce(m.to_address, s.reply_to, s.phone_number) as address, s.status as consent,
        s.window_ends_at, s.bucket, s.bucket_at
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.status = 'queued' and {kind} and m.due_at <= :now
        and not exists (select 1 from conversation_messages b
            where b.conversation_id = m.conversation_id and b.in_flight)
        and not exists (select 1 from conversation_messages e
            where e.conversation_id = m.conversation_id and e.status = 'queued' and e.id < m.id
                and (e.kind <> 'opening' or (:openings and e.due_at <= :now)))
    order by m.due_at limit :limit"""
SELECT_DUE_REPLIES = SELECT_DUE.format(kind="m.kind <> 'opening'")
SELECT_DUE_OPENINGS = SELECT_DUE.format(kind="m.kind = 'opening'")
SELECT_IN_FLIGHT = "select 1 from conversation_messages where conversation_id = :id and in_flight"

MARK_SENDING = f"""
    update conversation_messages set status = 'sending', in_flight = 1, attempts = attempts + 1, attempted_at = :now,
        epoch = :epoch, content = :content, content_sid = :content_sid, content_variables = :variables,
        to_address = :to_address, lookups = 0, lookup_matches = null, lookup_at = null, {MOVED}
    where id = :id and status = 'queued'"""
SPEND_ALLOWANCE = "update conversation_state set bucket = :tokens, bucket_at = :now where id = :id"
DEFER_MESSAGE = "update conversation_messages set due_at = :due_at where id = :id"
SET_PROBE_TIME = "update relay set account_probe_at = :at"
SELECT_BURST = """
    select id from conversation_messages
    where status = 'queued' and kind = 'opening' and due_at <= :by and not released and coalesce(epoch, 0) <> :epoch"""
HOLD_BURST = "update relay set paused_burst = 1"
SELECT_EXPIRED = """
    select id from conversation_messages
    where status = 'queued' and kind = 'opening' and not_after <= :now limit 500"""

PROBE_PATIENCE = 60.0
"""Seconds after which a probe that brought nothing is followed by another."""


CLAIMED = Proof("run")
EXPIRED = Proof("rule", "it waited until the follow-up was too late")
WHY_WORTHLESS = {
    "expired": "it waited until its window or its time had ended",
    "cancelled": "the customer's opt-out forbids it",
}
WHY_WAITING = {
    "quiet_hours": "openings wait for the end of quiet hours",
    "pair_limit": "WhatsApp limits how many messages one customer may get in a short time",
}


@dataclass(frozen=True, slots=True)
class SendJob:
    """A message that is marked as being sent: the request must follow, and its result be finished."""

    outgoing: Outgoing
    conversation_id: int
    kind: str
    call_key: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim took, and what it ended without sending (ids with their reasons).

    `burst` counts the openings that the breaker has just begun to hold, 0 if it has not.
    """

    jobs: tuple[SendJob, ...]
    ended: tuple[tuple[int, str], ...] = ()
    burst: int = 0


def claim_messages(ledger: Ledger, limit: int, now: Moment) -> Claimed:
    """Marks what may be sent now as being sent: replies first, at most one message a conversation.

    Every rule of sending is asked here, in the transaction that makes the mark: account and
    operator holds, the breaker, consent, window, quiet hours, expiry, order and pair limit.
    """
    relay = ledger.need_one(SELECT_RELAY)
    if relay["account_fault"] is not None:
        # A clock that is set back does not put the probe off.
        if 0.0 < (relay["account_probe_at"] or now) - now <= PROBE_PATIENCE:
            return Claimed(())
        # One probe at a time: the next one when this one has failed, or has come to nothing.
        limit = min(limit, 1)
    openings = not (relay["paused_operator"] or relay["paused_burst"])
    burst = _trips_breaker(ledger, now) if openings and ledger.watch else 0
    openings = openings and not burst
    jobs: list[SendJob] = []
    ended: list[tuple[int, str]] = []
    _claim(ledger, SELECT_DUE_REPLIES, openings, limit, now, jobs, ended)
    if openings and len(jobs) < limit:
        _claim(ledger, SELECT_DUE_OPENINGS, openings, limit - len(jobs), now, jobs, ended)
    if jobs and relay["account_fault"] is not None:
        ledger.run(SET_PROBE_TIME, {"at": now + ledger.rules.scaled(PROBE_PATIENCE)})
    return Claimed(tuple(jobs), tuple(ended), burst)


def expire(ledger: Ledger, now: Moment) -> list[int]:
    """Ends openings that waited until they were worth nothing, whatever they waited for."""
    ended = [row["id"] for row in ledger.all(SELECT_EXPIRED, {"now": now})]
    for message_id in ended:
        sends.end(ledger, message_id, "expired", EXPIRED, now)
    return ended


def _trips_breaker(ledger: Ledger, now: Moment) -> int:
    """Holds openings if more than the limit became due since the start; tells how many are held, 0 for none."""
    limit, end = ledger.rules.burst_limit, ledger.started_at + policy.BURST_WATCH
    # The first look after the minute still counts: in it, sending may have been held.
    due = (
        {row["id"] for row in ledger.all(SELECT_BURST, {"by": min(now, end), "epoch": ledger.epoch})}
        if limit
        else set()
    )
    # As ids: what was begun in a transaction that was taken back is due again, and counts once.
    if len(due | ledger.openings_begun) <= limit or not limit:
        ledger.watch = bool(limit) and now <= end
        return 0
    ledger.run(HOLD_BURST)
    journal.record(ledger, journal.Entry("hold", "burst", facts={"held": len(due)}), now)
    return len(due)


def _claim(
    ledger: Ledger,
    sql: str,
    openings: bool,
    limit: int,
    now: Moment,
    jobs: list[SendJob],
    ended: list[tuple[int, str]],
) -> None:
    # More than are wanted: some of them end or are put off when they are looked at.
    for row in ledger.all(sql, {"now": now, "openings": int(openings), "limit": limit * 2 + 8}):
        if len(jobs) >= limit:
            return
        if ledger.one(SELECT_IN_FLIGHT, {"id": row["conversation_id"]}):
            continue
        reason = _worthless(row, now)
        if reason is not None:
            sends.end(ledger, row["id"], reason, Proof("rule", WHY_WORTHLESS[reason]), now)
            ended.append((row["id"], reason))
            continue
        due_at, why = _due(ledger, row, now)
        if due_at > now:
            _defer(ledger, row, due_at, why, now)
            continue
        job = _begin(ledger, row, now)
        if isinstance(job, str):
            ended.append((row["id"], job))
        else:
            jobs.append(job)


def _worthless(row: sqlite3.Row, now: Moment) -> str | None:
    """The reason why a message that is due must not be sent, None when it may be."""
    # The confirmation of an opt-out is for who is out, and everything else for who is not.
    if (row["consent"] == "opted_out") != (row["notice"] == "opt_out"):
        return "cancelled"
    if row["kind"] == "opening":
        return "expired" if row["not_after"] is not None and row["not_after"] <= now else None
    return "expired" if row["window_ends_at"] is None or row["window_ends_at"] <= now else None


def _due(ledger: Ledger, row: sqlite3.Row, now: Moment) -> tuple[Moment, str]:
    """When a message that is due may really be sent, and the rule that delays it."""
    if row["kind"] == "opening":
        opens = policy.opens_at(now, ledger.rules, row["address"])
        if opens > now:
            return opens, "quiet_hours"
    tokens = policy.refill(row["bucket"], row["bucket_at"], now)
    if tokens >= 1.0:
        return now, ""
    return now + max(0.05, (1.0 - tokens) * policy.PERSON_REFILL), "pair_limit"


def _defer(ledger: Ledger, row: sqlite3.Row, due_at: Moment, why: str, now: Moment) -> None:
    ledger.run(DEFER_MESSAGE, {"due_at": due_at, "id": row["id"]})
    entry = journal.Entry(
        "wait",
        why,
        WHY_WAITING[why],
        conversation_id=row["conversation_id"],
        call_id=row["call_id"],
        message_id=row["id"],
        turn_id=row["turn_id"],
        facts={"due_at": due_at},
    )
    journal.record(ledger, entry, now)


def _begin(ledger: Ledger, row: sqlite3.Row, now: Moment) -> SendJob | str:
    """Marks one message as being sent; returns the reason instead when its text can't be made."""
    content, call_key = row["content"], None
    outgoing = Outgoing(row["id"], row["address"], body=row["content"])
    if row["kind"] == "opening":
        call = openings.get_call_by_id(ledger, row["call_id"])
        rendered = openings.render_opening(ledger, call, now)
        reason = _unsendable(ledger, row["id"], rendered, now)
        if reason is not None:
            return reason
        if ledger.watch:
            ledger.openings_begun.add(row["id"])
        content, call_key = rendered.content, call.key
        outgoing = Outgoing(row["id"], row["address"], rendered.body, rendered.content_sid, rendered.content_variables)
    variables = outgoing.content_variables
    parameters = {
        "id": row["id"],
        "epoch": ledger.epoch,
        "content": content,
        "content_sid": outgoing.content_sid,
        "to_address": outgoing.to,
        "variables": None if variables is None else json.dumps(dict(variables), ensure_ascii=False),
    }
    ledger.run(MARK_SENDING, parameters | CLAIMED.columns(now))
    tokens = policy.refill(row["bucket"], row["bucket_at"], now)
    ledger.run(SPEND_ALLOWANCE, {"tokens": tokens - 1.0, "now": now, "id": row["conversation_id"]})
    return SendJob(outgoing, row["conversation_id"], row["kind"], call_key)


def _unsendable(ledger: Ledger, message_id: int, rendered: policy.Rendered, now: Moment) -> str | None:
    """Ends an opening that has no text to send, and returns the reason; None when it has one."""
    if rendered.empty_variable is not None:
        why = f"the template's variable {rendered.empty_variable} is empty: set opening.default_name, or send a name"
        sends.end(ledger, message_id, "empty_variable", Proof("rule", why), now, message=why)
        return "empty_variable"
    if not rendered.content.strip():
        sends.end(ledger, message_id, "cancelled", Proof("rule", "its outcome is no longer followed up"), now)
        return "cancelled"
    return None
