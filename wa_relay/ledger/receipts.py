"""What Twilio tells after the request: receipts, look-ups of unclear sends, receipts asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import sends
from wa_relay.ledger.store import Ledger
from wa_relay.model import Listed, Moment, Receipt

LOG = """
    insert into receipts (sid, status, error_code, message_id, received_at) values (?, ?, ?, ?, ?)
    on conflict do nothing"""
BY_SID = """
    select m.*, s.phone_number from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.twilio_message_id = ? and m.direction = 'outbound'"""
MOVE_UP = """
    update conversation_messages set status = :status, receipt = :receipt, moved_at = :now,
        delivered_at = coalesce(delivered_at, :delivered), read_at = coalesce(read_at, :read),
        evidence = :evidence, poll_at = null
    where id = :id"""
NOTE_RECEIPT = "update conversation_messages set receipt = ? where id = ?"
NOTE_USER = "update conversation_state set user_id = coalesce(user_id, ?) where id = ?"

DUE_LOOKUPS = """
    select m.id, m.content, m.content_sid, m.attempted_at, s.phone_number
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.status = 'uncertain' and m.lookup_at <= ? order by m.lookup_at limit ?"""
NEXT_LOOKUP = "select min(lookup_at) from conversation_messages where status = 'uncertain'"
PUT_OFF_LOOKUP = "update conversation_messages set lookup_at = ? where id = ? and status = 'uncertain'"
COUNT_LOOKUP = """
    update conversation_messages set lookups = lookups + 1, lookup_at = :at, in_flight = :holds, evidence = :evidence
    where id = :id and status = 'uncertain'"""

DUE_POLLS = """
    select id, twilio_message_id as sid from conversation_messages
    where poll_at <= ? and status = 'sent' order by poll_at limit ?"""
NEXT_POLL = "select min(poll_at) from conversation_messages where poll_at is not null"
COUNT_POLL = "update conversation_messages set polls = polls + 1, poll_at = ? where id = ? and status = 'sent'"
PUT_OFF_POLL = "update conversation_messages set poll_at = ? where id = ? and status = 'sent'"
POLL_AGAIN = 60.0
"""Seconds after which a receipt is asked for once more when the asking came to nothing."""
SWEPT_TO = "select swept_to from relay"
SET_SWEPT_TO = "update relay set swept_to = ?"


@dataclass(frozen=True, slots=True)
class Noted:
    """What a receipt changed. `known` is false for one that is not ours; `alarm` is for a person.

    `freed` is true when something else may go out now.
    """

    known: bool
    message_id: int | None = None
    status: str | None = None
    changed: bool = False
    error_code: str | None = None
    alarm: str | None = None
    freed: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
    """An unclear send to look for. `body` is None for a template, whose text the list does not show."""

    message_id: int
    phone: str
    body: str | None
    attempted_at: Moment


def record_receipt(ledger: Ledger, receipt: Receipt, now: Moment) -> Noted:
    """Stores a receipt and moves its message up; adopts the SID of a send whose answer was lost."""
    row = _message_of(ledger, receipt)
    if row is None:
        return Noted(False)
    code = receipt.error_code or ""
    ledger.run(LOG, (receipt.sid, receipt.status, code, row["id"], now))
    if receipt.user_id:
        ledger.run(NOTE_USER, (receipt.user_id, row["conversation_id"]))
    alarm, adopted = None, row["twilio_message_id"] is None
    if adopted:
        alarm = sends.accept(ledger, row, receipt.sid, "receipt", row["attempted_at"], now).alarm
        row = ledger.one(sends.MESSAGE, (row["id"],))
        assert row is not None
    if row["twilio_message_id"] != receipt.sid:
        why = alarm or f"message {row['id']} has another SID than {receipt.sid}: it may have been sent twice"
        return Noted(True, row["id"], row["status"], alarm=why)
    noted = _move(ledger, row, receipt, now)
    return replace(noted, freed=True) if adopted else noted


def due_lookups(ledger: Ledger, limit: int, now: Moment) -> list[Lookup]:
    """Unclear sends whose look-up is due, the longest waiting first."""
    return [
        Lookup(row["id"], row["phone_number"], None if row["content_sid"] else row["content"], row["attempted_at"])
        for row in ledger.all(DUE_LOOKUPS, (now, limit))
    ]


def record_lookup(ledger: Ledger, lookup: Lookup, listed: Sequence[Listed], now: Moment) -> sends.Finished:
    """Adopts the one message of the list that is the unclear send; else plans the next look."""
    row = ledger.one(sends.MESSAGE, (lookup.message_id,))
    assert row is not None
    if row["status"] != "uncertain":
        return sends.Finished(lookup.message_id, row["status"])
    matches = policy.match_unclear(
        listed, ledger.rules, phone=lookup.phone, body=lookup.body, attempted_at=row["attempted_at"]
    )
    # A list whose pages move while they are read may show a message twice.
    free = {match.sid: match for match in matches if ledger.one(sends.SID_OWNER, (match.sid,)) is None}
    if len(free) == 1:
        (found,) = free.values()
        adopted = sends.accept(ledger, row, found.sid, "list", found.created_at, now)
        noted = record_receipt(ledger, Receipt(found.sid, found.status, error_code=found.error_code), now)
        return replace(adopted, status=noted.status or adopted.status, alarm=adopted.alarm or noted.alarm)
    return _not_found(ledger, row, len(free), now)


def put_off_lookup(ledger: Ledger, message_id: int, at: Moment) -> None:
    """Plans a look-up again that could not be made; it does not count as one."""
    ledger.run(PUT_OFF_LOOKUP, (at, message_id))


def release_holds(ledger: Ledger, now: Moment) -> int:
    """Lets conversations go on whose unclear send has held them for long enough."""
    before = now - ledger.rules.scaled(policy.HOLD)
    rows = ledger.all(
        "select id, turn_id, part from conversation_messages where in_flight = 1 and status = 'uncertain'"
        " and attempted_at <= ?",
        (before,),
    )
    for row in rows:
        ledger.run("update conversation_messages set in_flight = 0 where id = ?", (row["id"],))
        sends.free_next_part(ledger, row, now)
    return len(rows)


def due_polls(ledger: Ledger, limit: int, now: Moment) -> list[tuple[int, str]]:
    """Messages (id, SID) whose receipt did not come, to be asked for now; `poll_answered` counts that it was."""
    rows = ledger.all(DUE_POLLS, (now, limit))
    for row in rows:
        ledger.run(PUT_OFF_POLL, (now + ledger.rules.scaled(POLL_AGAIN), row["id"]))
    return [(row["id"], row["sid"]) for row in rows]


def poll_answered(ledger: Ledger, message_id: int, now: Moment) -> None:
    """Counts a receipt as asked for: Twilio told where the message is."""
    row = ledger.one(sends.MESSAGE, (message_id,))
    assert row is not None
    following = policy.next_receipt_poll(row["accepted_at"], row["polls"] + 1, ledger.rules)
    if following is not None and following <= now:
        following = now + ledger.rules.scaled(POLL_AGAIN)
    ledger.run(COUNT_POLL, (following, message_id))


def put_off_poll(ledger: Ledger, message_id: int, at: Moment) -> None:
    """Plans to ask again for a receipt that could not be asked for."""
    ledger.run(PUT_OFF_POLL, (at, message_id))


def swept_to(ledger: Ledger) -> Moment:
    """Up to when the inbound messages of Twilio's list are known to be stored."""
    row = ledger.one(SWEPT_TO)
    assert row is not None
    return float(row[0] or ledger.fence)


def complete_sweep(ledger: Ledger, to: Moment) -> None:
    """Sets the mark of the inbound sweep, after every page of it was stored; back, where a clock was ahead."""
    ledger.run(SET_SWEPT_TO, (to,))


def _message_of(ledger: Ledger, receipt: Receipt) -> sqlite3.Row | None:
    row = ledger.one(BY_SID, (receipt.sid,))
    # A lost database's receipts still come, with ids that mean other messages here.
    foreign = receipt.database not in (None, ledger.mark)
    if row is None and receipt.message_id is not None and not foreign:
        row = ledger.one(sends.MESSAGE, (receipt.message_id,))
        # Only what was begun can have been accepted: an id of anything else is not ours.
        if row is not None and (row["direction"] != "outbound" or row["attempted_at"] is None):
            return None
    return row


def _move(ledger: Ledger, row: sqlite3.Row, receipt: Receipt, now: Moment) -> Noted:
    if policy.RANK.get(receipt.status, -1) > policy.RANK.get(row["receipt"] or "", -1):
        ledger.run(NOTE_RECEIPT, (receipt.status, row["id"]))
    target = policy.receipt_moves(receipt.status, row["status"])
    freed = receipt.status in ("sent", "delivered", "read") and sends.free_next_part(ledger, row, now)
    if target is None or target == row["status"]:
        late = receipt.status in policy.FAILURES and row["status"] in ("delivered", "read")
        alarm = f"message {row['id']} was {row['status']} and is now told {receipt.status}" if late else None
        return Noted(True, row["id"], row["status"], alarm=alarm, freed=freed)
    if target == "failed":
        code = receipt.error_code
        sends.end(ledger, row["id"], "undelivered", now, code=code, evidence=f"receipt: {receipt.status}")
        sends.follow_refusal(ledger, row, code, now)
        return Noted(True, row["id"], "failed", True, code, freed=True)
    parameters = {
        "id": row["id"],
        "status": target,
        "receipt": receipt.status,
        "now": now,
        "delivered": now,
        "read": now if target == "read" else None,
        "evidence": f"receipt: {receipt.status}",
    }
    ledger.run(MOVE_UP, parameters)
    return Noted(True, row["id"], target, True, freed=freed)


def _not_found(ledger: Ledger, row: sqlite3.Row, matches: int, now: Moment) -> sends.Finished:
    lookups = row["lookups"] + 1
    following = policy.next_lookup(row["attempted_at"], lookups, ledger.rules)
    # After a late start several look-ups may be due at once: one more now says nothing new.
    while following is not None and following <= now:
        lookups += 1
        following = policy.next_lookup(row["attempted_at"], lookups, ledger.rules)
    holds = bool(row["in_flight"]) and now < row["attempted_at"] + ledger.rules.scaled(policy.HOLD)
    evidence = f"{row['evidence'] or ''}".split("; look-up")[0]
    words = "nothing found" if not matches else f"{matches} messages could be it"
    parameters = {
        "id": row["id"],
        "at": following,
        "holds": int(holds),
        "evidence": f"{evidence}; look-up {lookups}: {words}",
    }
    ledger.run(COUNT_LOOKUP, parameters)
    if not holds:
        sends.free_next_part(ledger, row, now)
    alarm = f"message {row['id']}: {matches} messages at Twilio could be it" if matches > 1 else None
    return sends.Finished(row["id"], "uncertain", alarm=alarm)
