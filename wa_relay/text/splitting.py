"""Long answers cut into parts: between words where it can be, never inside what belongs together.

Lengths are UTF-16 units, the larger of the two ways in which Twilio may count its limit of 1,600
(error 21617).
"""

from __future__ import annotations

import re
import unicodedata

_URL = re.compile(r"https?://\S+")
_MARK = re.compile(r"```|[*_~`]")
_BREAKS = (re.compile(r"\n[ \t]*\n+"), re.compile(r"\n+"), re.compile(r"(?<=[.!?…])[ \t]+"), re.compile(r"\s+"))
"""Where to cut, the best first: a paragraph, a line, a sentence, a word."""

_JOINERS = frozenset("\u200d\u20e3")
ROOM_FOR_MARKS = 12
"""Units kept free for marks that a cut closes and opens again."""


def split(text: str, limit: int) -> list[str]:
    """Cuts a text into parts of at most `limit` UTF-16 units; nothing but blanks at the cuts is lost.

    A mark (`*`, `_`, `~`, backticks) that a cut divides is closed before it and opened after it.
    """
    rest, opened, parts = text.strip(), "", []
    while rest:
        if units(opened + rest) <= limit:
            parts.append(opened + rest)
            break
        room = max(1, limit - units(opened) - ROOM_FOR_MARKS) if limit > 2 * ROOM_FOR_MARKS else limit
        head, rest = _cut(rest, room)
        marks = _open_marks(opened + head) if limit > 2 * ROOM_FOR_MARKS else []
        parts.append(opened + head.rstrip() + "".join(reversed(marks)))
        opened, rest = "".join(marks), rest.lstrip()
    return [part for part in parts if part.strip()]


def units(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text) + sum(1 for character in text if character > "\uffff") if not text.isascii() else len(text)


def _cut(text: str, room: int) -> tuple[str, str]:
    """The longest head that fits and ends well, and what is left."""
    reach = _reach(text, room)
    window = text[: reach + 1]
    spans = [match.span() for match in _URL.finditer(text[: reach + 2100]) if match.start() < reach]
    for pattern in _BREAKS:
        # A cut in the first half wastes the part: a lesser kind of break further on is better.
        for found in reversed(list(pattern.finditer(window))):
            at = found.start()
            if at >= reach // 2 and at <= reach and found.end() > at and not _inside(at, spans):
                return text[:at], text[found.end() :]
    blank = max((found.start() for found in re.finditer(r"\s", window) if found.start()), default=0)
    if blank:
        return text[:blank], text[blank:]
    return text[: _boundary(text, reach)], text[_boundary(text, reach) :]


def _reach(text: str, room: int) -> int:
    """The number of characters that fit into so many units."""
    used = 0
    for index, character in enumerate(text):
        used += 2 if character > "\uffff" else 1
        if used > room:
            return index
    return len(text)


def _inside(at: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < at < end for start, end in spans)


def _boundary(text: str, at: int) -> int:
    """The last place not after `at` that divides no grapheme; `at` itself where one fills all of it."""
    place = at
    while place > 0 and not _divides(text, place):
        place -= 1
    return place or max(1, at)


def _divides(text: str, at: int) -> bool:
    """True if a cut before `text[at]` leaves every emoji, flag and accent whole."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if after in _JOINERS or before == "\u200d" or unicodedata.combining(after) or "\ufe00" <= after <= "\ufe0f":
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return False
    if _regional(after) and _regional(before):
        run = 0
        while at - 1 - run >= 0 and _regional(text[at - 1 - run]):
            run += 1
        return run % 2 == 0
    return True


def _regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _open_marks(text: str) -> list[str]:
    """The marks that are open at the end of a text, in the order in which they were opened."""
    opened: list[str] = []
    urls = [match.span() for match in _URL.finditer(text)]
    for found in _MARK.finditer(text):
        mark = found.group()
        if _inside(found.start(), urls) or (opened and opened[-1].startswith("`") and opened[-1] != mark):
            continue
        before = text[found.start() - 1] if found.start() else " "
        after = text[found.end() : found.end() + 1] or " "
        if mark in opened and not before.isspace():
            opened = opened[: opened.index(mark)]
        elif mark not in opened and not after.isspace() and not before.isalnum():
            opened.append(mark)
    # A lone mark is a character, not a span: only what the rest of the text would close counts.
    return opened
