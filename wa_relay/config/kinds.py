"""The kinds of value that a key can take: each turns what was written into a checked value.

A kind raises `WrongValueError` with what is wanted. `read` takes a value as TOML or JSON gives it,
`from_text` makes such a value of an environment variable or a flag.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Protocol, TypeVar

from wa_relay.config.faults import WrongValueError, nearest_name
from wa_relay.config.secret import Secret

T_co = TypeVar("T_co", covariant=True)

CONTROL = r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]"
"""Also lone surrogates: what the environment makes of bytes that are not UTF-8."""
INTEGER = r"[+-]?[0-9]{1,30}"
DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
SHOWN_LENGTH = 40

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Kind(Protocol[T_co]):
    """What a key takes."""

    def read(self, value: object) -> T_co:
        """Returns the checked value. Raises `WrongValueError`."""

    def from_text(self, text: str) -> object:
        """Returns what TOML would give for this text; the text itself when it is nothing else."""


def name_of_type(value: object) -> str:
    """Says what a value is, without showing it."""
    names = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def shown(value: object) -> str:
    """Shows a value that holds no secret: short, printable, as TOML writes it."""
    if isinstance(value, str):
        short = value if len(value) <= SHOWN_LENGTH else value[:SHOWN_LENGTH] + "…"
        return "the text " + json.dumps(short, ensure_ascii=not short.isprintable())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # Python refuses to write out integers of thousands of digits.
        return repr(value) if isinstance(value, float) or abs(value) < 10**SHOWN_LENGTH else "a far larger one"
    return name_of_type(value)


class PlainText:
    """A base for kinds that an environment variable gives as they are."""

    def from_text(self, text: str) -> object:
        return text


def text_of(value: object, wanted: str) -> str:
    """Returns the value if it is text without control characters. Raises `WrongValueError`."""
    if not isinstance(value, str):
        raise WrongValueError(f"expected {wanted}, not {name_of_type(value)}")
    if re.search(CONTROL, value):
        raise WrongValueError(f"expected {wanted}, in UTF-8 and without control characters")
    return value


class Text(PlainText):
    """Any text; may be empty."""

    def read(self, value: object) -> str:
        return text_of(value, "text in quotes")


@dataclass(frozen=True, slots=True)
class Identifier(PlainText):
    """An id of letters, digits, `_` and `-` that begins with `prefix`; may be empty."""

    prefix: str
    wanted: str

    def read(self, value: object) -> str:
        text = text_of(value, self.wanted)
        if text and not re.fullmatch(re.escape(self.prefix) + r"[0-9A-Za-z_-]+", text):
            raise WrongValueError(f"expected {self.wanted}")
        return text


class Flag:
    """True or false."""

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise WrongValueError(f"expected true or false, not {shown(value)}")
        return value

    def from_text(self, text: str) -> object:
        return BOOLEANS.get(text.strip().lower(), text)


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise WrongValueError(f"expected a whole number from {self.low} to {self.high}, not {shown(value)}")
        return value

    def from_text(self, text: str) -> object:
        return int(text) if re.fullmatch(INTEGER, text.strip()) else text


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`; `low` itself is left out when `above`."""

    low: float
    high: float
    above: bool = False

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self._fits(value):
            span = f"above {self.low:g}, up to {self.high:g}" if self.above else f"from {self.low:g} to {self.high:g}"
            raise WrongValueError(f"expected a number {span}, not {shown(value)}")
        return float(value)

    def _fits(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def from_text(self, text: str) -> object:
        return float(text) if re.fullmatch(DECIMAL, text.strip()) else text


@dataclass(frozen=True, slots=True)
class Choice(PlainText):
    """One of a few words, all in small letters; capitals are taken too."""

    words: tuple[str, ...]

    def read(self, value: object) -> str:
        if isinstance(value, str) and value.lower() in self.words:
            return value.lower()
        nearest = nearest_name(value, self.words) if isinstance(value, str) else None
        words = ", ".join(word or '""' for word in self.words)
        raise WrongValueError(f"expected one of {words}, not {shown(value)}", nearest)


@dataclass(frozen=True, slots=True)
class Words:
    """A list of texts, none of them empty; an environment variable separates them with commas."""

    wanted: str

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise WrongValueError(f"expected a list of {self.wanted}, not {name_of_type(value)}")
        words = tuple(text_of(item, f"a list of {self.wanted}").strip() for item in value)
        if not all(words):
            raise WrongValueError(f"expected a list of {self.wanted}, none of them empty")
        return words

    def from_text(self, text: str) -> object:
        if text.lstrip().startswith("["):
            return json_of(text)
        return [word for item in text.split(",") if (word := item.strip())]


class Variables:
    """A table of texts; an environment variable writes it as JSON."""

    def read(self, value: object) -> Mapping[str, str]:
        wanted = 'a table of texts such as { "1" = "{client_name}" }'
        if isinstance(value, str):
            raise WrongValueError(f"expected {wanted}, not text; in the environment it is a JSON object")
        if not isinstance(value, dict):
            raise WrongValueError(f"expected {wanted}, not {name_of_type(value)}")
        if not all(isinstance(name, str) and name for name in value):
            raise WrongValueError(f"expected {wanted}, every variable with a name")
        return {name: text_of(text, wanted) for name, text in value.items()}

    def from_text(self, text: str) -> object:
        return json_of(text) if text.strip() else {}


class SecretText(PlainText):
    """A secret of one line; may be empty. Never shown, but for the tail of a long one."""

    def read(self, value: object) -> Secret:
        if not isinstance(value, str):
            raise WrongValueError(f"expected text in quotes, not {name_of_type(value)}")
        secret = Secret(value)
        if not (value.isascii() and (value.isprintable() or not value)):
            raise WrongValueError(f"expected one line of plain ASCII characters, not {secret.hint()}")
        if value != value.strip():
            raise WrongValueError(f"begins or ends with a space, which HTTP takes away: {secret.hint()}")
        return secret


class WebhookSecret(SecretText):
    """A signing secret as Standard Webhooks writes it: `whsec_` and base64 of 24 to 64 bytes; may be empty."""

    def read(self, value: object) -> Secret:
        secret = super().read(value)
        text = secret.reveal()
        if text and not (text.startswith("whsec_") and 24 <= _decoded_length(text.removeprefix("whsec_")) <= 64):
            raise WrongValueError(
                "expected whsec_ and base64 of 24 to 64 bytes (echo whsec_$(openssl rand -base64 32)), "
                f"not {secret.hint()}"
            )
        return secret


def _decoded_length(text: str) -> int:
    try:
        return len(binascii.a2b_base64(text.encode(), strict_mode=True))
    except binascii.Error:
        return 0


class Language(PlainText):
    """The code of a language, such as `es`; may be empty."""

    def read(self, value: object) -> str:
        wanted = 'the code of a language such as "es", or "" to detect it'
        text = text_of(value, wanted).lower()
        if text and not re.fullmatch(r"[a-z]{2,3}", text):
            raise WrongValueError(f"expected {wanted}, not {shown(value)}")
        return text


class Country(PlainText):
    """The code of a country, such as `CO`; may be empty."""

    def read(self, value: object) -> str:
        wanted = 'the code of a country such as "CO", or "" for no holidays'
        text = text_of(value, wanted).upper()
        if text and not _has_holidays(text):
            raise WrongValueError(f"expected {wanted}, not {shown(value)}")
        return text


def _has_holidays(country: str) -> bool:
    import holidays  # 0.1 s: only a configuration that names a country pays for it

    return len(country) == 2 and country in holidays.list_supported_countries()


class DayTime(PlainText):
    """A time of day, `HH:MM`; None when empty."""

    def read(self, value: object) -> time | None:
        if isinstance(value, time):
            return value
        match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", value, re.ASCII) if isinstance(value, str) else None
        if match:
            return time(int(match[1]), int(match[2]))
        if value == "":
            return None
        raise WrongValueError(f'expected a time of day such as "21:00", or "" for none, not {shown(value)}')


@dataclass(frozen=True, slots=True)
class FilePath(PlainText):
    """The path of a file, not empty."""

    wanted: str = "the path of a file"

    def read(self, value: object) -> Path:
        text = text_of(value, self.wanted)
        if not text.strip() or text.endswith("/"):
            raise WrongValueError(f"expected {self.wanted}")
        return Path(text).expanduser() if text.startswith("~/") else Path(text)


class OptionalPath(PlainText):
    """The path of a file; None when empty."""

    def read(self, value: object) -> Path | None:
        return None if value == "" else FilePath('the path of a file, or "" for none').read(value)


class TimeZone(PlainText):
    """The name of a time zone, as the IANA data base writes it."""

    def read(self, value: object) -> str:
        name = text_of(value, 'the name of a time zone such as "America/Bogota"')
        if _is_time_zone(name):
            return name
        from zoneinfo import available_timezones

        known = available_timezones()
        if not known:
            raise WrongValueError("no time zone data on this machine: install the tzdata package")
        # Cities are compared too, so "Bogota" finds its continent.
        near = nearest_name(name.replace("/", "."), sorted(zone.replace("/", ".") for zone in known))
        nearest = _spelled_alike(name, known) or (near.replace(".", "/") if near else None)
        raise WrongValueError(f'expected the name of a time zone such as "America/Bogota", not {shown(name)}', nearest)


def _is_time_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    if not re.fullmatch(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", name, re.ASCII) or name == "Factory":
        return False
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _spelled_alike(name: str, known: set[str]) -> str | None:
    wanted = name.lower().replace(" ", "_")
    alike = (zone for zone in sorted(known) if wanted in (zone.lower(), zone.lower().rpartition("/")[2]))
    return next(alike, None)


def json_of(text: str) -> object:
    """Returns what JSON text says. Raises `WrongValueError`, which shows nothing of the text."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise WrongValueError("expected JSON") from None
    return value
