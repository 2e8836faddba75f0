"""The ends of a session with the agent: the values between the deciding and the carrying half."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answered:
    """The agent answered. `text` is what it wrote; several replies are joined by a blank line."""

    text: str


@dataclass(frozen=True, slots=True)
class ChoseSilence:
    """The agent skipped its turn or ended the session without a text. That is its answer."""


@dataclass(frozen=True, slots=True)
class NothingReadable:
    """The agent was not asked: it could take none of the files, and the turn has no text."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The session brought no text, and nothing is broken: a fresh session may be tried at once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The session broke.

    `override_refused` is true when the agent forbids the override that was sent; `no_capacity` when ElevenLabs had
    no room for the session.
    """

    reason: str
    override_refused: bool = False
    no_capacity: bool = False


SessionEnd = Answered | ChoseSilence | NothingReadable | NoAnswer | Failed
