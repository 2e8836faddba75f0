"""Decides which calls' details are fetched from ElevenLabs, and when: only those that something needs.

A call that is stored without a summary lacks its details (`lacks_details`). They are due (`details_at`) at once if the
rules or the opening's text need them, otherwise once the customer writes or a person takes the conversation. Of a
campaign most calls are never asked about: a fetch took a third of a pushed call's processor time.
"""

from __future__ import annotations

from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

TAKE_DUE_DETAILS = """
    update calls set details_tries = details_tries + 1,
        lacks_details = decide_by is not null or details_tries < 8,
        details_at = case
            when decide_by is not null then :now + least(5 * power(2, details_tries), 30)
            when details_tries < 8 then :now + 5 * power(2, details_tries) end
    where id in (select id from calls where details_at <= :now order by details_at limit :limit)
    returning id, elevenlabs_conversation_id"""
GIVE_UP_DETAILS = """
    update calls set details_at = null, lacks_details = false
    where id = :id and details_tries > 1 and decide_by is null"""
WANT_DETAILS = """
    update calls set details_at = :at
    where id = (select s.call_id from conversation_state s where s.id = :conversation_id)
        and lacks_details and details_at is null"""

TURN_FETCHES_FIRST = 5.0
"""Seconds after the start of a turn in which the turn itself fetches the details, if its agent needs them."""


def want(ledger: Ledger, conversation_id: int, at: Moment) -> None:
    """Makes the details of a conversation's latest call due at a moment, if they are lacking and not due yet."""
    ledger.write(WANT_DETAILS, {"conversation_id": conversation_id, "at": at})


def due_details(ledger: Ledger, limit: int, now: Moment) -> list[tuple[int, str]]:
    """The calls (id, key) whose summary and variables are due; each is due again after a growing pause."""
    return [(row[0], row[1]) for row in ledger.all(TAKE_DUE_DETAILS, {"now": now, "limit": limit})]


def no_details(ledger: Ledger, call_id: int) -> None:
    """ElevenLabs does not know the conversation: after the second time it is not asked again."""
    ledger.write(GIVE_UP_DETAILS, {"id": call_id})
