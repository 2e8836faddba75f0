"""Cuts long answers into parts: between words where possible, never within a visible character or an address.

Lengths are UTF-16 units, the larger of the two ways in which Twilio may count its limit of 1,600
(error 21617).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from wa_relay.text.cleaning import visible
from wa_relay.text.graphemes import divides
from wa_relay.text.whatsapp_marks import outer_addresses

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_TOKEN = re.compile(r"```|[*_~`]|\n[ \t]*\n|https?://\S+", re.IGNORECASE)
_BREAKS = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"(?:(?<=[^\d][.!?…])|(?<=[.!?…][*_~»”\")\]]))[ \t]+"),
    re.compile(r"\s+"),
)
"""The places to cut, the best first: a paragraph, a line, a sentence, a word."""

ROOM_FOR_MARKS = 12
"""Units kept free for marks that a cut closes and opens again."""


class _Span(NamedTuple):
    """Text between two marks: from the opening one's place to the closing one's."""

    start: int
    end: int
    mark: str


def split(text: str, limit: int) -> list[str]:
    """Cuts a text into parts of at most `limit` UTF-16 units; nothing but blanks at the cuts is lost.

    A mark (`*`, `_`, `~`, backticks) that a cut divides is closed before it and opened after it.
    """
    text = text.strip()
    if units(text) <= limit:
        return [text] if text else []
    return [part for part in _parts(text, limit) if part.strip()]


def units(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text) + sum(1 for character in text if character > "\uffff") if not text.isascii() else len(text)


def _parts(text: str, limit: int) -> Iterator[str]:
    room = limit - ROOM_FOR_MARKS
    spans = list(_spans(text)) if room > ROOM_FOR_MARKS else []
    addresses = [match.span() for match in _URL.finditer(text)]
    start, opened, next_span = 0, "", 0
    around: list[_Span] = []
    while start < len(text):
        # A mark that is opened again before an address takes a blank or a line's end with it.
        end = start + _reach(text, start, limit - units(opened) - bool(opened))
        if end == len(text):
            yield _between(opened, text[start:], "")
            return
        if spans:
            end = start + max(1, _reach(text, start, room - units(opened)))
        cut, following = _cut(text, start, max(end, start + 1), addresses)
        while next_span < len(spans) and spans[next_span].start < cut:
            around.append(spans[next_span])
            next_span += 1
        around = [span for span in around if span.end >= cut]
        marks = [span.mark for span in around]
        yield _between(opened, text[start:cut], "".join(reversed(marks)))
        start, opened = following, "".join(marks)


def _between(opened: str, part: str, closed: str) -> str:
    """A part with the marks that a cut closes and opens again; they never touch an address."""
    if not opened and not closed:
        return part
    if "```" in (opened, closed):
        first, last = outer_addresses(part)
        before, after = opened and opened + "\n" * (first > 0), closed and "\n" * (last < len(part)) + closed
        return before + part + after
    begin, end = 0, len(part)
    while opened and begin < end and (first := outer_addresses(part[begin:end])[0]):
        begin = _skip_blanks(part, begin + first)
    while closed and begin < end and (last := outer_addresses(part[begin:end])[1]) < end - begin:
        end = begin + len(part[begin : begin + last].rstrip())
    body = part[begin:end]
    if not visible(body):
        return part
    blank = " " if begin and not part[begin - 1].isspace() else ""
    return part[:begin] + blank + opened + body + closed + part[end:]


def _skip_blanks(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip())


def _cut(text: str, start: int, end: int, addresses: list[tuple[int, int]]) -> tuple[int, int]:
    """Returns where the part that begins at `start` ends, `end` at the latest, and where the next one begins."""
    least = start + (end - start) // 2
    for pattern in _BREAKS:
        # A cut in the first half wastes the part: a weaker kind of break further on is better.
        if found := _find_last_break(pattern, text, least, end):
            return found
    if found := _find_last_break(_BREAKS[-1], text, start + 1, least):
        return found
    place = _find_place_outside(text, start, end, addresses)
    return place, place


def _find_last_break(pattern: re.Pattern[str], text: str, least: int, most: int) -> tuple[int, int] | None:
    """The last break between two places: where it begins and ends."""
    last = None
    for found in pattern.finditer(text, least, most + 1):
        before, after = found.span()
        while text[before - 1].isspace():
            before -= 1
        while after < len(text) and text[after].isspace():
            after += 1
        if divides(text, before) and divides(text, after):
            last = before, after
    return last


def _find_place_outside(text: str, start: int, end: int, addresses: list[tuple[int, int]]) -> int:
    """Returns the last place outside addresses and visible characters; `end` without one."""
    index = bisect_left(addresses, (end, 0)) - 1
    if index >= 0 and start < addresses[index][0] and end < addresses[index][1]:
        return _find_whole_character(text, start, addresses[index][0])
    return _find_whole_character(text, start, end)


def _find_whole_character(text: str, start: int, end: int) -> int:
    for place in range(end, start, -1):
        # Between a mark and its word a mark that is closed and opened again would hold nothing.
        if divides(text, place) and text[place - 1] not in "*_~`" and text[place] not in "*_~`":
            return place
    return next((place for place in range(end, start, -1) if divides(text, place)), end)


def _reach(text: str, start: int, room: int) -> int:
    """Returns the number of characters from `start` on that fit into `room` units."""
    window = text[start : start + max(0, room)]
    if window.isascii():
        return len(window)
    used = 0
    for index, character in enumerate(window):
        used += 2 if character > "\uffff" else 1
        if used > room:
            return index
    return len(window)


def _spans(text: str) -> list[_Span]:
    """The marked pieces of a text, outer ones first. A lone mark is a character, and opens nothing."""
    spans: list[_Span] = []
    opened: list[tuple[str, int]] = []
    for found in _TOKEN.finditer(text):
        mark, at = found.group(), found.start()
        code = opened[-1][0] if opened and opened[-1][0].startswith("`") else ""
        if mark[0] in "\nhH":
            # Only code continues across a blank line.
            opened = opened if mark[0] != "\n" or code == "```" else []
            continue
        if code and code != mark:
            continue
        names = [name for name, _ in opened]
        index = names.index(mark) if mark in names else -1
        if index >= 0 and at > opened[index][1] + len(mark) and _closes(text, at, found.end(), mark):
            spans.append(_Span(opened[index][1], at, mark))
            del opened[index:]
        elif index < 0 and _opens(text, at, found.end(), mark):
            opened.append((mark, at))
    return sorted(spans)


def _opens(text: str, at: int, end: int, mark: str) -> bool:
    before, after = text[at - 1] if at else " ", text[end : end + 1] or " "
    return mark == "```" or not (after.isspace() or before.isalnum())


def _closes(text: str, at: int, end: int, mark: str) -> bool:
    before, after = text[at - 1], text[end : end + 1] or " "
    return mark == "```" or not (before.isspace() or after.isalnum())
