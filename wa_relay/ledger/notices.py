"""Notices: texts of our own that go out without the agent."""

from __future__ import annotations

from wa_relay.ledger import journal
from wa_relay.ledger.outbox import NewMessage, Notice, queue_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

MARK_FALLBACK_SENT = "update conversation_state set fallback_sent = true where id = :conversation_id"
SELECT_FALLBACK_SENT = "select fallback_sent from conversation_state where id = :conversation_id"


def queue_notice(
    ledger: Ledger,
    conversation_id: int,
    call_id: int | None,
    notice: Notice,
    content: str,
    turn_id: int | None,
    now: Moment,
) -> int:
    """Puts a notice into the outbox, due at once. Returns its message id."""
    message = NewMessage(
        conversation_id, "notice", content, due_at=now, call_id=call_id, turn_id=turn_id, notice=notice
    )
    return queue_message(ledger, message, now)


def queue_fallback(
    ledger: Ledger,
    conversation_id: int,
    call_id: int | None,
    turn_id: int | None,
    now: Moment,
    *,
    reason: str = "turn_failed",
) -> bool:
    """Queues the fallback text, unless it has gone out since the agent last answered. True when it is queued.

    `reason` is the journal's code.
    """
    if not ledger.rules.fallback:
        return False
    row = ledger.one(SELECT_FALLBACK_SENT, {"conversation_id": conversation_id})
    if row is None or row[0]:
        return False
    message_id = queue_notice(ledger, conversation_id, call_id, "fallback", ledger.rules.fallback, turn_id, now)
    entry = journal.Entry(
        "fallback",
        reason if turn_id is not None else "unknown_sender",
        "the fallback text is sent, once until the agent answers again",
        conversation_id=conversation_id,
        call_id=call_id,
        message_id=message_id,
        turn_id=turn_id,
    )
    journal.record(ledger, entry, now)
    ledger.write(MARK_FALLBACK_SENT, {"conversation_id": conversation_id})
    return True
