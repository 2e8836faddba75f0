"""Limits the open agent sessions when ElevenLabs refuses some for lack of capacity."""

from __future__ import annotations

NO_CAPACITY_BASE, NO_CAPACITY_CAP = 1.0, 60.0
"""Seconds: the pauses of a turn that was refused grow from the first to the second (with full jitter)."""

DECREASE = 0.75
"""The share of the open sessions that a refusal leaves: most refusals come at the limit itself."""


class AdaptiveLimit:
    """A limit on open sessions that all turns share: additive increase, multiplicative decrease.

    Each session has a number from `opened`; it goes back with `closed`. A burst of refusals lowers the limit by the
    factor once, and never above the number of sessions that ElevenLabs did admit.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._next = 0
        self._open: set[int] = set()
        self._lowered_at = 0  # sessions with a lower number were opened before the last decrease

    @property
    def room(self) -> int:
        """Returns the number of sessions that may be opened now."""
        return max(0, int(self._limit) - len(self._open))

    @property
    def limit(self) -> int:
        """Returns the limit of open sessions; at least one, so that the relay notices when there is capacity again."""
        return int(self._limit)

    def opened(self) -> int:
        """Counts a session. Returns its number."""
        number, self._next = self._next, self._next + 1
        self._open.add(number)
        return number

    def closed(self, number: int, *, admitted: bool | None) -> None:
        """Ends a session: ElevenLabs admitted it, refused it for lack of capacity, or (None) did neither."""
        self._open.discard(number)
        if admitted:
            # One more session for each full round of admitted ones, as TCP does it.
            self._limit = min(self._most, self._limit + 1.0 / self._limit)
        elif admitted is False:
            self._lower(number)

    def _lower(self, number: int) -> None:
        # ElevenLabs' limit may be shared with phone calls, so what was admitted a minute ago is no promise.
        self._limit = max(1.0, min(self._limit, float(len(self._open))))
        if number >= self._lowered_at:
            self._limit = max(1.0, self._limit * DECREASE)
            self._lowered_at = self._next
