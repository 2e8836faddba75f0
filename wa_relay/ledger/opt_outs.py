"""The list of opt-outs, as an operator keeps it: shown, added to, taken from, imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wa_relay.ledger import consent, customers, forgotten
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.forgotten import ERASED
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

SELECT_OPT_OUTS_IN_FORCE = """
    select phone_number, opted_out_at, source from opt_outs where returned_at is null order by opted_out_at, id"""


@dataclass(frozen=True, slots=True)
class OptedOut:
    """An opt-out in force. `source` is `keyword`, `phrase`, `twilio`, `cli`, `api`, `console`, or a file's."""

    address: str
    at: Moment
    source: str


def list_opted_out(db: Queries) -> list[OptedOut]:
    """Every opt-out in force, the oldest first; without those of forgotten customers."""
    rows = db.execute(SELECT_OPT_OUTS_IN_FORCE)
    return [OptedOut(*row) for row in rows if not str(row[0]).startswith(ERASED)]


def add(ledger: Ledger, address: str, source: str, now: Moment) -> bool:
    """Opts an address out, known or not; no message is sent. False if it was out already."""
    return consent.opt_out(ledger, address, source, now)


def remove(ledger: Ledger, address: str, source: str, now: Moment) -> bool:
    """Opts an address back in. False if it had not opted out."""
    if not consent.is_opted_out(ledger, address):
        return False
    conversation_id = customers.find_conversation(ledger.db, address)
    forgotten.come_back(ledger, address)
    consent.opt_in(ledger, address, conversation_id, now, now, source=source)
    return True


def import_all(ledger: Ledger, rows: Sequence[OptedOut], now: Moment) -> int:
    """Opts out every address of a list; returns the number that were not out already."""
    return sum(consent.opt_out(ledger, row.address, row.source, now, min(row.at, now), "cli") for row in rows)
