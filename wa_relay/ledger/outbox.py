"""The outbox: what waits to be sent, and the rules by which it is taken.

A message is marked `sending` in a transaction before the request is made, and the mark says
which attempt of which run it is. What came of the request is for `sends`.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from wa_relay import policy
from wa_relay.ledger import calls, sends
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, Outgoing

CANDIDATE = """
    select m.id, m.conversation_id, m.kind, m.content, m.call_id, m.due_at, m.not_after, m.attempts, m.notice,
        s.phone_number, s.status as consent, s.window_ends_at, s.bucket, s.bucket_at
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.status = 'queued' and {kind} and m.due_at <= :now
        and not exists (select 1 from conversation_messages b
            where b.conversation_id = m.conversation_id and b.in_flight = 1)
        and not exists (select 1 from conversation_messages e
            where e.conversation_id = m.conversation_id and e.status = 'queued' and e.id < m.id
                and (e.kind <> 'opening' or (:openings and e.due_at <= :now)))
    order by m.due_at limit :limit"""
DUE_REPLIES = CANDIDATE.format(kind="m.kind <> 'opening'")
DUE_OPENINGS = CANDIDATE.format(kind="m.kind = 'opening'")
NEXT_REPLY = "select min(due_at) from conversation_messages where status = 'queued' and kind <> 'opening'"
NEXT_OPENING = "select min(due_at) from conversation_messages where status = 'queued' and kind = 'opening'"
IN_FLIGHT = "select 1 from conversation_messages where conversation_id = ? and in_flight = 1"

BEGIN = """
    update conversation_messages set status = 'sending', in_flight = 1, attempts = attempts + 1, attempted_at = :now,
        epoch = :epoch, evidence = null, moved_at = :now, content = :content, content_sid = :content_sid,
        content_variables = :variables, lookups = 0, lookup_at = null
    where id = :id and status = 'queued'"""
SPEND = "update conversation_state set bucket = ?, bucket_at = ? where id = ?"
DEFER = "update conversation_messages set due_at = ? where id = ?"
PROBE_AT = "update relay set account_probe_at = ?"
BURST_DUE = """
    select id from conversation_messages
    where status = 'queued' and kind = 'opening' and due_at <= ? and not released and coalesce(epoch, 0) <> ?"""
EXPIRED = """
    select id from conversation_messages where status = 'queued' and kind = 'opening' and not_after <= ? limit 500"""

PROBE_PATIENCE = 60.0
"""Seconds after which a probe that brought nothing is followed by another."""


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
    relay = ledger.one("select * from relay")
    assert relay is not None
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
    _claim(ledger, DUE_REPLIES, openings, limit, now, jobs, ended)
    if openings and len(jobs) < limit:
        _claim(ledger, DUE_OPENINGS, openings, limit - len(jobs), now, jobs, ended)
    if jobs and relay["account_fault"] is not None:
        ledger.run(PROBE_AT, (now + ledger.rules.scaled(PROBE_PATIENCE),))
    return Claimed(tuple(jobs), tuple(ended), burst)


def next_due(ledger: Ledger) -> Moment | None:
    """When the outbox has something due again, as far as its due times tell."""
    moments = [row[0] for sql in (NEXT_REPLY, NEXT_OPENING) if (row := ledger.one(sql)) and row[0] is not None]
    return min(moments, default=None)


def expire(ledger: Ledger, now: Moment) -> list[int]:
    """Ends openings that waited until they were worth nothing, whatever they waited for."""
    ended = [row["id"] for row in ledger.all(EXPIRED, (now,))]
    for message_id in ended:
        sends.end(ledger, message_id, "expired", now)
    return ended


def _trips_breaker(ledger: Ledger, now: Moment) -> int:
    """Holds openings if more than the limit became due since the start; tells how many are held, 0 for none."""
    limit, end = ledger.rules.burst_limit, ledger.started_at + policy.BURST_WATCH
    # The first look after the minute still counts: in it, sending may have been held.
    due = {row["id"] for row in ledger.all(BURST_DUE, (min(now, end), ledger.epoch))} if limit else set()
    # As ids: what was begun in a transaction that was taken back is due again, and counts once.
    if len(due | ledger.openings_begun) <= limit or not limit:
        ledger.watch = bool(limit) and now <= end
        return 0
    ledger.run("update relay set paused_burst = 1")
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
        if ledger.one(IN_FLIGHT, (row["conversation_id"],)):
            continue
        reason = _worthless(row, now)
        if reason is not None:
            sends.end(ledger, row["id"], reason, now)
            ended.append((row["id"], reason))
            continue
        later = _put_off(ledger, row, now)
        if later > now:
            ledger.run(DEFER, (later, row["id"]))
            continue
        job = _begin(ledger, row, now)
        if isinstance(job, str):
            ended.append((row["id"], job))
        else:
            jobs.append(job)


def _worthless(row: sqlite3.Row, now: Moment) -> str | None:
    """Why a message that is due must not be sent any more, None when it may."""
    # The confirmation of an opt-out is for who is out, and everything else for who is not.
    if (row["consent"] == "opted_out") != (row["notice"] == "opt_out"):
        return "cancelled"
    if row["kind"] == "opening":
        return "expired" if row["not_after"] is not None and row["not_after"] <= now else None
    return "expired" if row["window_ends_at"] is None or row["window_ends_at"] <= now else None


def _put_off(ledger: Ledger, row: sqlite3.Row, now: Moment) -> Moment:
    """When a message that is due may really go: quiet hours for openings, the pair limit for all."""
    if row["kind"] == "opening":
        opens = policy.after_quiet(now, ledger.rules)
        if opens > now:
            return opens
    tokens = policy.refill(row["bucket"], row["bucket_at"], now)
    if tokens >= 1.0:
        return now
    return now + max(0.05, (1.0 - tokens) * policy.PERSON_REFILL)


def _begin(ledger: Ledger, row: sqlite3.Row, now: Moment) -> SendJob | str:
    """Marks one message as being sent; the reason instead when its text can't be made."""
    content, outgoing, call_key = row["content"], Outgoing(row["id"], row["phone_number"], body=row["content"]), None
    if row["kind"] == "opening":
        call = ledger.one(calls.KNOWN.format("calls.id = ?"), (row["call_id"],))
        assert call is not None
        rendered = calls.render(ledger, call, row["window_ends_at"], now)
        if rendered.empty_variable is not None:
            why = (
                f"the template's variable {rendered.empty_variable} is empty: set opening.default_name, or send a name"
            )
            sends.end(ledger, row["id"], "empty_variable", now, message=why)
            return "empty_variable"
        if not rendered.content.strip():
            sends.end(ledger, row["id"], "cancelled", now, evidence="the outcome is not followed up any more")
            return "cancelled"
        if ledger.watch:
            ledger.openings_begun.add(row["id"])
        content, call_key = rendered.content, call["elevenlabs_conversation_id"]
        outgoing = Outgoing(
            row["id"], row["phone_number"], rendered.body, rendered.content_sid, rendered.content_variables
        )
    variables = outgoing.content_variables
    parameters = {
        "id": row["id"],
        "now": now,
        "epoch": ledger.epoch,
        "content": content,
        "content_sid": outgoing.content_sid,
        "variables": None if variables is None else json.dumps(dict(variables), ensure_ascii=False),
    }
    ledger.run(BEGIN, parameters)
    tokens = policy.refill(row["bucket"], row["bucket_at"], now)
    ledger.run(SPEND, (tokens - 1.0, now, row["conversation_id"]))
    return SendJob(outgoing, row["conversation_id"], row["kind"], call_key)
