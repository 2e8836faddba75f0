"""Search terms as people type them: words without case and accents, prefixes with `*`, no other operators.

The same reading for both engines: SQLite splits and folds texts itself (`unicode61 remove_diacritics 2`), PostgreSQL is
given the words of `words_of`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LONGEST_WORD = 200
"""Characters of a word that count: PostgreSQL takes 2 kB of one."""

MOST_WORDS = 20
"""Words of a query that count."""

SNIPPET, BEFORE = 120, 40
"""Characters of a snippet, and those before the first word that was found."""

_RUN = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Word:
    """A word that has to be there, or the beginning of one."""

    text: str
    is_prefix: bool = False

    def fits(self, other: str) -> bool:
        """True for a folded word that this one asks for."""
        return other.startswith(self.text) if self.is_prefix else other == self.text


def fold(text: str) -> str:
    """Removes case and accents: `Adiós` and `ADIOS` become `adios`."""
    parts = unicodedata.normalize("NFD", text.lower())
    return "".join(character for character in parts if not unicodedata.combining(character))


def words_of(text: str) -> list[str]:
    """The folded words of a text, each once, in their order."""
    runs = (fold(run)[:LONGEST_WORD] for run in _RUN.findall(unicodedata.normalize("NFC", text)))
    return list(dict.fromkeys(run for run in runs if run))


def parse_query(text: str) -> tuple[Word, ...]:
    """Reads a search query. Empty if it has no letter and no digit.

    `*` at the end of a word makes it a prefix. Everything else that engines know (AND, NEAR, quotes, `-`) is a plain
    word or separates words.
    """
    words: dict[Word, None] = {}
    for part in unicodedata.normalize("NFC", text).split():
        found = words_of(part)
        for word in found[:-1]:
            words[Word(word)] = None
        if found:
            words[Word(found[-1], part.endswith("*"))] = None
    return tuple(words)[:MOST_WORDS]


def snippet(text: str, words: tuple[Word, ...]) -> str:
    """The part of a text around the first word that was found, on one line."""
    line = " ".join(text.split())
    if len(line) <= SNIPPET:
        return line
    start = max(0, _first(line, words) - BEFORE)
    start = min(start, len(line) - SNIPPET)
    if start:
        # Not in the middle of a word.
        start = line.find(" ", start) + 1 or start
    end = start + SNIPPET
    if end < len(line):
        blank = line.rfind(" ", start, end)
        end = blank if blank > start + SNIPPET // 2 else end
    return f"{'…' if start else ''}{line[start:end].strip()}{'…' if end < len(line) else ''}"


def _first(line: str, words: tuple[Word, ...]) -> int:
    for run in _RUN.finditer(line):
        folded = fold(run.group())
        if any(word.fits(folded) for word in words):
            return run.start()
    return 0
