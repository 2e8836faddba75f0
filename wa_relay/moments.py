"""Moments as text: RFC 3339 in UTC, whole seconds, `Z`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

from wa_relay.basics import Moment


def stamp(moment: Moment) -> str:
    """Writes a moment as `2026-11-22T15:04:05Z`."""
    return _stamp(math.floor(moment))


@lru_cache(maxsize=256)
def _stamp(second: int) -> str:
    """Writes a whole second: everything that is stored now bears one of a few."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def optional_stamp(moment: Moment | None) -> str | None:
    """Writes a moment that may be missing."""
    return None if moment is None else stamp(moment)


def moment(text: str) -> Moment:
    """Reads what `stamp` wrote; raises ValueError for anything else."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
