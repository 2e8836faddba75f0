"""The daily limit: how many customers of a sender may get a template in any 24 hours (Meta's messaging limit).

Counted in the database, by the time of the last try that Twilio may have taken. An opening beyond the limit waits for
the slot of a customer who leaves the 24 hours; each waiting opening gets its own slot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

DAY = 86400.0
WAITS = "daily_limit"
"""The value of `waits_for` for an opening that waits for a slot."""

SELECT_TEMPLATED_CUSTOMERS = """
    select +conversation_id as conversation_id, max(attempted_at) as last from conversation_messages
    where content_sid is not null and attempted_at > :since and coalesce(sender, '') = :sender
        and status in ('sending', 'uncertain', 'sent', 'delivered', 'read')
    group by +conversation_id order by last"""
"""With the plus SQLite uses the index of templates by time. In the order of conversations it read all messages."""

COUNT_WAITING = """
    select count(*) as waiting from conversation_messages
    where waits_for = 'daily_limit' and status = 'queued' and due_at > :now and coalesce(sender, '') = :sender"""


@dataclass(slots=True)
class _Slots:
    """One sender's customers of the last 24 hours with the time of their last template, oldest first."""

    customers: dict[int, Moment] = field(default_factory=dict)
    waiting: int = 0


class DailyLimit:
    """The slots of every sender, read when they are first asked for and kept up to date through one operation."""

    def __init__(self, ledger: Ledger, now: Moment, *, waiting: bool = True) -> None:
        self._ledger = ledger
        self._now = now
        self._limit = ledger.rules.daily_limit
        self._count_waiting = waiting
        self._senders: dict[str, _Slots] = {}

    def due_at(self, sender: str | None, conversation_id: int) -> Moment:
        """Returns when a template may go to a customer: now, or when a slot is free. Takes the slot to wait for."""
        if not self._limit:
            return self._now
        slots = self._slots(sender or "")
        over = len(slots.customers) - self._limit
        if over < 0 or conversation_id in slots.customers:
            return self._now
        ends = list(slots.customers.values())
        slot = min(over + slots.waiting, len(ends) - 1)
        slots.waiting += 1
        return ends[slot] + DAY

    def count(self, sender: str | None, conversation_id: int) -> None:
        """Counts a template that is being sent."""
        if self._limit:
            customers = self._slots(sender or "").customers
            customers.pop(conversation_id, None)
            customers[conversation_id] = self._now

    def _slots(self, sender: str) -> _Slots:
        slots = self._senders.get(sender)
        if slots is None:
            rows = self._ledger.all(SELECT_TEMPLATED_CUSTOMERS, {"since": self._now - DAY, "sender": sender})
            slots = _Slots({row["conversation_id"]: row["last"] for row in rows})
            if self._count_waiting:
                row = self._ledger.need_one(COUNT_WAITING, {"now": self._now, "sender": sender})
                slots.waiting = row["waiting"]
            self._senders[sender] = slots
        return slots
