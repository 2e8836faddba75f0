"""The inbox: what customers write, stored once, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple

from wa_relay import policy
from wa_relay.ledger import (
    consent,
    customers,
    forgotten,
    handover,
    held_turns,
    inbound_places,
    journal,
    media,
    merging,
    notices,
    turns,
    waiting_openings,
    wanted_details,
    window,
)
from wa_relay.ledger.customers import Customer, Writer
from wa_relay.ledger.engine import Query
from wa_relay.ledger.media import Heard
from wa_relay.ledger.read_ahead import reads_ahead
from wa_relay.ledger.store import Ledger
from wa_relay.model import Inbound, Moment
from wa_relay.moments import stamp
from wa_relay.text.for_agent import content_of

INSERT_INBOUND = """
    insert into conversation_messages (conversation_id, direction, kind, content, twilio_message_id, sent_at, status,
        call_id, turn_id, attachment, latitude, longitude, reply_to, tapped, referral, created_at, accepted_at)
    values (:conversation_id, 'inbound', 'customer', :content, :sid, :stamp, 'received', :call_id, :turn_id,
        :attachment, :latitude, :longitude, :reply_to, :tapped, :referral, :now, :written_at)"""
SELECT_MESSAGE_OF_CONVERSATION = """
    select id from conversation_messages where twilio_message_id = :sid and conversation_id = :conversation_id"""
SELECT_MESSAGE_BY_SID = "select 1 from conversation_messages where twilio_message_id = :sid"
SELECT_STRANGERS_MESSAGE = "select 1 from strangers where twilio_message_id = :sid"
SELECT_TIME_OF_MESSAGE = "select accepted_at from conversation_messages where id = :id"
INSERT_STRANGERS_MESSAGE = """
    insert into strangers (twilio_message_id, phone_number, content, received_at)
    values (:sid, :phone, :content, :received_at)
    on conflict do nothing"""
NOTE_INBOUND = """
    update conversation_state set message_count = message_count + 1,
        last_message_at = case when last_message_at > :stamp then last_message_at else :stamp end,
        window_ends_at = case when window_ends_at > :window then window_ends_at else :window end,
        user_id = coalesce(:user_id, user_id),
        unread = unread + case when handler = 'agent' and waiting_since is null then 0 else 1 end,
        unanswered_since = case when handler = 'human' then coalesce(unanswered_since, :written_at) end
    where id = :id"""
INSERT_STRANGERS_CONVERSATION = """
    insert into conversation_state (phone_number, client_name, elevenlabs_conversation_id, agent_id, status, started_at,
        last_message_at, created_at, sender)
    values (:phone, :name, '', :agent_id, :status, :stamp, :stamp, :now, :sender)"""
SET_AGENT = "update conversation_state set agent_id = :agent_id where id = :id"

WHY_UNANSWERED = {
    "superseded": "the customer has written a later keyword",
    "opted_out": "the customer has opted out",
    "too_late": "the message was found after its 24-hour window had ended",
    "fallback_sent": "the stranger has got the fallback text already",
    "held": "the agent does not have the conversation: the message is kept for the next to answer",
    "muted": "the customer repeats the same text: the conversation is muted",
    "unknown_sender": "strangers are not answered (reply.unknown_sender)",
}

Effect = Literal["turn", "duplicate", "stranger", "before_fence", "opted_out", "silent", "notice", "held"]


class Received(NamedTuple):
    """The result of storing an inbound message. `due_at` is when its turn is due, None without one."""

    effect: Effect
    message_id: int | None = None
    conversation_id: int | None = None
    due_at: Moment | None = None


def _query_of_writer(inbound: Inbound, now: Moment) -> Query:
    return customers.query_of_writer(inbound.phone, inbound.sid, now)


def _names_of(inbound: Inbound, _now: Moment) -> tuple[str, ...]:
    return () if inbound.sid is None else (inbound.sid,)


@reads_ahead(_query_of_writer, customer="id", names=_names_of)
def record_inbound(ledger: Ledger, inbound: Inbound, now: Moment) -> Received:
    """Stores a customer's message, from a webhook or a listing, and what follows from it.

    The same SID again changes nothing. What a listing dates before the database, or before the customer had a
    conversation, is not answered. A message to a number that is not ours belongs to no customer, and is not stored.
    """
    own = ledger.rules.own_numbers
    # The account may have other numbers with other programs behind them: an answer from ours would confuse both.
    if own and inbound.to is not None and inbound.to not in own:
        return Received("stranger")
    written = inbound.written_at if inbound.written_at is not None else now
    # A listing's times are whole seconds, cut off: what may lie after the fence counts as after it.
    if inbound.written_at is not None and written + 1.0 <= ledger.fence:
        return Received("before_fence")
    writer = customers.find_writer(ledger, inbound.sid, now, inbound.phone, inbound.wa_id, inbound.user_id)
    if inbound.sid is not None and (writer.is_known if writer else unknown_sids(ledger, [inbound.sid]) == frozenset()):
        return Received("duplicate")
    # The sweep lists a day of messages: an erased one must not come back by it.
    if (writer is None or writer.some_forgotten) and forgotten.is_forgotten(ledger, "message", inbound.sid):
        return Received("duplicate")
    if writer is None:
        return _receive_stranger(ledger, inbound, written, now)
    customer = writer.customer
    # Written before the customer had a conversation, found only now: it was never part of it (contract 7.2).
    if inbound.written_at is not None and written + 1.0 <= customer.created_at:
        _keep_strangers_message(ledger, inbound, written)
        return Received("stranger")
    customer = _learn_addresses(ledger, inbound, customer, now)
    # The customer that was read is still right unless two conversations have just become one.
    return _store(ledger, inbound, customer, written, now, writer if customer is writer.customer else None)


def unknown_sids(ledger: Ledger, sids: Sequence[str]) -> frozenset[str]:
    """Those of the SIDs that no stored message has."""
    known = (SELECT_MESSAGE_BY_SID, SELECT_STRANGERS_MESSAGE)
    return frozenset(sid for sid in sids if not any(ledger.one(sql, {"sid": sid}) for sql in known))


def _learn_addresses(ledger: Ledger, inbound: Inbound, customer: Customer, now: Moment) -> Customer:
    """Adds what a message shows of its sender, and notes which address wrote last.

    A reply goes to the number that wrote; a BSUID is answered only if no number is known (Twilio refuses some, 21211).
    A message from the known address costs nothing here.
    """
    number = inbound.phone if customers.is_number(inbound.phone) else inbound.wa_id
    for address in (inbound.phone, inbound.wa_id):
        if address is not None and address not in (customer.phone, customer.reply_to, customer.user_id):
            customer = merging.learn_address(ledger, customer, address, now)
    if inbound.user_id is not None and inbound.user_id != customer.user_id:
        customer = merging.learn_address(ledger, customer, inbound.user_id, now)
    if number is not None and number != (customer.reply_to or customer.phone):
        customers.set_reply_to(ledger, customer.id, number, now)
    return customer


def _number_written_to(inbound: Inbound) -> str | None:
    return inbound.to if inbound.to is not None and customers.is_number(inbound.to) else None


def _receive_stranger(ledger: Ledger, inbound: Inbound, written: Moment, now: Moment) -> Received:
    mode = ledger.rules.unknown_sender
    change = consent.change_of(ledger.rules, inbound)
    if change is not None and not consent.is_superseded(ledger, inbound, None, inbound.phone):
        at = consent.written_at(inbound, now)
        if change == "out":
            consent.opt_out(ledger, inbound.phone, consent.source_of(ledger.rules, inbound), now, at)
        else:
            forgotten.come_back(ledger, inbound.phone, inbound.wa_id, inbound.user_id)
            consent.opt_in(ledger, inbound.phone, None, at, now)
    if mode == "ignore" or change == "out" or inbound.opt_out is not None:
        _keep_strangers_message(ledger, inbound, written)
        return Received("stranger")
    agent_id = ledger.rules.unknown_agent_id if mode == "agent" else ""
    began = min(written, now)
    status = "opted_out" if consent.stranger_opted_out(ledger, inbound.phone) else "active"
    conversation = {
        "phone": inbound.phone,
        "name": inbound.profile_name,
        "agent_id": agent_id,
        "status": status,
        "stamp": stamp(written),
        "now": began,
        "sender": _number_written_to(inbound) or customers.first_sender(ledger.rules, agent_id),
    }
    conversation_id = customers.open_conversation(ledger, INSERT_STRANGERS_CONVERSATION, conversation, now)
    stranger = customers.get_customer(ledger, conversation_id)
    stranger = _learn_addresses(ledger, inbound, stranger, now)
    return _store(ledger, inbound, stranger, written, now)


def _keep_strangers_message(ledger: Ledger, inbound: Inbound, written: Moment) -> None:
    ledger.run(
        INSERT_STRANGERS_MESSAGE,
        {"sid": inbound.sid, "phone": inbound.phone, "content": inbound.text, "received_at": written},
    )


def _store(
    ledger: Ledger, inbound: Inbound, customer: Customer, written: Moment, now: Moment, writer: Writer | None = None
) -> Received:
    attachment, at = inbound.attachment, consent.written_at(inbound, now)
    sent_at = stamp(written)
    # By the time of writing: the window of a message that the sweep found late has run since then.
    window_ends_at = written + policy.WINDOW
    # Decided before the message is stored: its turn then needs no second statement for the message.
    change, place = inbound_places.decide(ledger, inbound, customer, window_ends_at, now)
    turn = _turn_of(ledger, customer, writer, now) if place == "turn" else None
    message = {
        "conversation_id": customer.id,
        "content": content_of(inbound.text, attachment),
        "sid": inbound.sid,
        "stamp": sent_at,
        "call_id": customer.call_id,
        "turn_id": None if turn is None else turn.id,
        "attachment": None if attachment is None else attachment.type,
        "latitude": None if attachment is None else attachment.latitude,
        "longitude": None if attachment is None else attachment.longitude,
        "reply_to": _answered_message(ledger, inbound, customer.id),
        "tapped": inbound.tapped,
        "referral": None if inbound.referral is None else json.dumps(asdict(inbound.referral), ensure_ascii=False),
        "now": now,
        "written_at": at,
    }
    message_id = ledger.insert(INSERT_INBOUND, message)
    if attachment is not None:
        media.store_file(ledger, message_id, customer.id, attachment, now)
    to = _number_written_to(inbound)
    if to is not None and to != customer.sender:
        customers.follow_to_sender(ledger, customer.id, to, window_ends_at)
    noted = {"stamp": sent_at, "window": window_ends_at, "user_id": inbound.user_id, "written_at": at}
    ledger.write(NOTE_INBOUND, {**noted, "id": customer.id})
    received = Received("silent", message_id, customer.id)
    if place == "reaction":
        return received
    # What the customer writes makes an opening that still waits pointless; an opt-out ends it by its own rule.
    if change != "out":
        if writer is None or writer.opening_waits:
            waiting_openings.end_by_customer(ledger, customer.id, written, now)
        window.cancel_reopening(ledger, customer.id, now)
    if place == "opt_out":
        return _opt_out(ledger, inbound, customer, received, now)
    if change == "back" and place != "superseded":
        forgotten.come_back(ledger, customer.phone, inbound.phone, inbound.wa_id, inbound.user_id)
        consent.opt_in(ledger, customer.phone, customer.id, at, now)
        media.begin_all(ledger, customer.id, now)
        writer = None
    if turn is not None:
        # The debounce is time enough for the details: the turn need not wait for them. While the window is open, they
        # were fetched with its first message, or the turn fetches them.
        if writer is None or writer.wants_details:
            wanted_details.want(ledger, customer.id, now)
        if attachment is not None:
            media.begin(ledger, message_id, now)
        return Received("turn", message_id, customer.id, turn.due_at)
    return _keep_from_agent(ledger, inbound, customer, received, place, now)


def _turn_of(ledger: Ledger, customer: Customer, writer: Writer | None, now: Moment) -> turns.Gathering:
    """The turn that a message joins; a stranger's conversation gets its agent."""
    if customer.call_id is None and not customer.agent_id:
        ledger.run(SET_AGENT, {"agent_id": ledger.rules.unknown_agent_id, "id": customer.id})
    return turns.gather(
        ledger,
        customer.id,
        call_id=customer.call_id,
        unanswered_turn_id=customer.unanswered_turn_id,
        turn=turns.open_turn(ledger, customer.id) if writer is None else writer.turn,
        now=now,
    )


def _opt_out(ledger: Ledger, inbound: Inbound, customer: Customer, received: Received, now: Moment) -> Received:
    source = consent.source_of(ledger.rules, inbound)
    new = consent.opt_out(ledger, customer.phone, source, now, consent.written_at(inbound, now))
    if new and not inbound.opt_out and ledger.rules.confirmation:
        notices.queue_notice(ledger, customer.id, customer.call_id, "opt_out", ledger.rules.confirmation, None, now)
    return received._replace(effect="opted_out")


def _unanswered(ledger: Ledger, received: Received, reason: str, now: Moment) -> Received:
    """Records why a message is stored and not answered."""
    entry = journal.Entry(
        "turn",
        reason,
        WHY_UNANSWERED[reason],
        conversation_id=received.conversation_id,
        message_id=received.message_id,
    )
    journal.record(ledger, entry, now)
    return received


def _keep_from_agent(
    ledger: Ledger, inbound: Inbound, customer: Customer, received: Received, place: inbound_places.Place, now: Moment
) -> Received:
    """Does what follows from a message that is in no turn."""
    match place:
        case "person":
            requested = handover.request(ledger, customer.id, "keyword", consent.written_at(inbound, now), now)
            return received._replace(effect="notice", due_at=now) if requested else received
        case "held":
            return _hold(ledger, customer, received, now)
        case "repeats_itself":
            handover.mute(ledger, customer.id, "repeats_itself", now)
            return _unanswered(ledger, received, "muted", now)
        case "fallback":
            if notices.queue_fallback(ledger, customer.id, None, None, now):
                return received._replace(effect="notice", due_at=now)
            return _unanswered(ledger, received, "fallback_sent", now)
        case "superseded" | "opted_out" | "too_late" | "unknown_sender":
            return _unanswered(ledger, received, place, now)
    return received


def _hold(ledger: Ledger, customer: Customer, received: Received, now: Moment) -> Received:
    """Keeps a message for the next to answer: the agent does not have the conversation."""
    assert received.message_id is not None
    if not handover.keeps_messages(ledger, customer.id):
        return _unanswered(ledger, received, "muted", now)
    held_turns.hold_message(ledger, customer.id, received.message_id, now)
    wanted_details.want(ledger, customer.id, now)
    if customer.handler == "human":
        media.begin(ledger, received.message_id, now)
    return _unanswered(ledger, received, "held", now)._replace(effect="held")


def _answered_message(ledger: Ledger, inbound: Inbound, conversation_id: int) -> int | None:
    """The message of this conversation that the customer answers, None if it is not known."""
    if inbound.replied_to is None:
        return None
    row = ledger.one(SELECT_MESSAGE_OF_CONVERSATION, {"sid": inbound.replied_to, "conversation_id": conversation_id})
    return None if row is None else int(row[0])


def record_transcript(ledger: Ledger, media_id: int, heard: Heard, now: Moment) -> Received | None:
    """Stores a voice note's transcript; a short one may be an opt-out, or request a person. None if it was known."""
    stored = media.mark_transcribed(ledger, media_id, heard)
    if stored is None:
        return None
    message_id, conversation_id = stored
    customer = customers.get_customer(ledger, conversation_id)
    received = Received("turn", message_id, conversation_id, now)
    # A customer who says "alto" in a long voice note rarely asks for no more messages.
    if not policy.is_spoken_request(heard.text):
        return received
    sent_at = float(ledger.need_one(SELECT_TIME_OF_MESSAGE, {"id": message_id})[0])
    spoken = Inbound(None, customer.phone, heard.text, written_at=sent_at)
    if consent.change_of(ledger.rules, spoken) == "out":
        if consent.is_superseded(ledger, spoken, conversation_id, customer.phone):
            return received
        return _opt_out(ledger, spoken, customer, received, now)
    requested = (
        customer.status == "active"
        and policy.is_request(ledger.rules, spoken.text)
        and handover.request(ledger, conversation_id, "keyword", sent_at, now)
    )
    return received._replace(effect="notice") if requested else received
