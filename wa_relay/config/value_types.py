"""The types of values that keys accept, beyond what pydantic has.

A validator raises `WrongValueError` with what is expected. A URL or a secret may hold a password, so their messages
never show what was written.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from datetime import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from wa_relay.config.faults import WrongValueError, nearest_name
from wa_relay.config.secret import Secret

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Also lone surrogates: what the environment makes of bytes that are not UTF-8."""
SHOWN_LENGTH = 40


def name_of_type(value: object) -> str:
    """Names the type of a value, without showing the value."""
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


def _text(value: str) -> str:
    if CONTROL.search(value):
        raise WrongValueError("should be UTF-8 without control characters")
    return value


Text = Annotated[str, AfterValidator(_text)]
"""Any text; may be empty."""


def matching(pattern: str, wanted: str) -> Any:
    """Limits a text to a pattern, which `wanted` describes. What was written may be a secret in the wrong place."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, _text(value), re.ASCII):
            raise WrongValueError(f"should be {wanted}")
        return value

    return AfterValidator(check)


def _id(prefix: str, wanted: str) -> Any:
    return matching(rf"({prefix}[0-9A-Za-z_-]+)?", wanted)


AccountSid = Annotated[str, _id("AC", "an account SID: AC and its digits")]
ServiceSid = Annotated[str, _id("MG", "a messaging service SID: MG and its digits")]
ContentSid = Annotated[str, _id("HX", "a content SID: HX and its digits")]
AgentId = Annotated[str, _id("", "the id of an agent")]
ToolName = Annotated[str, _id("", "the name of a client tool")]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


AnyCase = BeforeValidator(_lower)
"""For a `Literal` in small letters: accepts capitals too."""
Language = Annotated[str, matching(r"([a-z]{2,3})?", 'the code of a language such as "es", or ""'), AnyCase]


def _country(value: str) -> str:
    country = value.upper()
    if country and not _has_holidays(country):
        raise WrongValueError(f'should be the code of a country such as "CO", or "" for none, not {shown(value)}')
    return country


def _has_holidays(country: str) -> bool:
    # 0.1 s: only a configuration that names a country pays for it.
    import holidays

    return len(country) == 2 and country in holidays.list_supported_countries()


Country = Annotated[str, AfterValidator(_country)]


def between(low: float, high: float) -> Any:
    """Limits a number; both ends are accepted."""
    return Field(ge=low, le=high)


def above(low: float, high: float) -> Any:
    """Limits a number; the lower end is not accepted."""
    return Field(gt=low, le=high)


def list_of(wanted: str) -> BeforeValidator:
    """Makes a tuple of a list. Anything else is refused."""

    def convert(value: object) -> object:
        if not isinstance(value, list | tuple):
            raise WrongValueError(f"should be a list of {wanted}, not {name_of_type(value)}")
        return tuple(value)

    return BeforeValidator(convert)


def _word(value: str) -> str:
    if not _text(value).strip():
        raise WrongValueError("should not be empty")
    return value.strip()


Word = Annotated[str, AfterValidator(_word)]
Keywords = Annotated[tuple[Word, ...], list_of("keywords")]
AgentIds = Annotated[tuple[Word, ...], list_of("agent ids")]

VARIABLES = 'a table of texts such as { "1" = "{client_name}" }'


def _variables(value: Mapping[str, str]) -> Mapping[str, str]:
    if "" in value:
        raise WrongValueError(f"should be {VARIABLES}: a variable has no name")
    return value


Variables = Annotated[dict[str, Text], AfterValidator(_variables)]
"""The variables of a template; an environment variable writes them as JSON."""


def _secret(value: object) -> Secret:
    if not isinstance(value, str):
        raise WrongValueError(f"should be text in quotes, not {name_of_type(value)}")
    secret = Secret(value)
    if not (value.isascii() and (value.isprintable() or not value)):
        raise WrongValueError(f"should be one line of plain ASCII characters, not {secret.hint()}")
    if value != value.strip():
        raise WrongValueError(f"begins or ends with a space, which HTTP takes away: {secret.hint()}")
    return secret


def _webhook_secret(value: object) -> Secret:
    secret = _secret(value)
    encoded = secret.reveal().removeprefix("whsec_")
    if secret and not (secret.reveal() != encoded and 24 <= _decoded_length(encoded) <= 64):
        raise WrongValueError(
            "should be whsec_ and base64 of 24 to 64 bytes (echo whsec_$(openssl rand -base64 32)), "
            f"not {secret.hint()}"
        )
    return secret


def _decoded_length(text: str) -> int:
    try:
        return len(binascii.a2b_base64(text.encode(), strict_mode=True))
    except binascii.Error:
        return 0


def _database_url(value: object) -> Secret:
    # Not even its end is shown: it may be that of a password.
    if not isinstance(value, str) or not re.fullmatch(r"(postgresql://[!-~]*)?", value):
        raise WrongValueError('should be a URL such as "postgresql://relay@db.internal/relay"')
    return Secret(value)


SecretText = Annotated[Secret, PlainValidator(_secret)]
"""A secret of one line; may be empty. Messages show only the end of a long one."""
WebhookSecret = Annotated[Secret, PlainValidator(_webhook_secret)]
"""A signing secret as Standard Webhooks writes it."""
DatabaseUrl = Annotated[Secret, PlainValidator(_database_url)]
"""The URL of a PostgreSQL database; a secret, because it may hold a password."""


def _day_time(value: object) -> time | None:
    if isinstance(value, time):
        return value
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", value, re.ASCII) if isinstance(value, str) else None
    if match:
        return time(int(match[1]), int(match[2]))
    if value == "":
        return None
    raise WrongValueError(f'should be a time of day such as "21:00", or "" for none, not {shown(value)}')


DayTime = Annotated[time | None, PlainValidator(_day_time)]


def _path(value: object, *, optional: bool) -> Path | None:
    if value == "" and optional:
        return None
    wanted = 'the path of a file, or "" for none' if optional else "the path of a file"
    if not isinstance(value, str):
        raise WrongValueError(f"should be {wanted}, not {name_of_type(value)}")
    if not _text(value).strip() or value.endswith("/"):
        raise WrongValueError(f"should be {wanted}")
    return Path(value).expanduser() if value.startswith("~/") else Path(value)


FilePath = Annotated[Path, PlainValidator(partial(_path, optional=False))]
OptionalPath = Annotated[Path | None, PlainValidator(partial(_path, optional=True))]


def _time_zone(name: str) -> str:
    if _is_time_zone(_text(name)):
        return name
    known = available_timezones()
    if not known:
        raise WrongValueError("no time zone data on this machine: install the tzdata package")
    # Cities are compared too, so "Bogota" finds its continent.
    near = nearest_name(name.replace("/", "."), sorted(zone.replace("/", ".") for zone in known))
    nearest = _spelled_alike(name, known) or (near.replace(".", "/") if near else None)
    raise WrongValueError(f'should be a time zone such as "America/Bogota", not {shown(name)}', nearest)


def _is_time_zone(name: str) -> bool:
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


TimeZone = Annotated[str, AfterValidator(_time_zone)]
