"""The facts about the queue that `/health` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wa_relay.ledger import holds
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.policy import Hold

COUNT_QUEUE = """
    select (select count(*) from conversation_messages where status = 'queued')
        + (select count(*) from conversation_messages where in_flight and status = 'sending') as pending,
        (select min(created_at) from conversation_messages where status = 'queued') as oldest,
        (select count(*) from conversation_messages where status = 'uncertain') as uncertain,
        (select count(*) from conversation_messages where failed_at > :since
            and reason not in ('cancelled', 'handed_over', 'conversation_started', 'restored')
            and error_code is distinct from '21610') as dead"""
"""`dead` leaves out what a rule, a customer or a person ended; 21610 says that the customer has opted out."""

PROVE_WRITABLE = "update relay set probed_at = :now where probed_at is null or probed_at < :now - 1.0"

Pause = Literal["operator", "burst", "account"]


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """The queue as `/health` shows it. Ages are seconds; `dead` counts what ended in the last 24 hours because
    of a fault.

    `limited` is true while a sender's openings wait for its limit at Twilio. `templates` are those that are stopped.
    """

    pending: int
    oldest_seconds: float | None
    uncertain: int
    dead: int
    paused: Pause | None
    account_fault: str | None
    limited: bool = False
    templates: tuple[Hold, ...] = ()


def queue_health(ledger: Ledger, now: Moment) -> QueueHealth:
    """Counts what waits, and proves at the same time that something can be stored."""
    ledger.run(PROVE_WRITABLE, {"now": now})
    row = ledger.need_one(COUNT_QUEUE, {"since": now - 86400.0})
    held = holds.all_holds(ledger)
    account = next((hold for hold in held if hold.subject in ("account", "sender")), None)
    subjects = {hold.subject for hold in held}
    paused: Pause | None = "account" if account else "operator" if "operator" in subjects else None
    if paused is None and "burst" in subjects:
        paused = "burst"
    oldest = None if row["oldest"] is None else max(0.0, now - row["oldest"])
    return QueueHealth(
        row["pending"],
        oldest,
        row["uncertain"],
        row["dead"],
        paused,
        _fault(account),
        "limited" in subjects,
        tuple(hold for hold in held if hold.subject == "template"),
    )


def _fault(hold: Hold | None) -> str | None:
    """Twilio's refusal, as code and meaning."""
    if hold is None:
        return None
    return f"{hold.code}: {hold.meaning}" if hold.meaning else str(hold.code)
