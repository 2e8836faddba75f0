"""An operator's decisions (pause, resume, resolve), and the facts about the queue that `/health` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wa_relay.ledger import claims, holds, restoring, sends
from wa_relay.ledger.outbox import Proof, find_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError
from wa_relay.policy import Hold

RELEASE_OPENINGS = "update conversation_messages set released = true where status = 'queued' and kind = 'opening'"
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
Decision = Literal["sent", "resend", "cancel"]


class NotUncertain(RelayError):
    """A decision about a message that needs none. `unknown` is true where there is no such message."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message, permanent=True)
        self.unknown = unknown


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


def is_sid(text: str) -> bool:
    """True for one of Twilio's message SIDs: SM or MM and 32 hexadecimal digits."""
    return len(text) == 34 and text[:2] in ("SM", "MM") and all(digit in "0123456789abcdefABCDEF" for digit in text[2:])


def pause(ledger: Ledger, actor: str | None, now: Moment) -> None:
    """Holds openings until `resume`. `actor` is the user that asked for it."""
    holds.pause_openings(ledger, now, actor)


def resume(ledger: Ledger, actor: str | None, now: Moment, anyway: bool = False) -> int:
    """Releases the openings that `pause` or the breaker holds. Returns the number that wait.

    Raises `ListIncomplete` after a restore until the opt-outs since the backup are known, unless `anyway`.
    """
    if not anyway:
        restoring.refuse_incomplete(ledger)
    holds.release_openings(ledger, now, actor)
    ledger.run(claims.END_WATCH)
    ledger.db.announce("send", now)
    return ledger.run(RELEASE_OPENINGS)


def resume_template(ledger: Ledger, content_sid: str, actor: str | None, now: Moment) -> bool:
    """Tries a stopped template at once. False if it is not stopped."""
    return holds.probe_template_now(ledger, content_sid, now, actor)


def resolve(ledger: Ledger, message_id: int, decision: Decision, sid: str | None, actor: str, now: Moment) -> str:
    """Carries out an operator's decision about an uncertain send. Returns the status that it leads to.

    Raises `NotUncertain` when the message is unknown or needs no decision.
    """
    message = find_message(ledger, message_id) if message_id < 2**63 else None
    if message is None:
        raise NotUncertain(f"message {message_id} does not exist.", unknown=True)
    if message.status != "uncertain":
        known = f" ({message.sid})" if message.sid else ""
        raise NotUncertain(f"message {message_id} is already {message.status}{known}.")
    if decision == "sent":
        if sid is None:
            raise ValueError("the decision `sent` needs Twilio's SID")
        proof = Proof("operator", f"found at Twilio by {actor}", actor=actor)
        done = sends.accept(ledger, message, sid, proof, message.attempted_at, now)
        if done.alarm:
            raise NotUncertain(f"{sid} belongs to another message.")
        return done.status
    if decision == "cancel":
        sends.end(ledger, message_id, "cancelled", Proof("operator", f"cancelled by {actor}", actor=actor), now)
        return "failed"
    sends.requeue(ledger, message_id, now, Proof("operator", f"sent again, as decided by {actor}", actor=actor), now)
    return "queued"


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
