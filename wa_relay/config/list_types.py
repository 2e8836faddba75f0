"""The types of values that hold several parts: days and their hours, conditions, names of alerts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, PlainValidator

from wa_relay.basics import WEEKDAYS, Scalar, Span
from wa_relay.config.faults import WrongValueError, nearest_name
from wa_relay.config.value_types import Word, list_of, name_of_type, shown

ALERTS = (
    "handover.wanted",
    "send.uncertain",
    "account.held",
    "burst.held",
    "template.stopped",
    "poller.failing",
    "agent.failing",
    "conversation.muted",
    "handover.unanswered",
    "webhook.failing",
    "sender.limited",
    "disk.low",
)
"""Every type of alert."""

SPAN = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01]?[0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
DAY = 24 * 60


def _alert(word: str) -> str:
    if word not in ALERTS:
        raise WrongValueError(f"should be one of {', '.join(ALERTS)}; not {shown(word)}", nearest_name(word, ALERTS))
    return word


def _conditions(value: object) -> Mapping[str, tuple[Scalar, ...]]:
    if not isinstance(value, dict):
        raise WrongValueError(f'should be a table such as {{ interest = ["yes", "maybe"] }}, not {name_of_type(value)}')
    return {name: _accepted(name, accepted) for name, accepted in value.items()}


def _accepted(name: str, accepted: object) -> tuple[Scalar, ...]:
    """Returns the values that a condition accepts. A single value stands for a list of one."""
    quoted = json.dumps(name, ensure_ascii=not name.isprintable())
    values = accepted if isinstance(accepted, list | tuple) else [accepted]
    if not name.strip():
        raise WrongValueError("the name of a collected value is empty")
    if not values:
        raise WrongValueError(f"{quoted} accepts no value, so no call would match: list one or leave it out")
    for each in values:
        if not isinstance(each, str | bool | int | float) or (isinstance(each, float) and not math.isfinite(each)):
            wanted = "texts, numbers, true or false, or a list of them"
            raise WrongValueError(f"{quoted} should have {wanted}, not {name_of_type(each)}")
    return tuple(values)


def _days(value: object) -> Mapping[str, tuple[Span, ...]]:
    if not isinstance(value, dict):
        wanted = 'should be a table such as { sat = "08:00-12:00", sun = "" }'
        raise WrongValueError(f"{wanted}, not {name_of_type(value)}")
    for name in value:
        if name not in WEEKDAYS:
            quoted = json.dumps(name, ensure_ascii=not name.isprintable())
            nearest = nearest_name(name, WEEKDAYS) or next((day for day in WEEKDAYS if day == name[:3].lower()), None)
            raise WrongValueError(f"{quoted} is not a day: the days are {', '.join(WEEKDAYS)}", nearest)
    return {day: _spans(day, text) for day, text in value.items()}


def _spans(day: str, text: object) -> tuple[Span, ...]:
    wanted = f'{day} should have hours such as "08:00-12:00,14:00-18:00", or "" for none'
    if not isinstance(text, str):
        raise WrongValueError(f"{wanted}, not {name_of_type(text)}")
    spans = tuple(_span(part.strip(), wanted) for part in text.split(",")) if text.strip() else ()
    if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
        raise WrongValueError(f"{wanted}: the hours overlap or are not in order")
    return spans


def _span(text: str, wanted: str) -> Span:
    match = SPAN.fullmatch(text)
    if not match:
        raise WrongValueError(f"{wanted}, not {shown(text)}")
    first, last = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if last > DAY:
        raise WrongValueError(f"{wanted}: a day ends at 24:00, not {shown(text)}")
    if first >= last:
        raise WrongValueError(f"{wanted}: {text} ends before it begins; write the hours after midnight under their day")
    return first, last


def hours_text(spans: tuple[Span, ...]) -> str:
    """Returns the hours of a day as they are written in the configuration."""
    return ",".join(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in spans)


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


Alert = Annotated[Word, AfterValidator(_alert)]
AlertNames = Annotated[tuple[Alert, ...], list_of("alerts"), AfterValidator(_once)]
"""Some of `ALERTS`; repeated ones count once."""
Conditions = Annotated[Mapping[str, tuple[Scalar, ...]], PlainValidator(_conditions)]
"""For each collected value those that are accepted."""
Days = Annotated[Mapping[str, tuple[Span, ...]], PlainValidator(_days)]
"""For a day of the week the spans in which openings may go out."""
