"""Whether everything that the actors began has ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tests.crash.people import Expected
from tests.crash.verdict import message_id_of, too_late
from wa_relay.ledger.engine import Queries
from wa_relay.standins.twilio import TwilioStandin

COUNT_MOVING = """
    select (select count(*) from conversation_messages
            where direction = 'outbound' and status not in ('delivered', 'read', 'failed', 'uncertain'))
        + (select count(*) from turns where state in ('open', 'asking'))
        + (select count(*) from merges) as moving"""


SELECT_SOUGHT = "select id, attempted_at from conversation_messages where status = 'uncertain'"


def at_rest(read: Callable[[], Queries], twilio: TwilioStandin, known: Expected) -> bool:
    """True once nothing changes any more, and everything that was reported or written is stored."""
    if known.pending:
        return False
    with closing(read()) as db:
        moving = db.execute(COUNT_MOVING).fetchone()["moving"]
        sought = {row[0]: row[1] for row in db.execute(SELECT_SOUGHT)}
        stored = {row[0] for row in db.execute("select twilio_message_id from conversation_messages")}
        stored |= {row[0] for row in db.execute("select twilio_message_id from strangers")}
        calls = {row[0] for row in db.execute("select elevenlabs_conversation_id from calls")}
    written = {entry.data["sid"] for entry in twilio.journal.entries("inbound")}
    # A message that Twilio has is found by the first hourly look-up at the latest.
    taken = {message_id_of(entry): entry.at for entry in twilio.journal.entries("accepted")}
    moving += sum(each in taken and not too_late(begun, taken[each]) for each, begun in sought.items())
    return not moving and written - known.old_messages <= stored and set(known.keys.values()) <= calls
