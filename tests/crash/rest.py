"""When everything that the actors began has come to its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tests.crash.people import Expected
from tests.crash.verdict import message_id_of
from wa_relay.ledger.engine import Queries
from wa_relay.standins.twilio import TwilioStandin

COUNT_MOVING = """
    select (select count(*) from conversation_messages
            where direction = 'outbound' and status not in ('delivered', 'read', 'failed', 'uncertain'))
        + (select count(*) from turns where state in ('open', 'asking'))
        + (select count(*) from merges) as moving"""


def at_rest(read: Callable[[], Queries], twilio: TwilioStandin, known: Expected) -> bool:
    """True once nothing moves any more, and everything that was reported or written is stored."""
    if known.pending:
        return False
    with closing(read()) as db:
        moving = db.execute(COUNT_MOVING).fetchone()["moving"]
        sought = {row[0] for row in db.execute("select id from conversation_messages where status = 'uncertain'")}
        stored = {row[0] for row in db.execute("select twilio_message_id from conversation_messages")}
        stored |= {row[0] for row in db.execute("select twilio_message_id from strangers")}
        calls = {row[0] for row in db.execute("select elevenlabs_conversation_id from calls")}
    written = {entry.data["sid"] for entry in twilio.journal.entries("inbound")}
    # What Twilio has will be found: at the latest by the first hourly look-up.
    moving += len(sought & {message_id_of(entry) for entry in twilio.journal.entries("accepted")})
    return not moving and written - known.old_messages <= stored and set(known.keys.values()) <= calls
