"""Splits text into what a reader sees as one character: an emoji with all its parts, a flag, an accented letter.

Source: Unicode Standard Annex 29, the rules for extended grapheme clusters.
"""

from __future__ import annotations

import unicodedata

_ZWJ = "\u200d"


def divides(text: str, at: int) -> bool:
    """True if a cut before `text[at]` leaves every emoji, flag, syllable and accent whole."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return not (before == "\r" and after == "\n")
    if _extends(after) or before == _ZWJ:
        return False
    if _regional(before) and _regional(after):
        return _flags_before(text, at)
    return not _syllable(before, after)


def shorten(text: str, most: int) -> str:
    """The beginning of a text, of limited length, with nothing divided."""
    if len(text) <= most:
        return text
    return next((text[:at] for at in range(most, 0, -1) if divides(text, at)), text[:most])


def _extends(character: str) -> bool:
    """True for what belongs to the character before it: accents, joiners, skin tones, tags, selectors."""
    return (
        character in (_ZWJ, "\u200c")
        or unicodedata.category(character)[0] == "M"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def _regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flags_before(text: str, at: int) -> bool:
    """True if the letters of flags before `at` are an even number: two make a flag."""
    run = 0
    while at - 1 - run >= 0 and _regional(text[at - 1 - run]):
        run += 1
    return run % 2 == 0


def _syllable(before: str, after: str) -> bool:
    """True within a Hangul syllable that is written by its letters."""
    lead, vowel, tail = ("\u1100", "\u115f"), ("\u1160", "\u11a7"), ("\u11a8", "\u11ff")
    if lead[0] <= before <= lead[1]:
        return lead[0] <= after <= vowel[1] or "\uac00" <= after <= "\ud7a3"
    if vowel[0] <= after <= vowel[1]:
        return vowel[0] <= before <= vowel[1] or ("\uac00" <= before <= "\ud7a3" and (ord(before) - 0xAC00) % 28 == 0)
    return tail[0] <= after <= tail[1] and (vowel[0] <= before <= tail[1] or "\uac00" <= before <= "\ud7a3")
