"""The tries of a turn: how many the agent gets, within how long, and the pauses between them."""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay.policy.send_timing import retry_delay

AWAY_PAUSE = 2.0
"""Seconds between two tries, of all turns together, while the service is away: a customer waits for each."""


@dataclass(frozen=True, slots=True)
class TryLimits:
    """`tries` sessions within `total` seconds; pauses are drawn from 0 to `min(cap, base * 2**n)` seconds."""

    tries: int = 3
    total: float = 90.0
    base: float = 2.0
    cap: float = 30.0

    def pause(self, number: int, *, at_once: bool, retry_after: float | None) -> float:
        """Seconds between try `number`, which failed, and the next; `at_once` if nothing is broken."""
        return 0.0 if at_once else retry_delay(number - 1, retry_after, base=self.base, cap=self.cap)
