"""The controls of the ElevenLabs stand-in: what a test, a demonstration or a benchmark makes happen."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

from wa_relay.model import Moment
from wa_relay.standins.elevenlabs.faults import FaultPlan
from wa_relay.standins.elevenlabs.stage import Answers, ScenarioPlan, Settings, Stage, Transcript
from wa_relay.standins.elevenlabs.state import FINAL, Agent, Conversation, Recipient, WorkspaceWebhook, World
from wa_relay.standins.elevenlabs.webhooks import Webhooks
from wa_relay.standins.journal import Journal


class Director:
    """Sets the stage and moves the calls. Moments default to now; unknown ids raise KeyError.

    A call is named by its batch's id and the recipient's position in it.
    """

    def __init__(self, api_key: str, webhook_secret: str, clock: Callable[[], Moment] = time.time) -> None:
        self._stage = Stage(api_key, webhook_secret, clock, Journal(clock))
        self._stage.text_over = self._text_over
        self._webhooks = Webhooks(self._stage)
        self._plays: set[asyncio.Task[None]] = set()

    @property
    def journal(self) -> Journal:
        """The journal of requests and events."""
        return self._stage.journal

    @property
    def world(self) -> World:
        """Agents, batches and conversations as they stand."""
        return self._stage.world

    @property
    def settings(self) -> Settings:
        """The switches."""
        return self._stage.settings

    @property
    def faults(self) -> FaultPlan:
        """The planned faults of requests, by route."""
        return self._stage.faults

    @property
    def scenarios(self) -> ScenarioPlan:
        """The planned behaviour of the agents."""
        return self._stage.scenarios

    @property
    def answers(self) -> Answers:
        """The planned answers of the agents."""
        return self._stage.answers

    @answers.setter
    def answers(self, answers: Answers) -> None:
        self._stage.answers = answers

    # --- setting the stage ---

    def add_agent(self, agent: Agent) -> Agent:
        """Adds an agent, or changes the one of that id."""
        return self.world.add_agent(agent)

    def add_batch(
        self,
        *,
        name: str,
        agent_id: str,
        recipients: Sequence[Recipient],
        created_at: Moment | None = None,
        frozen_updates: bool = False,
    ) -> str:
        """Submits a batch in which no recipient was called yet; returns its id.

        With `frozen_updates` its recipients never show when they changed (`updated_at == created_at`).
        """
        moment = self._moment(created_at)
        batch = self.world.add_batch(name, agent_id, recipients, moment, frozen_updates=frozen_updates)
        self.journal.note("batch", batch_id=batch.id, name=name, recipients=len(recipients))
        return batch.id

    def add_history(self, count: int, *, agent_id: str, ended_at: Moment | None = None) -> str:
        """Adds a batch with that many calls that are long over, the last at `ended_at`; returns its id."""
        return self.world.add_history(count, agent_id, self._moment(ended_at)).id

    def add_batches(
        self, count: int, *, agent_id: str, ended_at: Moment | None = None, seconds: float = 60.0
    ) -> list[str]:
        """Adds many finished batches of one call each, one each `seconds`, the last at `ended_at`; returns the ids."""
        last = self._moment(ended_at)
        moments = (last - (count - 1 - place) * seconds for place in range(count))
        return [self.world.add_history(1, agent_id, moment).id for moment in moments]

    def add_tool(self, tool_id: str, config: Mapping[str, object]) -> None:
        """Adds a tool of the workspace. `config` is its `tool_config`, as the settings show it."""
        self.world.tools[tool_id] = config

    def set_webhooks(self, *webhooks: WorkspaceWebhook) -> None:
        """Settles the workspace's webhooks."""
        self.world.webhooks[:] = webhooks

    # --- recordings and sessions ---

    def set_transcript(self, recording: bytes | str, text: str, language: str = "spa", seconds: float = 3.2) -> str:
        """Settles what a recording says; it may be named by its SHA-256 in hex, which is given back."""
        number = recording if isinstance(recording, str) else hashlib.sha256(recording).hexdigest()
        self._stage.transcripts[number] = Transcript(text, language, seconds)
        return number

    @property
    def transcriptions(self) -> Mapping[str, int]:
        """Counts how often each recording was transcribed, and so paid, by the SHA-256 of its bytes."""
        return self._stage.paid

    @property
    def sessions_open(self) -> int:
        """Returns the number of open text sessions."""
        return self._stage.lobby.open

    @property
    def sessions_peak(self) -> int:
        """The most text sessions that were open at once."""
        return self._stage.lobby.peak

    # --- moving the calls ---

    def start_call(self, batch_id: str, position: int) -> str | None:
        """The recipient picks up; returns the conversation's id, None if the plan has no conversation."""
        call = self.world.start_call(batch_id, position, self._moment(None))
        self._noted(batch_id, position, "in_progress")
        return call.id if call else None

    def hang_up(self, batch_id: str, position: int, ended_at: Moment | None = None) -> str | None:
        """The conversation is over and analysed next, while its recipient is still shown as in the call."""
        plan = self.world.batches[batch_id].rows[position].plan
        call = self.world.hang_up(batch_id, position, self._moment(ended_at), plan.outcome)
        return call.id if call else None

    def finish_call(
        self,
        batch_id: str,
        position: int,
        outcome: str | None = None,
        ended_at: Moment | None = None,
        *,
        analysed: bool = True,
    ) -> str | None:
        """A call ends, as planned or with another outcome; returns the conversation's id.

        A call that was not started is made from its plan. Without `analysed` the conversation stays `processing`.
        """
        now, plan = self._moment(None), self.world.batches[batch_id].rows[position].plan
        final = outcome or plan.outcome
        ended = now if ended_at is None else ended_at
        call = self.world.finish_call(batch_id, position, final, ended, now, analysed=analysed)
        self._noted(batch_id, position, final)
        if call is not None and analysed:
            self._report(call)
        return call.id if call else None

    def analyse(self, conversation_id: str) -> None:
        """The analysis of a conversation is ready: its summary shows, and its webhook is sent if switched on."""
        self._report(self.world.analyse(conversation_id))

    def set_status(self, batch_id: str, position: int, status: str) -> None:
        """Gives a recipient any status, also one that no client knows."""
        self.world.set_status(batch_id, position, status, self._moment(None))
        self._noted(batch_id, position, status)

    def retry(self, batch_id: str) -> int:
        """Calls the recipients again who were not reached: same recipients, new conversations; returns their number."""
        return self.world.retry(batch_id, self._moment(None))

    def play(
        self, batch_id: str, *, rings: float = 0.5, talks: float = 1.0, analysis: float = 0.5, at_once: int = 1
    ) -> asyncio.Task[None]:
        """Runs the batch automatically, `at_once` calls at a time, with these seconds for each stage.

        Statuses go pending, dispatched, initiated, in_progress and to the outcome. Ends when the last is analysed.
        """
        lanes = asyncio.Semaphore(at_once)

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                for position, row in enumerate(self.world.batches[batch_id].rows):
                    if row.status not in FINAL:
                        group.create_task(self._call(batch_id, position, lanes, (rings, talks, analysis)))

        task = asyncio.create_task(run())
        self._plays.add(task)
        task.add_done_callback(self._plays.discard)
        return task

    async def _call(
        self, batch_id: str, position: int, lanes: asyncio.Semaphore, seconds: tuple[float, float, float]
    ) -> None:
        rings, talks, analysis = seconds
        async with lanes:
            self.set_status(batch_id, position, "dispatched")
            self.set_status(batch_id, position, "initiated")
            await asyncio.sleep(rings)
            plan = self.world.batches[batch_id].rows[position].plan
            if plan.conversation and plan.outcome != "failed":
                self.start_call(batch_id, position)
                await asyncio.sleep(talks)
            call = self.finish_call(batch_id, position, analysed=False)
        if call is not None:
            await asyncio.sleep(analysis)
            self.analyse(call)

    # --- webhooks ---

    async def post_call(self, conversation_id: str) -> int | None:
        """Sends the signed `post_call_transcription`; returns the HTTP status, None without an answer."""
        return await self._webhooks.post_call(self.world.conversations[conversation_id])

    async def post_audio(self, conversation_id: str, size: int = 1024 * 1024) -> int | None:
        """Sends the signed `post_call_audio` of `size` bytes, chunked."""
        return await self._webhooks.audio(self.world.conversations[conversation_id], size)

    async def post_failure(self, conversation_id: str, reason: str = "no-answer") -> int | None:
        """Sends the signed `call_initiation_failure`: `busy`, `no-answer` or `unknown`."""
        return await self._webhooks.failed(self.world.conversations[conversation_id], reason)

    async def _quiet(self) -> None:
        """Stops the background tasks."""
        for task in tuple(self._plays):
            task.cancel()
        await asyncio.gather(*self._plays, return_exceptions=True)
        await self._webhooks.close()

    def _report(self, call: Conversation) -> None:
        if self.settings.webhook_calls:
            self._webhooks.soon(call)

    def _text_over(self, session: Conversation) -> None:
        if self.settings.webhook_texts:
            self._webhooks.soon(session)

    def _noted(self, batch_id: str, position: int, status: str) -> None:
        row = self.world.batches[batch_id].rows[position]
        call: Mapping[str, object] = {"phone": row.plan.phone, "conversation_id": row.conversation_id}
        self.journal.note("recipient", batch_id=batch_id, position=position, status=status, **call)

    def _moment(self, moment: Moment | None) -> Moment:
        return self._stage.clock() if moment is None else moment
