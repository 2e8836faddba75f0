"""Consent: which customers must not be written to, and what changes that.

An opt-out holds for the customer, however the number is spelled.
"""

from __future__ import annotations

import math
from typing import Literal

from wa_relay.ledger import customers, forgotten, held_turns, journal, turns
from wa_relay.ledger.customers import Customer
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.store import Ledger
from wa_relay.model import Inbound, Moment
from wa_relay.policy import Rules
from wa_relay.text.keywords import LONGEST_REQUEST, request_form

SELECT_OPT_OUT_IN_FORCE = """
    select 1 from opt_outs where phone_number in (:address, :other) and returned_at is null"""
SELECT_STATUS = "select status from conversation_state where id = :id"
INSERT_OPT_OUT = """
    insert into opt_outs (phone_number, opted_out_at, source) values (:address, :at, :source)
    on conflict do nothing"""
END_OPT_OUT = """
    update opt_outs set returned_at = :at where phone_number in (:address, :other) and returned_at is null"""
END_OPT_OUTS_OF_CUSTOMER = """
    update opt_outs set returned_at = :at
    where phone_number in (select address from addresses where conversation_id = :id) and returned_at is null"""
SET_STATUS = "update conversation_state set status = :status where id = :id"
SELECT_LATER_CHANGE = """
    select 1 from opt_outs where phone_number = :phone and (opted_out_at >= :moment or returned_at >= :moment)"""
SELECT_LATER_TEXTS = """
    select content from conversation_messages
    where conversation_id = :id and direction = 'inbound' and accepted_at >= :moment
        and (attachment is null or attachment not in ('location', 'contact', 'reaction'))
    union all select content from strangers where phone_number = :phone and received_at >= :moment"""
CANCEL_QUEUED = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        moved_by = 'customer', moved_code = null, moved_actor = null, evidence = 'opt-out: ' || :source
    where conversation_id = :id and status = 'queued'
        and (notice is distinct from 'opt_out' or :source = 'twilio')"""
CANCEL_CONFIRMATION = """
    update conversation_messages set status = 'failed', reason = 'cancelled', failed_at = :now, moved_at = :now,
        moved_by = 'customer', moved_code = null, moved_actor = null, evidence = 'the customer opted back in'
    where conversation_id = :id and status = 'queued' and notice = 'opt_out'"""

Change = Literal["out", "back"]
BY_OPERATOR = frozenset({"cli", "api", "console"})
"""The sources that stand for an operator: the interface that was used."""


def is_opted_out(ledger: Ledger, address: str) -> bool:
    """True for a customer, or a stranger, who has opted out and not come back, even if forgotten since."""
    return has_opted_out(ledger.db, address) or (
        customers.find_conversation(ledger.db, address) is None and forgotten.opted_out_before(ledger, address)
    )


def has_opted_out(db: Queries, address: str) -> bool:
    """The same on any connection; reads only."""
    conversation_id = customers.find_conversation(db, address)
    if conversation_id is not None:
        (status,) = db.execute(SELECT_STATUS, {"id": conversation_id}).fetchone()
        if status == "opted_out":
            return True
    return db.execute(SELECT_OPT_OUT_IN_FORCE, _both_spellings(address)).fetchone() is not None


def stranger_opted_out(ledger: Ledger, address: str) -> bool:
    """True if an opt-out is in force for an address that no conversation has."""
    if ledger.one(SELECT_OPT_OUT_IN_FORCE, _both_spellings(address)) is not None:
        return True
    return forgotten.opted_out_before(ledger, address)


def opt_out(
    ledger: Ledger, address: str, source: str, now: Moment, at: Moment | None = None, actor: str | None = None
) -> bool:
    """Opts a customer out and cancels their waiting messages. Returns false if they had opted out already.

    `actor` is who did it for the customer: by default an operator's `source`.

    The confirmation survives a second "STOP" that arrives before it is sent, but not Twilio's own opt-out, after
    which Twilio refuses it (21610).
    """
    customer = customers.find_customer(ledger, address)
    new = not is_opted_out(ledger, address)
    if new:
        shown = address if customer is None else customer.phone
        ledger.run(INSERT_OPT_OUT, {"address": shown, "at": now if at is None else at, "source": source})
    if customer is not None:
        silence(ledger, customer.id, source, now)
        who = actor or (source if source in BY_OPERATOR else None)
        detail = f"opted out by {who}" if who else f"opted out: {source}"
        _record(ledger, customer.id, "out" if new else "out_again", detail, source, now)
    return new


def opt_in(
    ledger: Ledger, address: str, conversation_id: int | None, at: Moment, now: Moment, *, source: str = "customer"
) -> None:
    """Opts a customer back in; a confirmation of the opt-out that still waits is cancelled."""
    ledger.run(END_OPT_OUT, {"at": at, **_both_spellings(address)})
    if conversation_id is not None:
        ledger.run(CANCEL_CONFIRMATION, {"now": now, "id": conversation_id})
        ledger.run(END_OPT_OUTS_OF_CUSTOMER, {"at": at, "id": conversation_id})
        ledger.run(SET_STATUS, {"status": "active", "id": conversation_id})
        detail = f"opted back in by {source}" if source in BY_OPERATOR else "opted back in"
        _record(ledger, conversation_id, "back", detail, source, now)


def learn_address(ledger: Ledger, customer: Customer, address: str, now: Moment) -> Customer:
    """Adds an address that no customer has. Its opt-out, if there is one, then holds for the customer."""
    customers.add_address(ledger, customer, address, now)
    if customer.status == "opted_out" or not stranger_opted_out(ledger, address):
        return customer
    silence(ledger, customer.id, "keyword", now)
    detail = "an address turned out to be this customer's, and had opted out"
    _record(ledger, customer.id, "out", detail, "customer", now)
    return customer._replace(status="opted_out")


def silence(ledger: Ledger, conversation_id: int, source: str, now: Moment) -> None:
    """Notes the opt-out in a conversation, and ends what waits there and what is asked."""
    ledger.run(SET_STATUS, {"status": "opted_out", "id": conversation_id})
    ledger.run(CANCEL_QUEUED, {"id": conversation_id, "now": now, "source": source})
    turns.cancel_turns(ledger, conversation_id, "opted_out", now)
    held_turns.answer_held(ledger, conversation_id, "opted_out", now)


def _record(ledger: Ledger, conversation_id: int, reason: str, detail: str, source: str, now: Moment) -> None:
    entry = journal.Entry("opt_out", reason, detail, conversation_id=conversation_id, facts={"source": source})
    journal.record(ledger, entry, now)


def _both_spellings(address: str) -> dict[str, str]:
    both = customers.spellings(address)
    return {"address": both[0], "other": both[-1]}


def change_of(rules: Rules, inbound: Inbound) -> Change | None:
    """Returns how a message changes consent: by Twilio's opt-out, or by a keyword or phrase as the whole message."""
    if inbound.opt_out == "STOP":
        return "out"
    if inbound.opt_out == "START":
        return "back"
    if inbound.opt_out is not None or len(inbound.text) > LONGEST_REQUEST:
        return None
    request = request_form(inbound.text)
    if request in rules.opt_out_keywords or request in rules.opt_out_phrases:
        return "out"
    return "back" if request in rules.return_keywords else None


def source_of(rules: Rules, inbound: Inbound) -> str:
    """The source of an opt-out: Twilio, a keyword, or a phrase."""
    if inbound.opt_out is not None:
        return "twilio"
    return "keyword" if request_form(inbound.text) in rules.opt_out_keywords else "phrase"


def written_at(inbound: Inbound, now: Moment) -> Moment:
    """Returns when a message was written: now for a webhook; for a listing, the end of Twilio's whole second."""
    return now if inbound.written_at is None else min(now, math.floor(inbound.written_at) + 0.999)


def is_superseded(ledger: Ledger, inbound: Inbound, conversation_id: int | None, phone: str) -> bool:
    """True for a keyword that a listing brings after the customer has written a later one."""
    if inbound.written_at is None:
        return False
    later = {"id": conversation_id, "phone": phone, "moment": inbound.written_at + 1.0}
    if ledger.one(SELECT_LATER_CHANGE, later) is not None:
        return True
    rules = ledger.rules
    requests = (request_form(row[0][:LONGEST_REQUEST]) for row in ledger.all(SELECT_LATER_TEXTS, later))
    lists = (rules.opt_out_keywords, rules.return_keywords, rules.opt_out_phrases)
    return any(request in known for request in requests for known in lists)
