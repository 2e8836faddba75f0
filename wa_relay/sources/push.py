"""`POST /api/call-completed`: the backend's report of a finished call, read into a `Call`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from wa_relay.elevenlabs.variables import variables_from
from wa_relay.model import FINAL_OUTCOMES, Call, Moment, PayloadError
from wa_relay.phone import e164
from wa_relay.sources.jsonbody import Json

EARLIEST = 1_577_836_800.0  # 2020-01-01: no call that could be reported is older
LEAD = 300.0
"""Seconds by which the backend's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class NotFinished:
    """A report whose status is not final: the call is not over, and stays unknown."""

    key: str


PushReport = Call | NotFinished


def _problem(message: str) -> PydanticCustomError:
    # Passed as a value, since pydantic reads braces in a message as placeholders.
    return PydanticCustomError("problem", "{message}", {"message": message})


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _problem("must be a non-empty text")
    return value.strip()


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable() or " " in value:
        raise _problem("must be an id of 1 to 255 printable characters without spaces")
    return value


def _phone(value: object) -> str:
    if not isinstance(value, str) or e164(value) is None:
        raise _problem("must be E.164: + and 8 to 15 digits, the first not 0, as in +573138539155")
    return value


def _optional_text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _problem("must be a text or null")
    return (value or "").strip() or None


def _optional_identifier(value: object) -> str | None:
    return None if value in (None, "") else _identifier(value)


def _label(value: object) -> str | None:
    """Reads an id of the backend's own tables, which may be a number, as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise _problem("must be a text, a number or null")
    return None if value is None else str(value).strip() or None


def _object(value: object) -> Mapping[str, object]:
    if value is not None and not isinstance(value, Mapping):
        raise _problem("must be an object")
    return value or {}


def _seconds(value: object) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _problem("must be a number of seconds since 1970 (UTC)")
    return None if value is None else float(value)


_Text = Annotated[str, BeforeValidator(_text)]
_Identifier = Annotated[str, BeforeValidator(_identifier)]
_OptionalText = Annotated[str | None, BeforeValidator(_optional_text)]
_OptionalIdentifier = Annotated[str | None, BeforeValidator(_optional_identifier)]
_Label = Annotated[str | None, BeforeValidator(_label)]
_Variables = Annotated[Mapping[str, Any], BeforeValidator(_object), AfterValidator(variables_from)]


@dataclass(frozen=True, slots=True)
class _Recipient:
    phone_number: Annotated[str, BeforeValidator(_phone)]
    status: _Text
    id: _OptionalIdentifier = None
    conversation_id: _OptionalIdentifier = None
    variables: _Variables = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Metadata:
    client_name: _OptionalText = None
    client_id: _Label = None
    group_id: _Label = None
    group_name: _OptionalText = None


@dataclass(frozen=True, slots=True)
class _Report:
    agent_id: _Identifier
    recipient: _Recipient
    batch_id: _OptionalIdentifier = None
    batch_name: _OptionalText = None
    agent_name: _OptionalText = None
    conversation_id: _OptionalIdentifier = None
    ended_at_unix: Annotated[float | None, BeforeValidator(_seconds)] = None
    call_metadata: Annotated[_Metadata, BeforeValidator(_object)] = field(default_factory=_Metadata)


_reports = TypeAdapter(_Report)


def parse(body: Mapping[str, Json], now: Moment, raw: str) -> PushReport:
    """Reads the backend's payload; `raw` is the body as it arrived, kept with the call.

    The call ended at `ended_at_unix`, or else when the report arrives. Unknown fields are allowed.
    Raises PayloadError (`invalid_payload`) with every invalid field at once.
    """
    no_recipient = body.get("recipient") is None
    if no_recipient:
        # With an empty one in its place, the fields that it must have are listed too.
        body = {**body, "recipient": {}}
    report, problems = _read(body)
    if no_recipient:
        problems.insert(0, ("recipient", "is missing"))
    ended_at = _ended_at(body, now, problems)
    key = _key(body, problems)
    if report is None or problems or key is None:
        raise PayloadError(_summary(problems), code="invalid_payload", fields=problems)
    if report.recipient.status not in FINAL_OUTCOMES:
        return NotFinished(key)
    recipient, metadata = report.recipient, report.call_metadata
    return Call(
        key=key,
        phone=recipient.phone_number,
        agent_id=report.agent_id,
        outcome=recipient.status,
        source="push",
        ended_at=now if ended_at is None else ended_at,
        agent_name=report.agent_name,
        batch_id=report.batch_id,
        batch_name=report.batch_name,
        recipient_id=recipient.id,
        client_name=metadata.client_name,
        client_id=metadata.client_id,
        group_id=metadata.group_id,
        group_name=metadata.group_name,
        variables=recipient.variables,
        raw=raw,
    )


def _read(body: Mapping[str, Json]) -> tuple[_Report | None, list[tuple[str, str]]]:
    try:
        return _reports.validate_python(body), []
    except ValidationError as error:
        return None, [(".".join(map(str, one["loc"])), _message(one)) for one in error.errors()]


def _message(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "problem":
            return str(error["msg"])
        case "missing":
            return "is missing"
        case _:
            return "must be an object"


def _ended_at(body: Mapping[str, Json], now: Moment, problems: list[tuple[str, str]]) -> Moment | None:
    reported = body.get("ended_at_unix")
    if isinstance(reported, bool) or not isinstance(reported, int | float):
        return None
    if EARLIEST <= reported <= now + LEAD and math.isfinite(reported):
        return float(reported)
    problems.append(("ended_at_unix", "must be seconds since 1970 (UTC), from 2020 to 5 minutes from now"))
    return None


def _key(body: Mapping[str, Json], problems: list[tuple[str, str]]) -> str | None:
    """Returns the conversation id, in the recipient or beside it; two different ones are a problem."""
    recipient = body.get("recipient")
    inner = recipient.get("conversation_id") if isinstance(recipient, dict) else None
    outer = body.get("conversation_id")
    if inner and outer and inner != outer:
        problems.append(("conversation_id", "differs from recipient.conversation_id"))
    if not inner and not outer and isinstance(recipient, dict):
        problems.append(("recipient.conversation_id", "is missing, and there is no conversation_id beside recipient"))
    key = inner or outer
    return key if isinstance(key, str) else None


def _summary(problems: list[tuple[str, str]]) -> str:
    return "the report is invalid: " + "; ".join(f"{path} {problem}" for path, problem in problems)
