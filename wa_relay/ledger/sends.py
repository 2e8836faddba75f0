"""What came of a send: accepted, provably not sent, refused, or unclear.

What comes back decides the next move; what does not come back leaves a message `uncertain`, to be
looked up and never to be sent again by the machine.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import consent
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Moment, NotSent, Refused, SendResult, Unclear
from wa_relay.moments import stamp

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
FREE_ACCOUNT = """
    update relay set account_fault = null, account_failures = 0, account_probe_at = null, account_held_at = null
    where coalesce(account_fault, account_probe_at, account_held_at) is not null or account_failures > 0"""
SENDING = "select id from conversation_messages where in_flight = 1 and status = 'sending'"
END = """
    update conversation_messages set status = 'failed', reason = :reason, error_code = :code, error_message = :message,
        in_flight = 0, failed_at = :now, moved_at = :now, evidence = :evidence, lookup_at = null, poll_at = null
    where id = :id"""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a send's result came to. `alarm` tells something a person must hear of."""

    message_id: int
    status: str
    reason: str | None = None
    due_at: Moment | None = None
    alarm: str | None = None


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
        consent.opt_out(ledger, row["phone_number"], "twilio", now)
    elif code == "63016":
        ledger.run(
            "update conversation_state set window_ends_at = min(window_ends_at, ?) where id = ?",
            (now, row["conversation_id"]),
        )
