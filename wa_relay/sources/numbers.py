"""Numbers as telephony tells them, in the one form that can be written to. Pure."""

from __future__ import annotations

from wa_relay.phone import e164

_SEPARATORS = str.maketrans("", "", " -.()\u00a0")


def dialled(number: str | None) -> str | None:
    """Gives a dialled number as E.164, without the marks that people put between digits; None when it is none.

    A country code is never guessed: a guess would write to a stranger.
    """
    return e164((number or "").translate(_SEPARATORS))
