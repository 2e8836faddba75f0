"""Who must not be written to."""

from __future__ import annotations

from wa_relay.ledger.store import Ledger

IN_FORCE = "select 1 from opt_outs where phone_number = ? and returned_at is null"


def is_opted_out(ledger: Ledger, phone: str) -> bool:
    """True for a person who has opted out and not come back."""
    return ledger.one(IN_FORCE, (phone,)) is not None
