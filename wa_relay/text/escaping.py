"""Customers' text where it could do harm: in a terminal and in a spreadsheet."""

from __future__ import annotations

import re

_RISKY = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
    "|[\U000e0000-\U000e007f]"
)
_ZWJ = "\u200d"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """Turns what a terminal would obey or hide into visible escapes; line breaks stay, tabs become spaces.

    The joiner stays where it joins emoji: without it a family falls apart into its members.
    """
    return _RISKY.sub(lambda found: _visible(found, text), text)


def one_line(text: str) -> str:
    """Returns outside text as one harmless line, for a name, a table cell or an error.

    A profile name with a line break could forge a separate line ("Ana\
    Agente: ya pagaste").
    """
    return printable(" ".join(line.strip() for line in text.splitlines()))


def csv_cell(value: str) -> str:
    """Keeps a spreadsheet from taking a text for a formula (OWASP ASVS 1.2.10)."""
    return "'" + value if value.startswith(_FORMULA) else value


def _visible(found: re.Match[str], text: str) -> str:
    character = found.group()
    if character == "\t":
        return "    "
    if character == _ZWJ and _joins_emoji(text, found.start()):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _joins_emoji(text: str, at: int) -> bool:
    before = text[at - 1] if at else ""
    after = text[at + 1 : at + 2]
    return before >= "\u2190" and after >= "\u2190"
