"""The kinds of value that hold several parts: networks, senders, days, conditions, events."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from wa_relay.config.addresses import Sender
from wa_relay.config.faults import WrongValueError, nearest_name
from wa_relay.config.kinds import Kind, Number, Words, json_of, name_of_type, shown
from wa_relay.model import WEEKDAYS, Scalar, Span

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SPAN = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01]?[0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class SenderNumber:
    """A further WhatsApp number: `whatsapp:+…`, the agents whose calls begin there, its rate at Twilio."""

    number: str
    agent_ids: tuple[str, ...] = ()
    messages_per_second: float = 80.0


class Networks:
    """A list of addresses and networks; an environment variable separates them with commas."""

    def read(self, value: object) -> tuple[Network, ...]:
        return tuple(map(self._network, Words("addresses or networks").read(value)))

    def _network(self, text: str) -> Network:
        try:
            return ipaddress.ip_network(text)
        except ValueError:
            raise WrongValueError(
                f'expected addresses or networks such as "127.0.0.1" or "10.0.0.0/8", not {shown(text)}',
                _network_around(text),
            ) from None

    def from_text(self, text: str) -> object:
        return Words("").from_text(text)


def _network_around(text: str) -> str | None:
    """Returns the network that an address with a prefix length lies in: the usual mistake."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of some of the known names; repeated ones count once."""

    names: tuple[str, ...]
    wanted: str

    def read(self, value: object) -> tuple[str, ...]:
        words = Words(self.wanted).read(value)
        for word in words:
            if word not in self.names:
                nearest = nearest_name(word, self.names)
                raise WrongValueError(
                    f"expected a list of {self.wanted}: {', '.join(self.names)}; not {shown(word)}", nearest
                )
        return tuple(dict.fromkeys(words))

    def from_text(self, text: str) -> object:
        return Words("").from_text(text)


class JsonTable:
    """A base for tables: an environment variable writes them as JSON; empty is an empty table."""

    def from_text(self, text: str) -> object:
        return json_of(text) if text.strip() else {}


class Conditions(JsonTable):
    """For each collected value those that are accepted; a single value stands for a list of one."""

    def read(self, value: object) -> Mapping[str, tuple[Scalar, ...]]:
        wanted = 'a table such as { interest = ["yes", "maybe"] }'
        if not isinstance(value, dict):
            raise WrongValueError(f"expected {wanted}, not {name_of_type(value)}")
        return {self._name(name, wanted): self._accepted(name, accepted) for name, accepted in value.items()}

    def _name(self, name: str, wanted: str) -> str:
        if not name.strip():
            raise WrongValueError(f"expected {wanted}: the name of a collected value is empty")
        return name

    def _accepted(self, name: str, accepted: object) -> tuple[Scalar, ...]:
        values = accepted if isinstance(accepted, list) else [accepted]
        if not values:
            raise WrongValueError(f"{_quoted(name)} accepts no value, so no call would match: list one or leave it out")
        for each in values:
            if not isinstance(each, str | bool | int | float) or (isinstance(each, float) and not math.isfinite(each)):
                raise WrongValueError(
                    f"{_quoted(name)}: expected texts, numbers, true or false, or a list of them, "
                    f"not {name_of_type(each)}"
                )
        return tuple(values)


class Days(JsonTable):
    """For a day of the week the spans in which openings may go out, as minutes of that day."""

    def read(self, value: object) -> Mapping[str, tuple[Span, ...]]:
        if not isinstance(value, dict):
            raise WrongValueError(
                f'expected a table such as {{ sat = "08:00-12:00", sun = "" }}, not {name_of_type(value)}'
            )
        days = {}
        for name, text in value.items():
            if name not in WEEKDAYS:
                nearest = nearest_name(name, WEEKDAYS)
                raise WrongValueError(f"{_quoted(name)} is not a day: use {', '.join(WEEKDAYS)}", nearest)
            days[name] = _spans(name, text)
        return days


def _spans(day: str, text: object) -> tuple[Span, ...]:
    wanted = f'{day}: expected hours such as "08:00-12:00,14:00-18:00", or "" for none'
    if not isinstance(text, str):
        raise WrongValueError(f"{wanted}, not {name_of_type(text)}")
    spans = tuple(_span(part.strip(), wanted) for part in text.split(",")) if text.strip() else ()
    for earlier, later in pairwise(spans):
        if later[0] < earlier[1]:
            raise WrongValueError(f"{wanted}: the spans overlap or are not in order")
    return spans


def _span(text: str, wanted: str) -> Span:
    match = SPAN.fullmatch(text)
    if not match:
        raise WrongValueError(f"{wanted}, not {shown(text)}")
    first, last = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if last > DAY:
        raise WrongValueError(f"{wanted}: a day ends at 24:00, not {shown(text)}")
    if first >= last:
        raise WrongValueError(
            f"{wanted}: {text} ends before it begins; write what is after midnight under the next day"
        )
    return first, last


class Senders:
    """The list of `[[sender]]`. No number and no agent may be in it twice."""

    def read(self, value: object) -> tuple[SenderNumber, ...]:
        if not isinstance(value, list):
            raise WrongValueError(
                f"expected a list, not {name_of_type(value)}: write [[sender]] above each; "
                "in the environment a JSON list of objects"
            )
        senders = tuple(self._sender(f"number {place}", each) for place, each in enumerate(value, start=1))
        _refuse_twice("number", [sender.number for sender in senders])
        _refuse_twice("agent", [agent for sender in senders for agent in sender.agent_ids])
        return senders

    def _sender(self, place: str, table: object) -> SenderNumber:
        if not isinstance(table, dict):
            raise WrongValueError(f"{place}: expected a table with a number, not {name_of_type(table)}")
        kinds: dict[str, Kind[object]] = {
            "number": Sender(),
            "agent_ids": Words("agent ids"),
            "messages_per_second": Number(0, 10_000, above=True),
        }
        values: dict[str, object] = {}
        for name, written in table.items():
            if name not in kinds:
                raise WrongValueError(f"{place}: there is no such key as {_quoted(name)}", nearest_name(name, kinds))
            try:
                values[name] = kinds[name].read(written)
            except WrongValueError as wrong:
                raise WrongValueError(f"{place}: {name}: {wrong.message}", wrong.nearest) from None
        if not values.get("number"):
            raise WrongValueError(f'{place}: number is missing: a WhatsApp number such as "whatsapp:+573000000001"')
        return SenderNumber(**values)  # type: ignore[arg-type]

    def from_text(self, text: str) -> object:
        return json_of(text) if text.strip() else []


def _refuse_twice(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WrongValueError(f"{what} {', '.join(twice)} is listed twice: keep one of them")


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=not name.isprintable())
