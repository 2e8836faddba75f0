"""The console's log: what its users did, kept in the journal in the transaction of what they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from wa_relay.ledger import customers, journal
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.journal import Entry
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.moments import stamp
from wa_relay.phone import mask
from wa_relay.policy import Operator

P = ParamSpec("P")
T = TypeVar("T")

SELECT_PHONE_OF_MESSAGE = """
    select s.id, s.phone_number from conversation_messages m join conversation_state s on s.id = m.conversation_id
    where m.id = :id"""
SELECT_CONSOLE_ENTRIES = """
    select j.at, j.actor, j.reason, j.detail, j.facts,
        case when s.erased_at is null then s.phone_number end as phone_number
    from journal j left join conversation_state s on s.id = j.conversation_id
    where j.event = 'console' order by j.id"""


@dataclass(frozen=True, slots=True)
class Deed:
    """One act of a console user. `address` or `message_id` is its object; `detail` contains no texts.

    For a customer who was just forgotten, `conversation_id` and `masked` do.
    """

    user: str
    action: str
    address: str | None = None
    message_id: int | None = None
    conversation_id: int | None = None
    masked: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the console's log. `user` is None for a login with a name that no user has."""

    at: Moment
    user: str | None
    action: str
    phone_number: str | None
    detail: str | None

    def to_json(self) -> dict[str, Any]:
        """The line as `console log --json` prints it."""
        return {
            "at": stamp(self.at),
            "user": self.user,
            "action": self.action,
            "phone_number": self.phone_number,
            "detail": self.detail,
        }


def record_deed(ledger: Ledger, deed: Deed, now: Moment) -> None:
    """Appends what a user did to the journal."""
    conversation_id, phone = _find_customer(ledger, deed)
    masked = deed.masked if phone is None else mask(phone)
    facts = {} if masked is None else {"masked": masked}
    entry = Entry(
        event="console",
        reason=deed.action,
        detail=deed.detail,
        actor=deed.user,
        conversation_id=conversation_id,
        facts=facts,
    )
    journal.record(ledger, entry, now)


def run_audited(
    ledger: Ledger,
    deed: Deed | None,
    now: Moment,
    operation: Callable[Concatenate[Ledger, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Runs an operation and records who did it, in one transaction. Without a `deed`, it only runs it.

    A refused act leaves no entry: the operation raises, or returns None for a customer who does not exist, or the
    reason as a text. Nor does a message that the same key had stored before.
    """
    result = operation(ledger, *args, **kwargs)
    refused = deed is not None and deed.address is not None and (result is None or isinstance(result, str))
    if deed is not None and not refused and not getattr(result, "repeated", False):
        record_deed(ledger, deed, now)
    return result


def deed_of(operator: Operator, action: str, address: str | None = None) -> Deed | None:
    """Runs an operator's act, with an entry in the journal if it came from the console."""
    return Deed(operator.name, action, address) if operator.channel == "console" else None


def read_log(db: Queries) -> list[Line]:
    """The console's log, oldest first; the number of a customer who was forgotten is masked. Reads only."""
    return [
        Line(row["at"], row["actor"], row["reason"], _shown(row["phone_number"], row["facts"]), row["detail"])
        for row in db.execute(SELECT_CONSOLE_ENTRIES)
    ]


def _find_customer(ledger: Ledger, deed: Deed) -> tuple[int | None, str | None]:
    if deed.address is not None:
        customer = customers.find_customer(ledger, deed.address)
        return (None, deed.address) if customer is None else (customer.id, customer.phone)
    if deed.message_id is not None:
        row = ledger.one(SELECT_PHONE_OF_MESSAGE, {"id": deed.message_id})
        return (None, None) if row is None else (row["id"], row["phone_number"])
    return deed.conversation_id, None


def _shown(phone: str | None, facts: str | None) -> str | None:
    if phone is not None:
        return phone
    masked = json.loads(facts).get("masked") if facts else None
    return masked if isinstance(masked, str) else None
