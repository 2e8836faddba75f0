"""What every text goes through: cleaning, the normal form of a keyword, and if there is anything to see."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKS = frozenset("*_~`")
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing: Hangul's fillers, the empty Braille cell."""


def clean(text: str) -> str:
    """Takes out what no message may hold: control characters but line breaks and tabs, lone surrogates."""
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def keyword(text: str) -> str:
    """Returns the normal form of a keyword: `¡BAJA!` and `bája 🙏` are `baja`."""
    letters = (
        character if unicodedata.category(character)[0] in "LN" else " "
        for character in unicodedata.normalize("NFKD", text)
        # Accents and what nobody sees (a soft hyphen, a joiner) divide no word.
        if unicodedata.category(character) not in ("Mn", "Me", "Cf")
    )
    return " ".join("".join(letters).casefold().split())


def visible(text: str) -> bool:
    """True if there is anything that a person can see: more than blanks, marks and format characters."""
    return any(
        character not in _MARKS and unicodedata.category(character)[0] in "LNPS" and character not in _BLANK_LETTERS
        for character in text
    )
