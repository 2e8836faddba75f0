"""Distinguishes an agent's greeting from an answer. Pure.

An agent with a first message sends it on connect, before the customer's question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wa_relay.model import Scalar

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_FEWEST_LITERALS = 8  # a pattern with less literal text would also match answers


@dataclass(frozen=True, slots=True)
class Greeting:
    """The facts about the greeting. `expected` is None when the agent's settings could not be read."""

    expected: bool | None
    pattern: re.Pattern[str] | None = None

    def matches(self, text: str) -> bool:
        """True if `text` is the greeting, its variables filled in."""
        return self.pattern is not None and self.pattern.fullmatch(squeezed(text)) is not None


UNKNOWN = Greeting(expected=None)
NONE = Greeting(expected=False)


def greeting_of(first_message: str | None, variables: Mapping[str, Scalar]) -> Greeting:
    """The greeting of an agent whose settings say `first_message`, in a session with `variables`.

    A variable whose value only ElevenLabs knows (`system__…`) matches any text.
    """
    if not first_message or not first_message.strip():
        return NONE
    pieces = _PLACEHOLDER.split(squeezed(first_message))
    literals = sum(len(piece.strip()) for piece in pieces[::2])
    pattern, wildcards = "", 0
    for position, piece in enumerate(pieces):
        if position % 2 == 0:
            pattern += re.escape(piece)
        elif piece in variables:
            value = squeezed(_shown(variables[piece]))
            pattern += re.escape(value)
            literals += len(value)
        else:
            pattern += ".*?"
            wildcards += 1
    too_loose = wildcards > 0 and literals < _FEWEST_LITERALS
    return Greeting(expected=True, pattern=None if too_loose else re.compile(pattern.strip(), re.DOTALL))


def squeezed(text: str) -> str:
    """`text` with every run of white space as one space, none at the ends."""
    return " ".join(text.split())


def _shown(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
