"""Phone numbers: strict where programs write them, lenient where people do, masked in logs.

A customer who hides the number has a BSUID instead: two capitals and a dot before it (`CO.1A2b`).
"""

from __future__ import annotations

import re
from functools import lru_cache

_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
_BSUID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_TYPED = re.compile(r"[\s().\-\u2010-\u2015\u2212\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+")
"""Blanks, brackets, hyphens of all kinds, and the invisible marks that an address book adds."""

_PREFIX = "whatsapp:"
_ONE_DIGIT_CODES = frozenset("17")
_TWO_DIGIT_CODES = frozenset(
    map(
        str,
        (
            *(20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58),
            *(60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98),
        ),
    )
)
"""Country codes of one and of two digits (ITU-T E.164); every other one has three."""

_SPELLINGS = {
    "+52": ((re.compile(r"\+521([0-9]{10})"), "+52"), (re.compile(r"\+52([0-9]{10})"), "+521")),
    "+54": ((re.compile(r"\+549([0-9]{10})"), "+54"), (re.compile(r"\+54([0-9]{10})"), "+549")),
    "+55": (
        (re.compile(r"(\+55[0-9]{2})9([6-9][0-9]{7})"), ""),
        (re.compile(r"(\+55[0-9]{2})([6-9][0-9]{7})"), "9"),
    ),
}
"""Mobile numbers that WhatsApp may know in another spelling than was dialled: with or without a digit, by country."""

_HIDDEN = "•" * 7


def e164(text: str) -> str | None:
    """Returns a number that is E.164 to the letter (`+` and 8 to 15 ASCII digits), else None."""
    return text if _E164.fullmatch(text) else None


def international(text: str) -> str | None:
    """Reads a number written without its `+` (`573001112233`, `00573001112233`) as E.164.

    Returns None unless some country has that number: otherwise it may be a national one, which
    would be a stranger's with a `+` put before it.
    """
    number = "+" + text.removeprefix("00")
    if e164(number) is None:
        return None
    # WhatsApp's spelling of a Mexican mobile is not in the numbering plans, the other one is.
    return number if any(_valid(one) for one in (number, other_spelling(number)) if one) else None


def parse(text: str) -> str:
    """Reads a number or a BSUID as people type it: spaces, hyphens, brackets, `whatsapp:`.

    Raises ValueError that says what to write. The country code is never guessed.
    """
    typed = text.strip()
    if typed.lower().startswith(_PREFIX):
        typed = typed[len(_PREFIX) :].strip()
    if _BSUID.fullmatch(typed):
        return typed
    digits = _TYPED.sub("", typed)
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    international = digits.startswith("+")
    number = digits if international else "+" + digits
    # Without the `+` it may be a national number, which would be a stranger's with one put before it.
    if not _E164.fullmatch(number) or not (international or _possible(number)):
        raise ValueError("a phone needs its country code, as in +573138539155")
    return number


def address(text: str) -> str | None:
    """Reads Twilio's `whatsapp:+57…` or `whatsapp:CO.1A2b`; None for anything else."""
    if not text.startswith(_PREFIX):
        return None
    written = text[len(_PREFIX) :]
    return written if _E164.fullmatch(written) or _BSUID.fullmatch(written) else None


def other_spelling(number: str) -> str | None:
    """The same mobile as WhatsApp may spell it: Mexico with a 1, Argentina and Brazil with a 9, or without it."""
    for pattern, digit in _SPELLINGS.get(number[:3], ()):
        found = pattern.fullmatch(number)
        if found:
            return digit.join(found.groups()) if len(found.groups()) > 1 else digit + found[1]
    return None


@lru_cache(maxsize=4096)
def zone_name(number: str) -> str | None:
    """Returns the time zone that a number belongs to (`America/Bogota`); None if there are several, or none."""
    # The numbering plans are heavy; most commands read no number.
    import phonenumbers.timezone

    try:
        zones = phonenumbers.timezone.time_zones_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return None
    return zones[0] if len(zones) == 1 and zones[0] != phonenumbers.timezone.UNKNOWN_TIMEZONE else None


def to_address(phone: str) -> str:
    """Returns a number or a BSUID as Twilio writes it."""
    return _PREFIX + phone


def mask(phone: str) -> str:
    """Hides all of a number except its country code and its last two digits: `+57•••••••55`."""
    if not phone.startswith("+"):
        return f"{phone[:3]}{_HIDDEN}" if _BSUID.fullmatch(phone) else _HIDDEN
    digits = phone[1:]
    length = 1 if digits[:1] in _ONE_DIGIT_CODES else 2 if digits[:2] in _TWO_DIGIT_CODES else 3
    return f"+{digits[:length]}{_HIDDEN}{digits[-2:]}"


def _possible(number: str) -> bool:
    """True if the numbering plans allow such a number; never for an unknown country code."""
    # Heavy, as above: only a number that is typed or reported needs them.
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _valid(number: str) -> bool:
    """True if the numbering plans have assigned the number's range."""
    # Heavy, as above.
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False
