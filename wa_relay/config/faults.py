"""What is wrong with a configuration, in words for the person who writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LIKE_ENOUGH = 0.6
SAME_TABLE_BONUS = 0.2
WORDS_WEIGHT = 0.9


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to put right: where it was read, which key, what is wanted there.

    `source` is a file or `environment variable NAME`; `key` is dotted, empty when the whole
    source is at fault; `nearest` is the right name that the written one is most like.
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


class WrongValueError(Exception):
    """A value that its key does not take. Holds no secret: it is shown as it is."""

    def __init__(self, message: str, nearest: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = nearest


def nearest_name(written: str, names: Iterable[str]) -> str | None:
    """Returns the dotted name most like the written one, the first of equals, None when none is like it.

    A name counts by its last part, by its last part with its table before it, or by its words in any
    order; one in the table that was written is preferred.
    """
    plain = written.lower().replace("-", "_")
    scores = {name: _likeness(plain, name) for name in names}
    best = max(scores, key=lambda name: scores[name], default="")
    return best if scores.get(best, 0.0) >= LIKE_ENOUGH else None


def _likeness(written: str, name: str) -> float:
    table, _, leaf = written.rpartition(".")
    own_table, _, own_leaf = name.rpartition(".")
    joined = name.replace(".", "_")
    whole = max(_ratio(leaf, own_leaf), _ratio(leaf, joined), _ratio(written, name))
    bonus = SAME_TABLE_BONUS if table and table == own_table else 0.0
    return max(whole, WORDS_WEIGHT * _word_likeness(leaf, joined)) + bonus


def _word_likeness(written: str, name: str) -> float:
    """Returns how well each written word is found among those of the name, on average."""
    words = written.split("_")
    return sum(max(_ratio(word, other) for other in name.split("_")) for word in words) / len(words)


def _ratio(one: str, other: str) -> float:
    # Only a wrong configuration pays for the import.
    from difflib import SequenceMatcher

    return SequenceMatcher(None, one, other).ratio()
