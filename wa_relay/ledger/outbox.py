"""The outbox: every outbound message's way from `queued` to its end.

A message is marked `sending` in a transaction before the request is made, and the mark says
which attempt of which run it is. What comes back decides the next move; what does not come
back leaves it `uncertain`, to be looked up and never to be sent again by the machine.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import calls, inbox
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Moment, NotSent, Outgoing, Refused, SendResult, Unclear
from wa_relay.moments import stamp

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
END = """
    update conversation_messages set status = 'failed', reason = :reason, error_code = :code, error_message = :message,
        in_flight = 0, failed_at = :now, moved_at = :now, evidence = :evidence, lookup_at = null, poll_at = null
    where id = :id"""
MESSAGE = """
    select m.*, s.phone_number from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.id = ?"""
ACCEPT = """
    update conversation_messages set status = 'sent', twilio_message_id = :sid, in_flight = 0, accepted_at = :at,
        sent_at = :stamp, evidence = :evidence, moved_at = :now, poll_at = :poll_at, lookup_at = null, due_at = null
    where id = :id"""
NOTE_SENT = "update conversation_state set last_message_at = max(last_message_at, ?) where id = ?"
NEXT_PART = """
    update conversation_messages set due_at = :due
    where turn_id = :turn_id and part = :part and direction = 'outbound' and status = 'queued'
        and (due_at is null or due_at > :due)"""
LATER_PARTS = """
    select id from conversation_messages
    where turn_id = ? and part > ? and direction = 'outbound' and status = 'queued'"""
REQUEUE = """
    update conversation_messages set status = 'queued', in_flight = 0, due_at = :due, evidence = :evidence,
        moved_at = :now, lookup_at = null
    where id = :id"""
UNCLEAR = """
    update conversation_messages set status = 'uncertain', evidence = :evidence, moved_at = :now, lookups = 0,
        lookup_at = :lookup_at, in_flight = :in_flight
    where id = :id"""
SID_OWNER = "select id from conversation_messages where twilio_message_id = ?"
HOLD_ACCOUNT = """
    update relay set account_fault = :fault, account_failures = account_failures + 1, account_probe_at = :probe_at,
        account_held_at = :now
    where account_held_at is null or account_held_at < :attempted_at"""
PROBE_AT = "update relay set account_probe_at = ?"
FREE_ACCOUNT = """
    update relay set account_fault = null, account_failures = 0, account_probe_at = null, account_held_at = null
    where coalesce(account_fault, account_probe_at, account_held_at) is not null or account_failures > 0"""
SENDING = "select id from conversation_messages where in_flight = 1 and status = 'sending'"
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


@dataclass(frozen=True, slots=True)
class Finished:
    """What a send's result came to. `alarm` tells something a person must hear of."""

    message_id: int
    status: str
    reason: str | None = None
    due_at: Moment | None = None
    alarm: str | None = None


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


def finish_send(ledger: Ledger, message_id: int, result: SendResult, now: Moment) -> Finished:
    """Moves a message on by what its send came to; one that a receipt moved meanwhile stays there."""
    row = ledger.one(MESSAGE, (message_id,))
    assert row is not None
    if isinstance(result, Accepted):
        ledger.run(FREE_ACCOUNT)
        done = accept(ledger, row, result.sid, "http: 201", row["attempted_at"], now)
        if done.status != "sending":
            return done
        # Another message has that SID: what became of this one is for a person to find out.
        return replace(_become_uncertain(ledger, row, f"http: 201 with {result.sid}", now), alarm=done.alarm)
    if row["status"] != "sending":
        return Finished(message_id, row["status"], row["reason"])
    if isinstance(result, NotSent):
        pause = policy.retry_delay(
            row["attempts"] - 1, result.retry_after, base=policy.SEND_RETRY_BASE, cap=policy.SEND_RETRY_CAP
        )
        due = now + ledger.rules.scaled(pause)
        ledger.run(REQUEUE, {"id": message_id, "due": due, "evidence": f"not sent: {result.evidence}", "now": now})
        return Finished(message_id, "queued", due_at=due)
    if isinstance(result, Unclear):
        return _become_uncertain(ledger, row, result.evidence, now)
    return _refused(ledger, row, result, now)


def accept(ledger: Ledger, row: sqlite3.Row, sid: str, evidence: str, at: Moment | None, now: Moment) -> Finished:
    """Adopts a SID for a message: Twilio has it. A different SID than the known one is an alarm."""
    message_id = row["id"]
    if row["twilio_message_id"] == sid:
        return Finished(message_id, row["status"])
    owner = ledger.one(SID_OWNER, (sid,))
    if row["twilio_message_id"] is not None or owner is not None or row["status"] == "failed":
        why = f"message {message_id} is {row['status']} and Twilio also has {sid}: it may have been sent twice"
        return Finished(message_id, row["status"], alarm=why)
    accepted_at = at if at is not None else now
    ledger.run(
        ACCEPT,
        {
            "id": message_id,
            "sid": sid,
            "at": now if evidence.startswith("http") else accepted_at,
            "stamp": stamp(now if evidence.startswith("http") else accepted_at),
            "evidence": evidence,
            "now": now,
            "poll_at": policy.next_receipt_poll(now, 0, ledger.rules),
        },
    )
    ledger.run(NOTE_SENT, (stamp(accepted_at), row["conversation_id"]))
    free_next_part(ledger, row, now + policy.PART_PAUSE)
    return Finished(message_id, "sent")


def free_next_part(ledger: Ledger, row: sqlite3.Row, due: Moment) -> bool:
    """Makes the part of an answer that follows a message due; false when none waits for it."""
    if row["turn_id"] is None:
        return False
    return ledger.run(NEXT_PART, {"due": due, "turn_id": row["turn_id"], "part": row["part"] + 1}) > 0


def rescue_sends(ledger: Ledger, now: Moment) -> int:
    """At the start: what was on the wire when the process died is unclear."""
    rows = ledger.all(SENDING)
    for row in rows:
        message = ledger.one(MESSAGE, (row["id"],))
        assert message is not None
        _become_uncertain(ledger, message, "the process ended while it was on the wire", now)
    return len(rows)


def expire(ledger: Ledger, now: Moment) -> list[int]:
    """Ends openings that waited until they were worth nothing, whatever they waited for."""
    ended = [row["id"] for row in ledger.all(EXPIRED, (now,))]
    for message_id in ended:
        end(ledger, message_id, "expired", now)
    return ended


def end(
    ledger: Ledger,
    message_id: int,
    reason: str,
    now: Moment,
    *,
    code: str | None = None,
    message: str | None = None,
    evidence: str | None = None,
) -> None:
    """Ends a message without success, and with it the parts of the same answer that follow it."""
    parameters = {
        "id": message_id,
        "reason": reason,
        "code": code,
        "message": message,
        "evidence": evidence,
        "now": now,
    }
    ledger.run(END, parameters)
    row = ledger.one("select turn_id, part, kind from conversation_messages where id = ?", (message_id,))
    if row is not None and row["turn_id"] is not None:
        for later in ledger.all(LATER_PARTS, (row["turn_id"], row["part"])):
            rest = {**parameters, "id": later["id"], "reason": "cancelled", "code": None, "message": None}
            ledger.run(END, rest | {"evidence": f"the part before it ended: {reason}"})


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
            end(ledger, row["id"], reason, now)
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
            end(ledger, row["id"], "empty_variable", now, message=why)
            return "empty_variable"
        if not rendered.content.strip():
            end(ledger, row["id"], "cancelled", now, evidence="the outcome is not followed up any more")
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


def _become_uncertain(ledger: Ledger, row: sqlite3.Row, evidence: str, now: Moment) -> Finished:
    attempted_at = row["attempted_at"]
    holds = now < attempted_at + ledger.rules.scaled(policy.HOLD)
    # Looked up at once, whatever time has passed since the attempt: a restart may be hours later.
    ledger.run(UNCLEAR, {"id": row["id"], "evidence": evidence, "now": now, "lookup_at": now, "in_flight": int(holds)})
    if not holds:
        free_next_part(ledger, row, now)
    return Finished(row["id"], "uncertain")


def _refused(ledger: Ledger, row: sqlite3.Row, refusal: Refused, now: Moment) -> Finished:
    if refusal.scope == "account":
        evidence = f"not sent: refused for the account or the sender, {refusal.code}"
        ledger.run(REQUEUE, {"id": row["id"], "due": now, "evidence": evidence, "now": now})
        relay = ledger.one("select account_failures from relay")
        assert relay is not None
        probe_at = now + ledger.rules.scaled(policy.account_probe(relay[0] + 1))
        fault = f"{refusal.code}: {refusal.meaning}"
        # What was on the wire together is refused together: only the first of them, and each probe, counts.
        held = {"fault": fault, "probe_at": probe_at, "attempted_at": row["attempted_at"], "now": now}
        alarm = f"everything is held, Twilio refused with {fault}" if ledger.run(HOLD_ACCOUNT, held) else None
        return Finished(row["id"], "queued", due_at=probe_at, alarm=alarm)
    message = refusal.message or refusal.meaning
    end(ledger, row["id"], "refused", now, code=refusal.code, message=message, evidence="http: refused")
    follow_refusal(ledger, row, refusal.code, now)
    return Finished(row["id"], "failed", "refused")


def follow_refusal(ledger: Ledger, row: sqlite3.Row, code: str | None, now: Moment) -> None:
    """What a code says about the person: 21610 is an opt-out, 63016 a window that is closed."""
    if code == "21610":
        inbox.opt_out(ledger, row["phone_number"], "twilio", now)
    elif code == "63016":
        ledger.run(
            "update conversation_state set window_ends_at = min(window_ends_at, ?) where id = ?",
            (now, row["conversation_id"]),
        )
