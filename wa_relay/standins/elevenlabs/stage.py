"""The state that all parts of the ElevenLabs stand-in share: the world, the plans, the switches, the journal."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from wa_relay.model import Moment
from wa_relay.standins.elevenlabs.faults import FaultPlan
from wa_relay.standins.elevenlabs.scenarios import Scenario
from wa_relay.standins.elevenlabs.state import Conversation, World
from wa_relay.standins.elevenlabs.talk import Asked, File, default_answer, from_table
from wa_relay.standins.journal import Journal

Answers = Callable[[Asked], str] | Mapping[str, str]


@dataclass(slots=True)
class Settings:
    """The switches of the stand-in; all may be changed while it runs. Times in seconds.

    `gateway` offers the message endpoint that the real service lacks. `error_events` gives the reason of a close in an
    event before it. `webhook_url` gets the post-call webhooks: after each finished call with `webhook_calls`, after
    each text session with `webhook_texts`; `webhook_retries` are the pauses before further sends, none by default.
    `speech_text` is the transcript of a recording without a planned one, in `speech_language` (ISO 639-3), and
    `speech_seconds` long; it is transcribed after `speech_delay`. `largest_file` is in bytes.

    `most_sessions` are the text sessions that may be open at once (None: any number). Beyond them `full` decides:
    `"429"` refuses the signed URL, and closes a session without one with 3008; `"3008"` closes after the first message;
    `"queue"` holds the session (`queue_status`), for `queue_seconds` at most, then closes with 4300.

    `missing_permissions` are those that the key lacks (`convai_read`, `convai_write`, `speech_to_text`,
    `workspace_read`): what needs one is refused with `permission_status`. For `details_lag` seconds after its end a
    call's details are 404. `clock_skew` is added to the `Date` header.
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
    speech_language: str = "spa"
    speech_seconds: float = 3.2
    speech_delay: float = 0.0
    largest_file: int = 20_000_000
    most_sessions: int | None = None
    full: Literal["429", "3008", "queue"] = "429"
    queue_seconds: float = 60.0
    missing_permissions: tuple[str, ...] = ()
    permission_status: int = 401
    details_lag: float = 0.0
    clock_skew: float = 0.0


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of a recording. `language` is ISO 639-3, an empty text means silence."""

    text: str
    language: str = "spa"
    seconds: float = 3.2


class ScenarioPlan:
    """Chooses the answers to user messages: planned ones first, then the agent's own, then the default."""

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


class Lobby:
    """Counts the sessions that are open, and queues those beyond the limit. `peak` is the most at once."""

    def __init__(self) -> None:
        self.open = self.peak = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def full(self, most: int | None) -> bool:
        """True if no further session may begin."""
        return most is not None and self.open >= most

    def enter(self) -> None:
        """Counts a session that begins."""
        self.open += 1
        self.peak = max(self.peak, self.open)

    def leave(self) -> None:
        """Frees the place of a session for the one that has waited longest."""
        self.open -= 1
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self.enter()
                waiting.set_result(None)
                return

    async def wait(self, seconds: float) -> bool:
        """Waits for a place, which is counted then; False after that many seconds."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait_for(place, seconds)
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise
        return True


def _nobody_cares(conversation: Conversation) -> None:
    del conversation


@dataclass(slots=True)
class Stage:
    """One stand-in's shared state. `clock` gives Unix seconds."""

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
    live: dict[str, Conversation] = field(default_factory=dict)
    """The text sessions that are open, by their conversation's id."""
    lobby: Lobby = field(default_factory=Lobby)
    files: dict[str, File] = field(default_factory=dict)
    transcripts: dict[str, Transcript] = field(default_factory=dict)
    """The transcripts of recordings, by the SHA-256 of their bytes in hex."""
    paid: Counter[str] = field(default_factory=Counter)
    """The number of transcriptions of each recording, by the same."""

    def answer(self, asked: Asked) -> str:
        """Returns the agent's answer to that."""
        return self.answers(asked) if callable(self.answers) else from_table(self.answers)(asked)
