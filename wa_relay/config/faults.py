"""Faults of a configuration, in sentences for the person who writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CLOSE_ENOUGH = 0.6
SAME_TABLE = 0.2
WORDS_WEIGHT = 0.9


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to correct: where it was read, which key, what is wrong.

    `source` is a file or `environment variable NAME`. `key` is dotted, and empty if the whole
    source is at fault. `nearest` is the closest valid name.
    """

    source: str
    key: str
    message: str
    nearest: str | None = None

    def __str__(self) -> str:
        where = f"{self.source}: {self.key}" if self.key else self.source
        hint = f" (did you mean {self.nearest}?)" if self.nearest else ""
        return f"{where}: {self.message}{hint}"


class ConfigError(Exception):
    """A configuration that can't be used. `faults` holds all of them; prints one a line."""

    exit_code = 78

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class WrongValueError(ValueError):
    """A value that its key does not accept. The message is shown unchanged, so it holds no secret."""

    def __init__(self, message: str, nearest: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = nearest


def nearest_name(written: str, names: Iterable[str]) -> str | None:
    """Returns the dotted name closest to the one written, the first of equals; None without a close one.

    Compared are the last parts, the whole names, and the words in any order (so that `twillio_sid` finds
    `twilio.account_sid`); a name in the table that was written is preferred.
    """
    # Only a wrong configuration pays for the import.
    from difflib import SequenceMatcher

    def likeness(name: str) -> float:
        own_table, _, own_leaf = name.rpartition(".")
        joined = name.replace(".", "_")
        words = [max(ratio(word, other) for other in joined.split("_")) for word in leaf.split("_")]
        whole = max(ratio(leaf, own_leaf), ratio(leaf, joined), ratio(plain, name))
        best = max(whole, WORDS_WEIGHT * sum(words) / len(words))
        return best + (SAME_TABLE if table and table == own_table else 0.0)

    def ratio(one: str, other: str) -> float:
        return SequenceMatcher(None, one, other).ratio()

    plain = written.lower().replace("-", "_")
    table, _, leaf = plain.rpartition(".")
    scores = {name: likeness(name) for name in names}
    best = max(scores, key=lambda name: scores[name], default="")
    return best if scores.get(best, 0.0) >= CLOSE_ENOUGH else None
