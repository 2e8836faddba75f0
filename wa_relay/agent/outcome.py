"""How one session with the agent ends: the values between the deciding and the carrying half."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answered:
    """The agent spoke. `text` is what it wrote, its several replies parted by a blank line."""

    text: str


@dataclass(frozen=True, slots=True)
class Silent:
    """The session brought no text and nothing is broken: a fresh session may be tried at once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The session broke. `override_refused` is true when the agent forbids the override that was sent."""

    reason: str
    override_refused: bool = False


Outcome = Answered | Silent | Failed
