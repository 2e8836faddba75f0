"""What the judge writes down, and what it looks at."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from wa_relay.standins.journal import Entry

ASKED = re.compile(r"q(\d+)x")


@dataclass(slots=True)
class Verdict:
    """Every broken promise in words, and the figures of the run."""

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
        """The questions that it answers."""
        return tuple(int(number) for number in ASKED.findall(self.text))


def message_id_of(entry: Entry) -> int | None:
    """Our id of a message that Twilio took, from its callback."""
    row = parse_qs(urlsplit(str(entry.data["callback"])).query).get("m", [None])[0]
    return None if row is None else int(row)
