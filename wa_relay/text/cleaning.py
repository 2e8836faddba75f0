"""Cleans every text, makes the normal form of a keyword, and decides if a text is visible."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKS = frozenset("*_~`")
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing: Hangul's fillers, the empty Braille cell."""


def clean(text: str) -> str:
    """Removes what no message may hold: lone surrogates, and control characters except line breaks and tabs."""
    if text.isprintable():
        return text
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


class _Letters(dict[int, str | None]):
    """For `str.translate`: keeps letters and digits, drops what joins to them, and makes blanks of the rest.

    Accents and invisible characters (a soft hyphen, a joiner) divide no word. Every message goes through it: a look-up
    for each character takes a tenth of the time of asking for its category.
    """

    def __missing__(self, code: int) -> str | None:
        category = unicodedata.category(chr(code))
        found = None if category in ("Mn", "Me", "Cf") else chr(code) if category[0] in "LN" else " "
        if code < _REMEMBERED:
            self[code] = found
        return found


_REMEMBERED = 0x3000
_LETTERS = _Letters()


def keyword(text: str) -> str:
    """Returns the normal form of a keyword: `¡BAJA!` and `bája 🙏` are `baja`."""
    return " ".join(unicodedata.normalize("NFKD", text).translate(_LETTERS).casefold().split())


def visible(text: str) -> bool:
    """True if the text has a visible character: more than blanks, marks and format characters."""
    return any(
        character not in _MARKS and unicodedata.category(character)[0] in "LNPS" and character not in _BLANK_LETTERS
        for character in text
    )
