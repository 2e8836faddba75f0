"""An operator's decisions: pause, resume, resolve."""

from __future__ import annotations

from typing import Literal

from wa_relay.ledger import claims, holds, restoring, send_results
from wa_relay.ledger.outbox import Proof, find_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError

RELEASE_OPENINGS = "update conversation_messages set released = true where status = 'queued' and kind = 'opening'"
Decision = Literal["sent", "resend", "cancel"]


class NotUncertain(RelayError):
    """A decision about a message that needs none. `unknown` is true where there is no such message."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message, permanent=True)
        self.unknown = unknown


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
        done = send_results.accept(ledger, message, sid, proof, message.attempted_at, now)
        if done.alarm:
            raise NotUncertain(f"{sid} belongs to another message.")
        return done.status
    if decision == "cancel":
        send_results.end(ledger, message_id, "cancelled", Proof("operator", f"cancelled by {actor}", actor=actor), now)
        return "failed"
    send_results.requeue(
        ledger, message_id, now, Proof("operator", f"sent again, as decided by {actor}", actor=actor), now
    )
    return "queued"
