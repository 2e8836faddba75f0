"""The question that one session puts to the agent, with its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wa_relay.agent.greeting import UNKNOWN, Greeting
from wa_relay.model import AgentFile, Moment, Scalar


@dataclass(frozen=True, slots=True)
class Ask:
    """The question of one session, and the times after which it gives up.

    `settle` is the quiet, in seconds, after which an agent that announces no end has answered;
    `announces_end` is true for an agent whose events include `agent_response_complete`.
    `deadline` is on the clock of `now`. `text_only` asks for that override: only for an agent that allows it.
    `files` are given to the session before the question is put; `has_words` is false for a text that holds only notes.
    `handover_tool` is the client tool that requests a person; empty for none.
    """

    text: str
    settle: float
    deadline: Moment
    context: str = ""
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    greeting: Greeting = UNKNOWN
    announces_end: bool = False
    text_only: bool = False
    files: tuple[AgentFile, ...] = ()
    has_words: bool = True
    handover_tool: str = ""
