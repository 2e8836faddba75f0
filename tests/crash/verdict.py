"""What the judge reads, and the verdict that it writes."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from wa_relay import policy
from wa_relay.policy.receipts import CLOCK_TOLERANCE
from wa_relay.standins.journal import Entry

DIVISOR = 150.0
"""The divisor of the times of reconciliation: the hold of 10 minutes becomes 4 seconds.

A late acceptance (F8, at most 1.2 s) must fall within it on a busy machine too. With 200, one that came 0.8 s later
than planned was too late for the look-up, which never happens in reality.
"""

LATEST = (policy.HOLD - CLOCK_TOLERANCE) / DIVISOR - 1.0
"""Seconds after the attempt until which a look-up takes a message of Twilio's list for an uncertain send."""

ASKED = re.compile(r"q(\d+)x")


@dataclass(slots=True)
class Verdict:
    """Every broken promise as a sentence, and the figures of the run."""

    broken: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)

    def check(self, kept: bool, words: str) -> None:
        """Notes a broken promise."""
        if not kept:
            self.broken.append(words)


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that Twilio really took."""

    number: int
    at: float
    sid: str
    phone: str
    text: str
    row: int | None
    sender: str = ""

    @property
    def asked(self) -> tuple[int, ...]:
        """The numbers of the questions that it answers."""
        return tuple(int(number) for number in ASKED.findall(self.text))


def message_id_of(entry: Entry) -> int | None:
    """Our id of a message that Twilio took, from its callback."""
    row = parse_qs(urlsplit(str(entry.data["callback"])).query).get("m", [None])[0]
    return None if row is None else int(row)


def too_late(attempted_at: float, taken_at: float) -> bool:
    """True if Twilio took a message later than any look-up allows. Only a starved test machine does that."""
    return math.floor(taken_at) > attempted_at + LATEST
