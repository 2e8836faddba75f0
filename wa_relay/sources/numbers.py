"""Numbers as ElevenLabs and the telephony providers write them, read as E.164. Pure."""

from __future__ import annotations

from wa_relay.phone import e164, international

_SEPARATORS = str.maketrans("", "", " -.()\u00a0")


def read_dialled(number: str | None) -> str | None:
    """Returns a dialled number as E.164, or None if it can't be written to.

    A number without its `+` is read as an international number if some country has it. A country
    code is never added: that would write to a stranger.
    """
    digits = (number or "").translate(_SEPARATORS)
    return e164(digits) or international(digits)
