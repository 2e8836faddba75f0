"""What all parts of the ElevenLabs stand-in share: the world, what is planned, the switches, the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wa_relay.model import Moment
from wa_relay.standins.elevenlabs.faults import FaultPlan
from wa_relay.standins.elevenlabs.scenarios import Scenario
from wa_relay.standins.elevenlabs.state import Conversation, World
from wa_relay.standins.elevenlabs.talk import Asked, default_answer, from_table
from wa_relay.standins.journal import Journal

Answers = Callable[[Asked], str] | Mapping[str, str]


@dataclass(slots=True)
class Settings:
    """The switches of the stand-in; all may be changed while it runs. Times in seconds.

    `gateway` offers the message endpoint that the real service lacks. `error_events` tells the reason of a close in an
    event before it. `webhook_url` gets the post-call webhooks: after each finished call with `webhook_calls`, after
    each text session with `webhook_texts`; `webhook_retries` are the pauses before further attempts, none by default.
    `speech_text` is what every voice note says.
    """

    gateway: bool = False
    error_events: bool = True
    ping_seconds: float = 1.5
    pong_seconds: float = 10.0
    idle_seconds: float = 60.0
    signature_seconds: float = 900.0
    initiation_seconds: float = 10.0
    webhook_url: str | None = None
    webhook_calls: bool = False
    webhook_texts: bool = False
    webhook_retries: tuple[float, ...] = ()
    speech_text: str = "Sí me interesa, ¿qué precio tiene?"


class ScenarioPlan:
    """What comes of the next user messages: those planned first, then the agent's own, then the default."""

    def __init__(self) -> None:
        self.default = Scenario("plain")
        self.by_agent: dict[str, Scenario] = {}
        self._planned: deque[Scenario] = deque()

    def next(self, scenario: Scenario, times: int = 1) -> None:
        """Plays the scenario for the next user messages."""
        self._planned.extend([scenario] * times)

    def clear(self) -> None:
        """Forgets what was planned; the default stays."""
        self._planned.clear()
        self.by_agent.clear()

    def take(self, agent_id: str) -> Scenario:
        """The scenario for a user message to that agent."""
        if self._planned:
            return self._planned.popleft()
        return self.by_agent.get(agent_id, self.default)


class Abortable(Protocol):
    """A session that can be broken off."""

    def abort(self) -> None:
        """Breaks the connection."""
        ...


def _nobody_cares(conversation: Conversation) -> None:
    del conversation


@dataclass(slots=True)
class Stage:
    """One stand-in's shared state. `clock` tells Unix seconds."""

    api_key: str
    webhook_secret: str
    clock: Callable[[], Moment]
    journal: Journal
    world: World = field(default_factory=World)
    faults: FaultPlan = field(default_factory=FaultPlan)
    scenarios: ScenarioPlan = field(default_factory=ScenarioPlan)
    settings: Settings = field(default_factory=Settings)
    answers: Answers = default_answer
    sessions: set[Abortable] = field(default_factory=set)
    text_over: Callable[[Conversation], None] = _nobody_cares

    def answer(self, asked: Asked) -> str:
        """What an agent says to that."""
        return self.answers(asked) if callable(self.answers) else from_table(self.answers)(asked)
