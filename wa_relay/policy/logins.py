"""Decides when a login to the console has to wait after failures."""

from __future__ import annotations

from collections.abc import Sequence

from wa_relay.model import Moment

MOST_FAILURES, THROTTLED_FOR = 5, 900.0
"""Failures of one subject within this many seconds that lock it out for as long."""


def throttled_until(failures: Sequence[Moment], now: Moment) -> Moment | None:
    """Returns until when a subject must wait, None if it need not. `failures` are its latest ones, newest first."""
    if len(failures) < MOST_FAILURES:
        return None
    newest, oldest = failures[0], failures[MOST_FAILURES - 1]
    end = newest + THROTTLED_FOR
    return end if newest - oldest <= THROTTLED_FOR and now < end else None
