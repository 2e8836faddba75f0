"""Decides when something is tried, looked up or asked for again, and how much may be sent."""

from __future__ import annotations

import random

from wa_relay.model import Moment
from wa_relay.policy.hours import closes_at
from wa_relay.policy.rules import Rules

LOOKUPS = (0.0, 5.0, 15.0, 45.0, 120.0, 300.0, 600.0)
"""Seconds after the send at which an unclear one is looked up while it holds its conversation."""

LATE_LOOKUP, LATE_LOOKUPS_END = 3600.0, 86400.0
"""After that it is looked up hourly for a day."""

HOLD = 600.0
"""Seconds for which an unclear send holds back its conversation: longer than any late acceptance."""

RECEIPT_POLLS = (900.0, 3600.0, 43200.0)
"""Seconds after acceptance at which a receipt that did not come is asked for."""

PART_PAUSE = 5.0
"""Seconds after which the next part of an answer no longer waits for the receipt of the one before."""

OPENING_VALIDITY, LONGEST_VALIDITY = (60, 14_400), 1800
"""Bounds in seconds of how long Twilio may keep an opening, and anything else, waiting."""

BURST_WATCH = 60.0
PERSON_BUCKET, PERSON_REFILL = 10.0, 6.0
"""Messages that may go to one customer at once, and seconds until one more is allowed (error 63018)."""

SEND_RETRY_BASE, SEND_RETRY_CAP = 2.0, 120.0


def retry_delay(failures: int, retry_after: float | None, *, base: float, cap: float) -> float:
    """Seconds until the next try: what the other side asked for, else full jitter over a doubling span."""
    if retry_after is not None:
        return min(max(retry_after, 1.0), 3600.0)
    # A ceiling on the exponent keeps a long outage from overflowing the float.
    span = min(cap, base * 2.0 ** min(failures, 16))
    return random.uniform(0.0, span)  # noqa: S311 - spreads retries, guards nothing


def next_lookup(attempted_at: Moment, lookups: int, rules: Rules) -> Moment | None:
    """Returns when an unclear send is looked up after `lookups` empty look-ups; None when an operator has to decide."""
    if lookups < len(LOOKUPS):
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads look-ups
        return attempted_at + rules.scaled(LOOKUPS[lookups] * jitter)
    late = HOLD + LATE_LOOKUP * (lookups - len(LOOKUPS) + 1)
    return attempted_at + rules.scaled(late) if late <= LATE_LOOKUPS_END else None


def next_receipt_poll(accepted_at: Moment, polls: int, rules: Rules) -> Moment | None:
    """Returns when Twilio is asked for a receipt that did not come; None after the last time."""
    return accepted_at + rules.scaled(RECEIPT_POLLS[polls]) if polls < len(RECEIPT_POLLS) else None


def validity(kind: str, *, template: bool, window_ends_at: Moment | None, phone: str, rules: Rules, now: Moment) -> int:
    """Seconds for which Twilio may keep a message waiting (ValidityPeriod, contract 7.2).

    An opening may wait until its permitted hours end, everything else for the rest of the window.
    """
    if kind == "opening":
        closes = closes_at(now, rules, phone)
        rest = OPENING_VALIDITY[1] if closes is None else closes - now
        return int(min(max(rest, OPENING_VALIDITY[0]), OPENING_VALIDITY[1]))
    if template or window_ends_at is None or window_ends_at <= now:
        return LONGEST_VALIDITY
    return int(min(max(window_ends_at - now, 1.0), LONGEST_VALIDITY))


def refill(tokens: float, since: Moment, now: Moment) -> float:
    """Returns how many messages may go to one customer now."""
    return min(PERSON_BUCKET, tokens + max(0.0, now - since) / PERSON_REFILL)


class Circuit:
    """One service's circuit: opens after five failures in a row, lets one try through every 30 s.

    Units: seconds of any monotonic or wall clock, as long as it is always the same.
    """

    def __init__(self, threshold: int = 5, pause: float = 30.0) -> None:
        self.failures = 0
        self._threshold, self._pause, self._retry_at = threshold, pause, 0.0

    def allows(self, now: float) -> bool:
        """True while closed, and once per pause while open."""
        # A clock that is set back does not make the pause longer.
        return not self.half_open or not 0.0 < self._retry_at - now <= self._pause

    @property
    def half_open(self) -> bool:
        """True from the threshold on: only one try at a time is to be made."""
        return self.failures >= self._threshold

    def rest(self, now: float) -> float:
        """Seconds until the next try is allowed; 0 when it is now."""
        return 0.0 if self.allows(now) else self._retry_at - now

    def succeeded(self) -> None:
        """Closes the circuit."""
        self.failures = 0

    def failed(self, now: float) -> None:
        """Counts a failure and, from the threshold on, opens the circuit for the pause."""
        self.failures += 1
        if self.half_open:
            self._retry_at = now + self._pause

    def tried(self, now: float) -> None:
        """Marks the one try that a half-open circuit allows."""
        if self.half_open:
            self._retry_at = now + self._pause
