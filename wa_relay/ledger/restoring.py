"""Prepares a database that was restored from a backup: a new fence, a pause, and no work in progress.

What happened between the backup and now is not known. So nothing that waited is sent, openings are paused, and the
opt-outs that customers wrote meanwhile are read from Twilio's list before `resume` is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from wa_relay.ledger import consent, customers, forgotten, holds, journal, send_results
from wa_relay.ledger.store import Ledger
from wa_relay.model import Inbound, Moment, RelayError

MARK_RESTORED = "update relay set fence = :now, consent_from = coalesce(swept_to, fence), clean_stop = true"
FAIL_QUEUED = """
    update conversation_messages set status = 'failed', reason = 'restored', failed_at = :now, moved_at = :now,
        moved_by = 'operator', moved_code = null, moved_actor = :actor,
        evidence = 'the database was restored from a backup'
    where status = 'queued'"""
FAIL_OPEN_TURNS = """
    update turns set state = 'failed', error = 'restored', finished_at = :now
    where state = 'open' or state = 'held' or state = 'asking' returning id, conversation_id"""
FAIL_WAITING_ALERTS = """
    update alerts set state = 'failed', reason = 'restored', due_at = null, finished_at = :now
    where state = 'waiting'"""
CLEAR_UNANSWERED_TURNS = "update conversation_state set unanswered_turn_id = null where unanswered_turn_id is not null"
END_RUNS = "update runs set ended_at = :now where ended_at is null"
SELECT_CONSENT_FROM = "select consent_from from relay"
END_CONSENT = "update relay set consent_from = null, swept_to = :to"


class ListIncomplete(RelayError):
    """The opt-outs since the backup are not known yet."""


def begin_restored(ledger: Ledger, actor: str, now: Moment) -> None:
    """Fences a restored database, and ends what was waiting in it."""
    ledger.run(MARK_RESTORED, {"now": now})
    # The runs in the backup ended with the database that it was made of.
    ledger.run(END_RUNS, {"now": now})
    send_results.rescue_sends(ledger, now)
    ledger.run(FAIL_QUEUED, {"now": now, "actor": actor})
    for turn_id, conversation_id in ledger.all(FAIL_OPEN_TURNS, {"now": now}):
        entry = journal.Entry(
            "turn",
            "restored",
            "the database was restored from a backup",
            actor=actor,
            conversation_id=conversation_id,
            turn_id=turn_id,
        )
        journal.record(ledger, entry, now)
    ledger.run(CLEAR_UNANSWERED_TURNS)
    ledger.run(FAIL_WAITING_ALERTS, {"now": now})
    holds.pause_openings(ledger, now, actor)
    journal.record(ledger, journal.Entry("operator", "restored", "the database was restored", actor=actor), now)


def consent_from(ledger: Ledger) -> Moment | None:
    """The time from which opt-outs must be read from Twilio's list; None if nothing was restored, or if it was done."""
    found = ledger.need_one(SELECT_CONSENT_FROM)["consent_from"]
    return None if found is None else float(found)


def apply_consents(ledger: Ledger, inbounds: Sequence[Inbound], to: Moment, now: Moment) -> int:
    """Applies the opt-outs and returns that customers wrote since the backup, the oldest first. Returns how many.

    Nothing else of the messages is stored or answered. Ends the wait of `resume`; `to` is when the list was read.
    """
    applied = 0
    for inbound in sorted(inbounds, key=lambda each: each.written_at or 0.0):
        change = consent.change_of(ledger.rules, inbound)
        at = consent.written_at(inbound, now)
        if change == "out":
            applied += consent.opt_out(ledger, inbound.phone, consent.source_of(ledger.rules, inbound), now, at)
        elif change == "back" and consent.is_opted_out(ledger, inbound.phone):
            conversation_id = customers.find_conversation(ledger.db, inbound.phone)
            forgotten.come_back(ledger, inbound.phone)
            consent.opt_in(ledger, inbound.phone, conversation_id, at, now)
            applied += 1
    ledger.run(END_CONSENT, {"to": to})
    return applied


def refuse_incomplete(ledger: Ledger) -> None:
    """Raises `ListIncomplete` while opt-outs since the backup may be missing."""
    if consent_from(ledger) is not None:
        raise ListIncomplete(
            "the database was restored, and Twilio's list has not been read for opt-outs since the backup. "
            "Start the daemon and try again, or use --anyway.",
            permanent=True,
        )
