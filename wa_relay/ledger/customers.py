"""Customers: one conversation each, found by any address that is known of them.

An address is a phone number or a BSUID (the user id that stands in for a hidden number). Numbers that are spellings of
each other are one customer (`phone.other_spelling`). The table `addresses` leads from each address to its
conversation. (No trigger fills it: beside a trigger, SQLite looks for children of each new conversation in tables that
have no index for it.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from wa_relay.basics import Moment
from wa_relay.ledger.engine import Queries, Query
from wa_relay.ledger.store import Ledger
from wa_relay.phone import other_spelling

if TYPE_CHECKING:
    # Commands that only read find customers here; the policy's modules would slow their start.
    from wa_relay.policy import Rules

CUSTOMER_COLUMNS = """
    s.id, s.phone_number, s.status, s.created_at, s.call_id, s.agent_id, s.unanswered_turn_id, s.user_id, s.reply_to,
    s.handler, s.sender, s.message_count, s.window_ends_at"""
"""The fields of `Customer`, in order."""

SELECT_CUSTOMER_BY_ADDRESS = f"""
    select {CUSTOMER_COLUMNS}
    from addresses a join conversation_state s on s.id = a.conversation_id where a.address = :address"""
SELECT_WRITER = f"""
    select {CUSTOMER_COLUMNS}, t.id as turn_id, t.first_at, t.due_at, t.put_off_at,
        exists (select 1 from conversation_messages k where k.twilio_message_id = :sid)
            or exists (select 1 from strangers w where w.twilio_message_id = :sid) as is_known,
        exists (select 1 from conversation_messages o
            where o.conversation_id = s.id and o.kind = 'opening' and o.status = 'queued') as opening_waits,
        case when s.window_ends_at > :now then false else exists (select 1 from calls c
            where c.id = s.call_id and c.lacks_details and c.details_at is null) end as wants_details,
        exists (select 1 from forgotten) as some_forgotten
    from addresses a join conversation_state s on s.id = a.conversation_id
        left join turns t on t.conversation_id = s.id and t.state = 'open'
    where a.address = :address"""
SELECT_CUSTOMER_BY_ID = f"select {CUSTOMER_COLUMNS} from conversation_state s where s.id = :id"
SELECT_CONVERSATION_BY_ADDRESS = "select conversation_id from addresses where address = :address"
SELECT_ADDRESSES = "select address from addresses where conversation_id = :id order by known_since, address"
INSERT_ADDRESS = """
    insert into addresses (address, kind, conversation_id, known_since) values (:address, :kind, :id, :now)"""
MARK_WRITING_ADDRESS = "update addresses set writes_since = :now where address = :address"
SET_REPLY_TO = "update conversation_state set reply_to = :address where id = :id"
FOLLOW_TO_SENDER = """
    update conversation_state set sender = :sender where id = :id and coalesce(window_ends_at, 0) <= :window"""
NAME_SENDER = "update conversation_state set sender = :sender where id = :id and sender is null"
MOVE_QUEUED_TO_SENDER = """
    update conversation_messages set sender = :sender where conversation_id = :id and status = 'queued'"""
SHOW_NUMBER = """
    update conversation_state set phone_number = :address
    where id = :id and not exists (select 1 from conversation_state o where o.phone_number = :address)"""


class Customer(NamedTuple):
    """A customer's conversation. `call_id` is the latest call, None for a stranger; `user_id` the latest BSUID.

    `phone` is the BSUID while no number is known. `reply_to` is the address that wrote last, None until one has.
    `sender` is our number that the conversation uses, None while the messaging service chooses it. `message_count`
    counts the messages of both sides so far; `window_ends_at` is the end of the 24-hour window, None without one.
    """

    id: int
    phone: str
    status: str
    created_at: Moment
    call_id: int | None
    agent_id: str
    unanswered_turn_id: int | None
    user_id: str | None
    reply_to: str | None
    handler: str
    sender: str | None
    message_count: int
    window_ends_at: Moment | None


class OpenTurn(NamedTuple):
    """The turn that gathers what a customer writes. `put_off_at` is when it was first put off, None if never."""

    id: int
    first_at: Moment
    due_at: Moment
    put_off_at: Moment | None


class Writer(NamedTuple):
    """A customer who has just written, with what their message asks for: read together, for one round trip.

    `is_known` is true if the message is stored already, perhaps as a stranger's. `turn` is the open one.
    `wants_details` is true if this message makes the details of the latest call due. `some_forgotten` is false while no
    customer was forgotten.
    """

    customer: Customer
    turn: OpenTurn | None
    is_known: bool
    opening_waits: bool
    wants_details: bool
    some_forgotten: bool


def is_number(address: str) -> bool:
    """True for a phone number, false for a BSUID."""
    return address.startswith("+")


def spellings(address: str) -> tuple[str, ...]:
    """An address and, if WhatsApp may spell that number otherwise, its other spelling."""
    other = other_spelling(address)
    return (address,) if other is None else (address, other)


def find_customer(ledger: Ledger, *addresses: str | None) -> Customer | None:
    """The customer with the first of these addresses that is known, in either spelling; None for a stranger."""
    for address in addresses:
        for spelling in () if address is None else spellings(address):
            row = ledger.one(SELECT_CUSTOMER_BY_ADDRESS, {"address": spelling})
            if row is not None:
                return Customer(*row)
    return None


def query_of_writer(address: str, sid: str | None, now: Moment) -> Query:
    """The query by which `find_writer` looks for an address."""
    return SELECT_WRITER, {"address": address, "sid": sid, "now": now}


def find_writer(ledger: Ledger, sid: str | None, now: Moment, *addresses: str | None) -> Writer | None:
    """The same customer as `find_customer`, with what the message with this SID asks for."""
    for address in addresses:
        for spelling in () if address is None else spellings(address):
            row = ledger.one(*query_of_writer(spelling, sid, now))
            if row is not None:
                *customer, turn_id, first_at, due_at, put_off_at, known, waits, wants, some = row
                turn = None if turn_id is None else OpenTurn(turn_id, first_at, due_at, put_off_at)
                return Writer(Customer(*customer), turn, bool(known), bool(waits), bool(wants), bool(some))
    return None


def get_customer(ledger: Ledger, conversation_id: int) -> Customer:
    """The customer of a conversation; raises `LookupError` without one."""
    return Customer(*ledger.need_one(SELECT_CUSTOMER_BY_ID, {"id": conversation_id}))


def find_conversation(db: Queries, address: str) -> int | None:
    """The id of a customer's conversation by any address; reads only, so that it can run beside the writer."""
    for spelling in spellings(address):
        row = db.execute(SELECT_CONVERSATION_BY_ADDRESS, {"address": spelling}).fetchone()
        if row is not None:
            return int(row[0])
    return None


def addresses_of(db: Queries, conversation_id: int) -> tuple[str, ...]:
    """All known addresses of a conversation, the oldest first."""
    return tuple(row[0] for row in db.execute(SELECT_ADDRESSES, {"id": conversation_id}))


def open_conversation(ledger: Ledger, sql: str, conversation: Mapping[str, str | float | None], now: Moment) -> int:
    """Inserts a conversation by `sql`, with its own `phone` as its first address. Returns its id."""
    conversation_id = ledger.insert(sql, conversation)
    address = str(conversation["phone"])
    kind = "phone" if is_number(address) else "bsuid"
    ledger.write(INSERT_ADDRESS, {"address": address, "kind": kind, "id": conversation_id, "now": now})
    return conversation_id


def add_address(ledger: Ledger, customer: Customer, address: str, now: Moment) -> None:
    """Adds an address that no customer has; the schema refuses any other."""
    added = {"id": customer.id, "address": address}
    ledger.write(INSERT_ADDRESS, added | {"kind": "phone" if is_number(address) else "bsuid", "now": now})
    if is_number(address) and not is_number(customer.phone):
        ledger.write(SHOW_NUMBER, added)


def set_reply_to(ledger: Ledger, conversation_id: int, address: str, now: Moment) -> None:
    """Notes that the customer writes from this address from now on: replies go there."""
    ledger.write(SET_REPLY_TO, {"id": conversation_id, "address": address})
    ledger.write(MARK_WRITING_ADDRESS, {"address": address, "now": now})


def first_sender(rules: Rules, agent_id: str) -> str | None:
    """Our number at which a conversation with this agent begins; None if the messaging service chooses it."""
    return rules.senders.get(agent_id) or rules.default_sender or None


def follow_to_sender(ledger: Ledger, conversation_id: int, sender: str, window: Moment) -> None:
    """Uses the number that the customer wrote to: the window, which ends at `window`, is open only there.

    A message that a listing brings late changes nothing if the customer has written since.
    """
    if ledger.run(FOLLOW_TO_SENDER, {"id": conversation_id, "sender": sender, "window": window}):
        ledger.write(MOVE_QUEUED_TO_SENDER, {"id": conversation_id, "sender": sender})


def name_sender(ledger: Ledger, conversation_id: int, sender: str) -> None:
    """Notes the number that the messaging service chose, as a receipt shows it."""
    ledger.write(NAME_SENDER, {"id": conversation_id, "sender": sender})
