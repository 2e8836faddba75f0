"""Signs that something is wrong which no single event shows: counted over the last ten minutes, for `/health`."""

from __future__ import annotations

from dataclasses import dataclass, field

from wa_relay.model import Moment

WINDOW = 600.0
MOST_KEPT = 1000
"""Bounds what a flood of forged requests can take of the memory."""


class Recent:
    """Events of the last ten minutes. An event with a key counts once, and can be taken back by it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at: dict[object, Moment] = {}

    def add(self, now: Moment, key: str | None = None) -> None:
        """Counts one event."""
        self._at[object() if key is None else key] = now
        if len(self._at) > MOST_KEPT:
            del self._at[next(iter(self._at))]

    def discard(self, key: str) -> None:
        """Takes an event back."""
        self._at.pop(key, None)

    def reached(self, now: Moment) -> bool:
        """Returns True if there were as many events in the last ten minutes as the limit says."""
        self._at = {key: at for key, at in self._at.items() if now - at <= WINDOW}
        return len(self._at) >= self._limit


@dataclass(frozen=True, slots=True)
class Signs:
    """Failures that the webhooks and the sweep notice."""

    found_by_listing: Recent = field(default_factory=lambda: Recent(3))
    """Messages of customers whose webhook did not come, by their SID."""

    refused_signatures: Recent = field(default_factory=lambda: Recent(5))
    """Twilio webhooks whose signature was refused."""
