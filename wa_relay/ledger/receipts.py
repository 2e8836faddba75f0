"""Twilio's reports after a request: receipts, look-ups of uncertain sends, receipts that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wa_relay import policy
from wa_relay.ledger import alerts, customers, forgotten, holds, journal, merging, send_results
from wa_relay.ledger.outbox import MOVED, Outbound, Proof, find_message, find_message_by_sid, get_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Listed, Moment, Receipt

INSERT_RECEIPT = """
    insert into receipts (sid, status, error_code, message_id, received_at)
    values (:sid, :status, :code, :message_id, :now)
    on conflict do nothing"""
MARK_ARRIVED = f"""
    update conversation_messages set status = :status, receipt = :receipt, delivered_at = coalesce(delivered_at, :now),
        read_at = coalesce(read_at, :read), poll_at = null, {MOVED}
    where id = :id"""
NOTE_RECEIPT = "update conversation_messages set receipt = :status where id = :id"
NOTE_USER = "update conversation_state set user_id = :user_id where id = :id and user_id is null"

SELECT_DUE_LOOKUPS = """
    select m.id, m.content, m.content_sid, m.attempted_at, m.sender,
        coalesce(m.to_address, s.phone_number) as address
    from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.status = 'uncertain' and m.lookup_at <= :now order by m.lookup_at limit :limit"""
PUT_OFF_LOOKUP = "update conversation_messages set lookup_at = :at where id = :id and status = 'uncertain'"
COUNT_LOOKUP = """
    update conversation_messages set lookups = lookups + 1, lookup_matches = :matches, lookup_at = :at,
        in_flight = :holds
    where id = :id and status = 'uncertain'"""
SELECT_ENDED_HOLDS = """
    select id from conversation_messages where in_flight and status = 'uncertain' and attempted_at <= :before"""
RELEASE_CONVERSATION = "update conversation_messages set in_flight = false where id = :id"

SELECT_DUE_POLLS = """
    select id, twilio_message_id as sid from conversation_messages
    where poll_at <= :now and status = 'sent' order by poll_at limit :limit"""
COUNT_POLL = "update conversation_messages set polls = polls + 1, poll_at = :at where id = :id and status = 'sent'"
PUT_OFF_POLL = "update conversation_messages set poll_at = :at where id = :id and status = 'sent'"
POLL_AGAIN = 60.0
"""Seconds after which a receipt is asked for again when Twilio could not be asked."""
SELECT_SWEPT_TO = "select swept_to from relay"
SET_SWEPT_TO = "update relay set swept_to = :to"


@dataclass(frozen=True, slots=True)
class Noted:
    """The changes of a receipt. `known` is false for a message that is not ours; `alarm` is a sentence for an operator.
    `freed` is true when another message may go out now.
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
    """An unclear send to look for. `body` is None for a template, whose text the list does not show.

    `sender` is the number it was sent from, None for the default one.
    """

    message_id: int
    phone: str
    body: str | None
    attempted_at: Moment
    sender: str | None = None


def record_receipt(ledger: Ledger, receipt: Receipt, now: Moment) -> Noted:
    """Stores a receipt and moves its message; adopts the SID of a send whose response was lost."""
    message = _message_of(ledger, receipt)
    if message is None or message.address.startswith(forgotten.ERASED):
        return Noted(False)
    if receipt.sender and message.sender is None:
        customers.name_sender(ledger, message.conversation_id, receipt.sender)
    if receipt.user_id:
        _learn_bsuid(ledger, message.conversation_id, receipt.user_id, now)
        message = get_message(ledger, message.id)
    alarm, adopted = None, message.sid is None
    if adopted:
        proof = Proof("receipt", "a receipt reported its SID")
        alarm = send_results.accept(ledger, message, receipt.sid, proof, message.attempted_at, now).alarm
        message = get_message(ledger, message.id)
    # The id in the callback says that it is ours, the SID that it is another send of ours: never move the row by it.
    if message.sid != receipt.sid:
        why = alarm or f"message {message.id} has another SID than {receipt.sid}: it may have been sent twice"
        _record_other_sid(ledger, message, why, now)
        return Noted(True, message.id, message.status, alarm=why)
    parameters = {"sid": receipt.sid, "status": receipt.status, "code": receipt.error_code or ""}
    ledger.write(INSERT_RECEIPT, parameters | {"message_id": message.id, "now": now})
    noted = _move(ledger, message, receipt, now)
    return replace(noted, freed=True) if adopted else noted


def due_lookups(ledger: Ledger, limit: int, now: Moment) -> list[Lookup]:
    """Unclear sends whose look-up is due, the longest waiting first."""
    return [
        Lookup(
            row["id"],
            row["address"],
            None if row["content_sid"] else row["content"],
            row["attempted_at"],
            row["sender"],
        )
        for row in ledger.all(SELECT_DUE_LOOKUPS, {"now": now, "limit": limit})
    ]


def record_lookup(ledger: Ledger, lookup: Lookup, listed: Sequence[Listed], now: Moment) -> send_results.Finished:
    """Adopts the one message of the list that is the uncertain send; otherwise plans the next look-up."""
    message = get_message(ledger, lookup.message_id)
    if message.status != "uncertain":
        return send_results.Finished(lookup.message_id, message.status)
    matches = policy.match_unclear(
        listed, ledger.rules, phone=lookup.phone, body=lookup.body, attempted_at=message.began_at
    )
    # A list whose pages move while they are read may show a message twice.
    free = {
        match.sid: match for match in matches if ledger.one(send_results.SELECT_SID_OWNER, {"sid": match.sid}) is None
    }
    # With two candidates it is unknown which one it is, and a wrong SID would hide a second message.
    if len(free) == 1:
        (found,) = free.values()
        proof = Proof("listing", "Twilio's list has it")
        adopted = send_results.accept(ledger, message, found.sid, proof, found.created_at, now)
        noted = record_receipt(ledger, Receipt(found.sid, found.status, error_code=found.error_code), now)
        return replace(adopted, status=noted.status or adopted.status, alarm=adopted.alarm or noted.alarm)
    return _not_found(ledger, message, len(free), now)


def put_off_lookup(ledger: Ledger, message_id: int, at: Moment) -> None:
    """Plans a look-up again that could not be made, and does not count."""
    ledger.write(PUT_OFF_LOOKUP, {"at": at, "id": message_id})


def release_holds(ledger: Ledger, now: Moment) -> int:
    """Releases conversations that an uncertain send has held for long enough; returns how many."""
    rows = ledger.all(SELECT_ENDED_HOLDS, {"before": now - ledger.rules.scaled(policy.HOLD)})
    for row in rows:
        ledger.write(RELEASE_CONVERSATION, {"id": row["id"]})
        message = get_message(ledger, row["id"])
        send_results.free_next_part(ledger, message, now)
        alerts.raise_uncertain(ledger, message.id, message.kind, message.conversation_id, now)
    return len(rows)


def due_polls(ledger: Ledger, limit: int, now: Moment) -> list[tuple[int, str]]:
    """Messages (id, SID) whose receipt did not come, to be asked for now; `poll_answered` counts the response."""
    rows = ledger.all(SELECT_DUE_POLLS, {"now": now, "limit": limit})
    for row in rows:
        put_off_poll(ledger, row["id"], now + ledger.rules.scaled(POLL_AGAIN))
    return [(row["id"], row["sid"]) for row in rows]


def poll_answered(ledger: Ledger, message_id: int, now: Moment) -> None:
    """Counts a receipt as asked for, after Twilio's answer."""
    message = get_message(ledger, message_id)
    accepted_at = now if message.accepted_at is None else message.accepted_at
    following = policy.next_receipt_poll(accepted_at, message.polls + 1, ledger.rules)
    if following is not None and following <= now:
        following = now + ledger.rules.scaled(POLL_AGAIN)
    ledger.write(COUNT_POLL, {"at": following, "id": message_id})


def put_off_poll(ledger: Ledger, message_id: int, at: Moment) -> None:
    """Plans to ask again for a receipt that could not be asked for."""
    ledger.write(PUT_OFF_POLL, {"at": at, "id": message_id})


def swept_to(ledger: Ledger) -> Moment:
    """The moment up to which the inbound messages of Twilio's list are known to be stored."""
    return float(ledger.need_one(SELECT_SWEPT_TO)["swept_to"] or ledger.fence)


def complete_sweep(ledger: Ledger, to: Moment) -> None:
    """Sets the mark of the inbound sweep, after all its pages were stored; also to an earlier time, if a clock was
    ahead."""
    ledger.write(SET_SWEPT_TO, {"to": to})


def _message_of(ledger: Ledger, receipt: Receipt) -> Outbound | None:
    message = find_message_by_sid(ledger, receipt.sid)
    # Receipts of a lost database still arrive, with ids that mean other messages here.
    foreign = receipt.database not in (None, ledger.mark)
    if message is None and receipt.message_id is not None and not foreign:
        message = find_message(ledger, receipt.message_id)
        # Only a begun send can have been accepted: the id of anything else is not ours.
        if message is not None and message.attempted_at is None:
            return None
    return message


def _record_other_sid(ledger: Ledger, message: Outbound, why: str, now: Moment) -> None:
    """Journals a receipt of another SID. It is not in `receipts`, where a customer's rows are found by their SIDs."""
    entry = journal.Entry(
        "receipt",
        "other_sid",
        why,
        conversation_id=message.conversation_id,
        call_id=message.call_id,
        message_id=message.id,
    )
    journal.record(ledger, entry, now)


def _learn_bsuid(ledger: Ledger, conversation_id: int, bsuid: str, now: Moment) -> None:
    """Notes the BSUID that a receipt shows of the customer whom the message reached."""
    customer = customers.get_customer(ledger, conversation_id)
    if customer.user_id != bsuid:
        ledger.write(NOTE_USER, {"user_id": bsuid, "id": conversation_id})
        merging.learn_address(ledger, customer, bsuid, now)


def _move(ledger: Ledger, message: Outbound, receipt: Receipt, now: Moment) -> Noted:
    # Receipts overtake each other, so the highest one counts, not the last.
    if policy.RANK.get(receipt.status, -1) > policy.RANK.get(message.receipt or "", -1):
        ledger.write(NOTE_RECEIPT, {"status": receipt.status, "id": message.id})
    target = policy.receipt_moves(receipt.status, message.status)
    freed = False
    if receipt.status in ("sent", "delivered", "read"):
        # `queued` and `accepted` prove nothing about the sender: 63051 and 63018 come after them.
        released = holds.note_success(ledger, message, now)
        freed = send_results.free_next_part(ledger, message, now) or released
    if target is None or target == message.status:
        late = receipt.status in policy.FAILURES and message.status in ("delivered", "read")
        alarm = f"message {message.id} was {message.status} and is now reported {receipt.status}" if late else None
        return Noted(True, message.id, message.status, alarm=alarm, freed=freed)
    proof = Proof("receipt", f"a receipt says {receipt.status}", receipt.error_code)
    if target == "failed":
        code = receipt.error_code
        send_results.end(ledger, message.id, "undelivered", proof, now, code=code)
        send_results.follow_refusal(ledger, message, code, now)
        alarm = holds.note_failure(ledger, message, code, now)
        return Noted(True, message.id, "failed", True, code, alarm, freed=True)
    parameters = {
        "id": message.id,
        "status": target,
        "receipt": receipt.status,
        "read": now if target == "read" else None,
    }
    ledger.write(MARK_ARRIVED, parameters | proof.columns(now))
    return Noted(True, message.id, target, True, freed=freed)


def _not_found(ledger: Ledger, message: Outbound, matches: int, now: Moment) -> send_results.Finished:
    lookups = message.lookups + 1
    following = policy.next_lookup(message.began_at, lookups, ledger.rules)
    # After a late start several look-ups may be due at once: a second one now would find the same.
    while following is not None and following <= now:
        lookups += 1
        following = policy.next_lookup(message.began_at, lookups, ledger.rules)
    holds = message.in_flight and now < message.began_at + ledger.rules.scaled(policy.HOLD)
    ledger.write(COUNT_LOOKUP, {"id": message.id, "matches": matches, "at": following, "holds": holds})
    if not holds:
        send_results.free_next_part(ledger, message, now)
    # One alert for each send, at its first empty look-up; later ones would only repeat it.
    if not message.lookups:
        alerts.raise_uncertain(ledger, message.id, message.kind, message.conversation_id, now)
    alarm = f"message {message.id}: {matches} messages at Twilio could be it" if matches > 1 else None
    return send_results.Finished(message.id, "uncertain", alarm=alarm)
