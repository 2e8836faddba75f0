"""Who must not be written to."""

from __future__ import annotations

from wa_relay.ledger.store import Ledger
from wa_relay.phone import other_spelling

IN_FORCE = "select 1 from opt_outs where phone_number in (?, ?) and returned_at is null"
"""Takes the two `spellings` of a number."""


def spellings(phone: str) -> tuple[str, str]:
    """A number as it was told and as WhatsApp may know it: consent holds for the person, not for the digits."""
    return phone, other_spelling(phone) or phone


def is_opted_out(ledger: Ledger, phone: str) -> bool:
    """True for a person who has opted out and not come back."""
    return ledger.one(IN_FORCE, spellings(phone)) is not None
