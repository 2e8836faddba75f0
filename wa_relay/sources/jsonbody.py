"""The JSON reader of our own routes: strict, and its refusals name the place. Pure.

Python's decoder keeps the last of two equal keys, reads NaN and infinities, and accepts text that
can't be stored. With each of these, two readers of one body would see two different calls.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from wa_relay.model import PayloadError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# pydantic_core.from_json is faster and does not replace this: of two equal keys it silently keeps the last, 1e999
# becomes an infinity, and its errors have a column instead of a field's path.

DEPTH_LIMIT = 64
DIGITS_LIMIT = 40


@dataclass(frozen=True, slots=True)
class _Invalid:
    """Marks something invalid in the decoded tree until its path is known."""

    problem: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A path through the tree, written out only for a refusal."""

    name: str | int
    outer: _Place | None

    def __str__(self) -> str:
        return f"{self.outer}.{self.name}" if self.outer else str(self.name)


def parse_object(body: bytes) -> Mapping[str, Json]:
    """Reads a JSON object in UTF-8, with or without a byte order mark; NULs in texts are removed.

    Raises PayloadError (`invalid_json`) for anything else: another encoding, something other than
    an object, duplicate keys, NaN, numbers beyond a float or 40 digits, lone surrogates, more than
    64 levels.
    """
    try:
        tree = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_constant=lambda _: _Invalid("must be a finite number"),
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError:
        raise _refused("body must be UTF-8") from None
    except RecursionError:
        raise _refused("JSON is nested too deeply") from None
    except ValueError as error:
        raise _refused(f"body must be JSON: {error}") from None
    if isinstance(tree, _Invalid):
        raise _refused(tree.problem)
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
            return _Invalid(f"duplicate key {json.dumps(name[:80])}")
        if not _storable(name):
            return _Invalid(f"key with a NUL or a lone surrogate: {json.dumps(name[:80])}")
        members[name] = value
    return members


def _float(digits: str) -> object:
    number = float(digits)
    return number if math.isfinite(number) else _Invalid("must be a finite number")


def _int(digits: str) -> object:
    return int(digits) if len(digits) <= DIGITS_LIMIT else _Invalid(f"must have at most {DIGITS_LIMIT} digits")


def _storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


def _checked(value: object, place: _Place, depth: int) -> Json:
    if isinstance(value, _Invalid):
        raise _refused(value.problem, place)
    if isinstance(value, str):
        text = value.replace("\0", "")
        if not _storable(text):
            raise _refused("text has a lone surrogate, which UTF-8 can't hold", place)
        return text
    if isinstance(value, list | dict) and depth >= DEPTH_LIMIT:
        raise _refused("JSON is nested too deeply")
    if isinstance(value, list):
        return [_checked(entry, _Place(index, place), depth + 1) for index, entry in enumerate(value)]
    if isinstance(value, dict):
        return {name: _checked(entry, _Place(name, place), depth + 1) for name, entry in value.items()}
    return value if isinstance(value, bool | int | float) else None
