"""The rate of each of our numbers: how many messages it may send now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wa_relay.config import Config
from wa_relay.model import Moment
from wa_relay.phone import address
from wa_relay.policy import Rules

POOL = ""
"""The name for messages whose number the messaging service chooses."""


@dataclass(slots=True)
class _Bucket:
    whole: float
    rate: float
    filled_at: Moment
    tokens: float = 1.0


class Rates:
    """A bucket for each sender. With one sender alone, its bucket is named None: any message is its own.

    `default` is the rate of the default sender and of the pool, `further` that of each other number, in messages a
    second.
    """

    def __init__(self, default: float, further: Mapping[str, float], own: str, now: Moment) -> None:
        rates: dict[str | None, float] = {None: default}
        if further:
            rates = {POOL: default, own: default}
            rates.update(further)
        self._buckets = {name: _Bucket(rate, rate, now) for name, rate in rates.items()}

    def share(self, daemons: int) -> None:
        """Takes one of `daemons` equal parts of each rate: the limits hold for all daemons together."""
        for bucket in self._buckets.values():
            bucket.rate = bucket.whole / daemons

    @property
    def senders(self) -> tuple[str | None, ...]:
        """The senders to claim for, one after the other."""
        return tuple(self._buckets)

    def allowed(self, sender: str | None, now: Moment) -> int:
        """Returns how many messages a sender may send now."""
        bucket = self._buckets[sender]
        # At most a tenth of a second's worth is saved up: no burst after a rest.
        most = max(1.0, bucket.rate / 10.0)
        bucket.tokens = min(most, bucket.tokens + max(0.0, now - bucket.filled_at) * bucket.rate)
        bucket.filled_at = now
        return int(bucket.tokens)

    def spend(self, sender: str | None, count: int) -> None:
        """Counts messages that are being sent."""
        self._buckets[sender].tokens -= count

    def rest(self, sender: str | None) -> float:
        """Returns the seconds until a sender may send its next message."""
        bucket = self._buckets[sender]
        return max(0.002, (1.0 - bucket.tokens) / bucket.rate)


def rates_of(config: Config, rules: Rules, now: Moment) -> Rates:
    """The rates that the configuration gives to each sender."""
    further = {number: each.messages_per_second for each in config.senders if (number := address(each.number))}
    return Rates(config.twilio.messages_per_second, further, rules.default_sender, now)
