"""The world of the ElevenLabs stand-in: agents, batches and conversations as they move through time. Pure.

`shapes.py` shows them as the REST API does. Moments are Unix seconds and always given by the caller.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wa_relay.model import Moment, Scalar
from wa_relay.standins.elevenlabs import talk
from wa_relay.standins.elevenlabs.talk import Spoken

DEFAULT_EVENTS = (
    "audio",
    "interruption",
    "agent_response",
    "user_transcript",
    "tentative_user_transcript",
    "conversation_initiation_metadata",
    "ping",
)
"""The default events of an agent: without parts of an answer, and without its end."""

CHAT_EVENTS = (
    *DEFAULT_EVENTS,
    "agent_chat_response_part",
    "agent_response_correction",
    "agent_response_complete",
    "agent_tool_request",
    "agent_tool_response",
    "client_tool_call",
    "mcp_tool_call",
)
"""The events of an agent whose owner has switched everything on that a chat can use."""

FINAL = frozenset({"completed", "failed", "cancelled", "voicemail"})
RETRIED = frozenset({"failed", "voicemail"})
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's settings. `overrides` are the permitted ones as dotted paths, like `conversation.text_only`.

    `prompt` and `first_message` may hold `{{variables}}`, which a session then has to supply.
    `max_duration` is in seconds. `file_input` None leaves it out of the settings, which means that files are accepted.

    `tools` are the tools' configurations as the settings show them, `tool_ids` those of `World.tools`. `placeholders`
    are the dashboard's test values of variables.
    """

    agent_id: str
    name: str = "Valentina"
    first_message: str = ""
    prompt: str = "Eres la asesora de la campaña."
    client_events: tuple[str, ...] = DEFAULT_EVENTS
    text_only: bool = False
    overrides: frozenset[str] = frozenset()
    enable_auth: bool = True
    language: str = "es"
    max_duration: float = 600.0
    file_input: bool | None = True
    max_files: int = 10
    tools: tuple[Mapping[str, object], ...] = ()
    tool_ids: tuple[str, ...] = ()
    mcp_server_ids: tuple[str, ...] = ()
    placeholders: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipient:
    """The planned course of the call to one recipient of a batch.

    `conversation=False` means a call that failed before it had one. `talk_seconds` is its length. `collected` are
    the results of the agent's data collection. A summary or
    transcript that is None is made up from the outcome.
    """

    phone: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = "completed"
    conversation: bool = True
    summary: str | None = None
    transcript: Sequence[Spoken] | None = None
    talk_seconds: float = 54.0
    collected: Mapping[str, Scalar | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkspaceWebhook:
    """A webhook of the workspace. `post_call` is the one that conversations are sent to. `failed_at`: Unix seconds."""

    webhook_id: str
    url: str
    name: str = "wa-relay"
    post_call: bool = True
    is_disabled: bool = False
    is_auto_disabled: bool = False
    failure_code: int | None = None
    failed_at: int | None = None


@dataclass(slots=True)
class Row:
    """One recipient of a batch."""

    id: str
    plan: Recipient
    created_at: Moment
    updated_at: Moment
    status: str = "pending"
    conversation_id: str | None = None


@dataclass(slots=True)
class Batch:
    """A batch; the counters follow its rows. `version` changes with everything in it."""

    id: str
    name: str
    agent_id: str
    agent_name: str
    created_at: Moment
    scheduled_at: Moment
    updated_at: Moment
    rows: list[Row]
    status: str = "pending"
    dispatched: int = 0
    finished: int = 0
    retries: int = 0
    version: int = 0
    frozen_updates: bool = False
    """The quirk that recipients keep `updated_at == created_at` although they have changed."""


@dataclass(slots=True)
class Conversation:
    """A phone call or a text session. `number` counts all of them in the order they began."""

    id: str
    number: int
    agent_id: str
    agent_name: str
    started_at: Moment
    status: str = "initiated"
    duration: float = 0.0
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    transcript: list[Spoken] = field(default_factory=list)
    summary: str = ""
    analysed: bool = False
    text_only: bool = False
    outcome: str = ""
    error: str | None = None
    phone: str | None = None
    batch_id: str | None = None
    recipient_id: str | None = None
    user_id: str | None = None
    termination_reason: str = ""
    collected: Mapping[str, Scalar | None] = field(default_factory=dict)


class World:
    """Agents, batches and conversations by id. Its moves raise KeyError for an id that is not known."""

    def __init__(self, seed: int = 1) -> None:
        self.agents: dict[str, Agent] = {}
        self.batches: dict[str, Batch] = {}
        self.conversations: dict[str, Conversation] = {}
        self.tools: dict[str, Mapping[str, object]] = {}
        """The `tool_config` of the workspace's tools, by id."""
        self.webhooks: list[WorkspaceWebhook] = []
        self.conversations_begun = 0
        """The number of conversations, deleted ones included."""
        self._newest: dict[str | None, list[Batch]] = {}
        self._dice = random.Random(seed)  # noqa: S311 (ids of a stand-in guard nothing)

    def new_id(self, prefix: str) -> str:
        """An id in the service's shape: prefix, four digits, `k`, 27 characters."""
        bits = self._dice.getrandbits(149)
        tail = "".join([_ALPHABET[bits >> shift & 31] for shift in range(14, 149, 5)])
        return f"{prefix}_{1000 + bits % 9000}k{tail}"

    def add_agent(self, agent: Agent) -> Agent:
        """Adds an agent, or changes the one of that id."""
        self.agents[agent.agent_id] = agent
        return agent

    def agent_name(self, agent_id: str) -> str:
        """The agent's name, empty for one that is not known."""
        agent = self.agents.get(agent_id)
        return agent.name if agent else ""

    def add_batch(
        self, name: str, agent_id: str, recipients: Sequence[Recipient], now: Moment, *, frozen_updates: bool = False
    ) -> Batch:
        """Makes a batch in which no recipient was called yet."""
        rows = [Row(self.new_id("rcpt"), plan, created_at=now, updated_at=now) for plan in recipients]
        agent_name = self.agent_name(agent_id)
        batch = Batch(self.new_id("btcal"), name, agent_id, agent_name, now, now, now, rows)
        batch.frozen_updates = frozen_updates
        self.batches[batch.id] = batch
        self._newest.clear()
        return batch

    def set_status(self, batch_id: str, position: int, status: str, now: Moment) -> Row:
        """Moves one recipient to a status, a known one or not; counters and the batch follow."""
        batch = self.batches[batch_id]
        row = batch.rows[position]
        batch.dispatched += (status != "pending") - (row.status != "pending")
        batch.finished += (status in FINAL) - (row.status in FINAL)
        row.status, row.updated_at = status, now
        if batch.status in ("pending", "in_progress", "completed"):
            batch.status = _batch_status(batch)
        self.touch(batch, now)
        return row

    def touch(self, batch: Batch, now: Moment) -> None:
        """Notes that something in the batch has changed."""
        batch.updated_at = max(batch.updated_at, now)
        batch.version += 1

    def start_call(self, batch_id: str, position: int, now: Moment) -> Conversation | None:
        """The recipient picks up: a conversation begins, unless the plan forbids it."""
        batch = self.batches[batch_id]
        row = self.set_status(batch_id, position, "in_progress", now)
        if not row.plan.conversation:
            return None
        call = self._begin(batch.agent_id, now, row.plan.variables)
        call.phone, call.batch_id, call.recipient_id = row.plan.phone, batch.id, row.id
        call.status, row.conversation_id = "in-progress", call.id
        return call

    def hang_up(self, batch_id: str, position: int, ended_at: Moment, outcome: str) -> Conversation | None:
        """The call ends and its analysis begins; the recipient's own status does not follow yet."""
        row = self.batches[batch_id].rows[position]
        call = self.conversations.get(row.conversation_id or "")
        if call is None:
            return None
        call.duration = row.plan.talk_seconds
        call.started_at = ended_at - call.duration
        call.outcome, call.status = outcome, "failed" if outcome == "failed" else "processing"
        if outcome == "failed":
            call.error, call.duration = "no_answer", 0.0
            return call
        plan = row.plan
        call.collected = plan.collected
        call.transcript = list(talk.transcript(outcome, plan.variables) if plan.transcript is None else plan.transcript)
        call.summary = talk.summary(outcome, plan.variables) if plan.summary is None else plan.summary
        return call

    def finish_call(
        self, batch_id: str, position: int, outcome: str, ended_at: Moment, now: Moment, *, analysed: bool
    ) -> Conversation | None:
        """The call is over with an outcome; begins it first where that was left out."""
        row = self.batches[batch_id].rows[position]
        if row.conversation_id is None and row.plan.conversation:
            self.start_call(batch_id, position, ended_at - row.plan.talk_seconds)
        call = self.hang_up(batch_id, position, ended_at, outcome)
        self.set_status(batch_id, position, outcome, now)
        if call is not None and analysed:
            self.analyse(call.id)
        return call

    def analyse(self, conversation_id: str) -> Conversation:
        """The analysis is ready: the summary shows. A failed call stays failed, without one."""
        call = self.conversations[conversation_id]
        call.analysed = call.status != "failed"
        if call.status != "failed":
            call.status = "done"
        return call

    def retry(self, batch_id: str, now: Moment) -> int:
        """Puts those who were not reached back in the queue, under the same ids; returns their number."""
        batch = self.batches[batch_id]
        again = [position for position, row in enumerate(batch.rows) if row.status in RETRIED]
        for position in again:
            self.set_status(batch_id, position, "pending", now).conversation_id = None
        batch.retries += 1
        batch.status = "in_progress" if again else batch.status
        self.touch(batch, now)
        return len(again)

    def begin_text(
        self,
        agent: Agent,
        now: Moment,
        variables: Mapping[str, Scalar],
        user_id: str | None = None,
        conversation_id: str = "",
    ) -> Conversation:
        """A text session begins, under the id that was reserved for it or a new one."""
        session = self._begin(agent.agent_id, now, variables, conversation_id)
        session.text_only, session.user_id, session.status = True, user_id, "in-progress"
        return session

    def end_text(self, session: Conversation, now: Moment, reason: str, *, failed: bool) -> None:
        """A text session ends, and is analysed at once."""
        session.duration, session.termination_reason = max(0.0, now - session.started_at), reason
        session.status, session.analysed = ("failed" if failed else "done"), not failed
        session.summary = "Conversación por texto."

    def add_history(self, count: int, agent_id: str, now: Moment, *, name: str = "Historia") -> Batch:
        """A finished batch with that many completed and analysed calls, the last of which ended at `now`."""
        plan = Recipient("", talk_seconds=60.0, transcript=(("agent", "Hola."), ("user", "Hola.")))
        plans = [replace(plan, phone=f"+573{number:09d}") for number in range(count)]
        batch = self.add_batch(name, agent_id, plans, now - count - 60)
        for position in range(count):
            ended_at = now - count + position + 1
            self.finish_call(batch.id, position, "completed", ended_at, ended_at, analysed=True)
        return batch

    def listed_batches(self, agent_id: str | None) -> Sequence[Batch]:
        """The batches of one agent or of all, newest first; not to be changed."""
        known = self._newest.get(agent_id)
        if known is None:
            # The list is asked for every few seconds; thousands of batches are put in order once.
            listed = [batch for batch in reversed(self.batches.values()) if agent_id in (None, batch.agent_id)]
            known = self._newest[agent_id] = sorted(listed, key=lambda batch: -batch.created_at)
        return known

    def newest_conversations(self) -> Iterator[Conversation]:
        """Returns all conversations, the last one first."""
        return reversed(self.conversations.values())

    def _begin(self, agent_id: str, now: Moment, variables: Mapping[str, Scalar], known_id: str = "") -> Conversation:
        self.conversations_begun += 1
        key = known_id or self.new_id("conv")
        conversation = Conversation(key, self.conversations_begun, agent_id, self.agent_name(agent_id), now)
        conversation.variables = variables
        self.conversations[conversation.id] = conversation
        return conversation


def _batch_status(batch: Batch) -> str:
    if batch.finished == len(batch.rows):
        return "completed"
    return "in_progress" if batch.dispatched else "pending"
