"""JSON as our own routes take it: one reading of every body, or a refusal that names the place. Pure.

Python's decoder keeps the last of two equal keys, reads NaN and infinities, and passes text that
no store takes; each of these would let two readers of one body see two different calls.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from wa_relay.model import PayloadError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

DEPTH_LIMIT = 64
DIGITS_LIMIT = 40


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands in the decoded tree where something can't be taken, so that its place can be named."""

    wanted: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A path through the tree, put into words only when there is a fault."""

    name: str | int
    outer: _Place | None

    def __str__(self) -> str:
        return f"{self.outer}.{self.name}" if self.outer else str(self.name)


def parse_object(body: bytes) -> Mapping[str, Json]:
    """Reads a JSON object in UTF-8, with or without a byte order mark; NULs in texts are taken out.

    Raises PayloadError (`invalid_json`) for anything else: another encoding, no object, a key
    twice, NaN, numbers that no float or 40 digits hold, lone surrogates, more than 64 levels.
    """
    try:
        tree = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=lambda _: _Fault("a finite number is wanted"),
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError:
        raise _refused("body must be UTF-8") from None
    except RecursionError:
        raise _refused("JSON nested too deep") from None
    except ValueError as error:
        raise _refused(f"body must be JSON: {error}") from None
    if isinstance(tree, _Fault):
        raise _refused(tree.wanted)
    if not isinstance(tree, dict):
        raise _refused("body must be a JSON object")
    return {name: _checked(value, _Place(name, None), 1) for name, value in tree.items()}


def _refused(message: str, place: _Place | None = None) -> PayloadError:
    fields = [(str(place), message)] if place else []
    return PayloadError(f"{place}: {message}" if place else message, code="invalid_json", fields=fields)


def _object(pairs: list[tuple[str, object]]) -> object:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            return _Fault(f"duplicate key {json.dumps(name[:80])}")
        if not _storable(name):
            return _Fault(f"a key that is no text: {json.dumps(name[:80])}")
        members[name] = value
    return members


def _float(digits: str) -> object:
    number = float(digits)
    return number if math.isfinite(number) else _Fault("a finite number is wanted")


def _int(digits: str) -> object:
    return (
        int(digits) if len(digits) <= DIGITS_LIMIT else _Fault(f"a number of at most {DIGITS_LIMIT} digits is wanted")
    )


def _storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


def _checked(value: object, place: _Place, depth: int) -> Json:
    if isinstance(value, _Fault):
        raise _refused(value.wanted, place)
    if isinstance(value, str):
        text = value.replace("\0", "")
        if not _storable(text):
            raise _refused("text with a lone surrogate, which is no UTF-8", place)
        return text
    if isinstance(value, list | dict) and depth >= DEPTH_LIMIT:
        raise _refused("JSON nested too deep")
    if isinstance(value, list):
        return [_checked(entry, _Place(index, place), depth + 1) for index, entry in enumerate(value)]
    if isinstance(value, dict):
        return {name: _checked(entry, _Place(name, place), depth + 1) for name, entry in value.items()}
    return value if isinstance(value, bool | int | float) else None
