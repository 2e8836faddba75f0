"""Text with WhatsApp's marks as runs of styles, written so that no mark ever touches a web address. Pure.

WhatsApp treats a mark that touches an address as part of it: `*Ver: https://x.co/a*` links to `/a*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

MARKS = "*_~`"
Style = tuple[str, ...]
"""The marks that hold, the outermost first; each at most once."""

ADDRESS = r"://(?:(?!\*\*|~~)[^\s<>\[\]`\\|])*(?:(?!\*\*|~~)[^\s<>\[\]`\\|*_~.,;:!?'\")])"
"""The rest of a bare address behind its scheme. Marks and stops at its end are not part of it."""

_URL = re.compile(rf"(?<![^\W_])https?{ADDRESS}", re.IGNORECASE)
_MARKS_BEFORE = re.compile(r"[*_~`]+(?=https?://)", re.IGNORECASE)
_MARKS_AFTER = re.compile(rf"(https?{ADDRESS})[*_~`]+(?!\S)", re.IGNORECASE)
_WORDS = re.compile(r"\n|[^\S\n]+|\S+")


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text in one style.

    An `address` is written unchanged, and without style. The end of a `bare` one is a guess.
    """

    text: str
    style: Style = ()
    address: bool = False
    bare: bool = False


def write(runs: Iterable[Run]) -> str:
    """The runs with their marks. No mark goes over a line break, touches an address or begins or ends at a blank."""
    pieces = [piece for run in runs for piece in pieces_of(run)]
    if any(piece.address for piece in pieces):
        pieces = _detached(pieces)
    return _marked(_with_plain_blanks(pieces))


def without_marks_at_addresses(text: str) -> str:
    """Removes literal marks that touch an address."""
    return _MARKS_AFTER.sub(r"\1", _MARKS_BEFORE.sub("", text))


def has_address(text: str) -> bool:
    """True if there is a bare address in the text."""
    return _URL.search(text) is not None


def outer_addresses(text: str) -> tuple[int, int]:
    """Returns where an address at the beginning of a text ends (0 without one), and where one at its end begins."""
    first, last = 0, len(text)
    for found in _URL.finditer(text):
        if found.start() == 0:
            first = found.end()
        if found.end() == len(text):
            last = found.start()
    return first, last


def pieces_of(run: Run) -> list[Run]:
    """A run split into words, blanks, line breaks and addresses."""
    if run.address:
        return [run] if run.text else []
    pieces, at = [], 0
    for found in _URL.finditer(run.text):
        pieces += _words(run.text[at : found.start()], run.style)
        pieces.append(Run(found.group(), run.style, address=True, bare=True))
        at = found.end()
    return pieces + _words(run.text[at:], run.style)


def _words(text: str, style: Style) -> list[Run]:
    return [Run(word, style) for word in _WORDS.findall(text)]


def _detached(pieces: Iterable[Run]) -> list[Run]:
    """Removes the style from addresses and from text that touches them; a blank keeps other marks and words away."""
    out: list[Run] = []
    for piece in pieces:
        glued = bool(out) and not out[-1].text.isspace() and not piece.text.isspace()
        if glued and piece.address:
            _part_before(out, piece)
            out.append(piece)
        elif glued and out[-1].address:
            out += _part_after(out[-1], piece)
        else:
            out.append(piece)
    return _without_empty_styles([replace(piece, style=()) if piece.address else piece for piece in out])


def _part_before(out: list[Run], address: Run) -> None:
    """Separates the last piece from the address that touches it."""
    last = out[-1]
    if last.address or last.text[-1] in MARKS or _differs(last, address):
        out.append(Run(" "))
    else:
        out[-1] = replace(last, style=())


def _part_after(address: Run, piece: Run) -> list[Run]:
    """Separates a piece from the address that it touches, if a mark or more of an address would stand there."""
    first = piece.text[0]
    # One literal `*` or `_` behind a bare address may well be its own last character.
    marked = first in MARKS and not (address.bare and first in "*_" and piece.text[:2] not in ("**", "__"))
    if marked or first.isalnum() or first in "/?&=#%" or _differs(piece, address):
        return [Run(" "), piece]
    return [replace(piece, style=())]


def _differs(word: Run, address: Run) -> bool:
    return bool(word.style) and word.style != address.style


def _without_empty_styles(pieces: list[Run]) -> list[Run]:
    """Removes the style from runs without a letter or a digit: `*!*` behind an address looks like a mistake."""
    out, start = list(pieces), 0
    while start < len(out):
        end = start + 1
        while end < len(out) and out[end].style == out[start].style:
            end += 1
        text = "".join(piece.text for piece in out[start:end])
        if out[start].style and not any(character.isalnum() for character in text):
            out[start:end] = [replace(piece, style=()) for piece in out[start:end]]
        start = end
    return out


def _with_plain_blanks(pieces: list[Run]) -> list[Run]:
    """Gives blanks only the styles that hold on both sides of them, and line breaks none."""
    out = list(pieces)
    following: list[Style] = []
    style: Style = ()
    for piece in reversed(pieces):
        following.append(style)
        if piece.text == "\n":
            style = ()
        elif not piece.text.isspace():
            style = piece.style
    for at, piece in enumerate(pieces):
        if piece.text == "\n":
            out[at] = replace(piece, style=())
        elif piece.text.isspace():
            before = out[at - 1].style if at else ()
            out[at] = replace(piece, style=_common(before, following[-1 - at]))
    return out


def _common(one: Style, other: Style) -> Style:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]


def _marked(pieces: Iterable[Run]) -> str:
    out: list[str] = []
    style: Style = ()
    for piece in pieces:
        if piece.style != style:
            kept = _common(style, piece.style)
            out += reversed(style[len(kept) :])
            out += piece.style[len(kept) :]
            style = piece.style
        out.append(piece.text)
    return "".join(out) + "".join(reversed(style))
