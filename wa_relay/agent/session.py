"""A turn over the agent service's WebSocket: `turn` decides, this carries.

Each try is a session of its own: signed URL, connection, turn, close.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from wa_relay.agent.greeting import UNKNOWN, greeting_of
from wa_relay.agent.outcome import Answered, ChoseSilence, Failed, NoAnswer
from wa_relay.agent.recap import question_text, recap, variables
from wa_relay.agent.settings import SettingsCache
from wa_relay.agent.tries import Limits, ToolNote, Tries, TryFailedError
from wa_relay.agent.turn import Ask, Turn
from wa_relay.elevenlabs.address import WrongAddressError, socket_url
from wa_relay.elevenlabs.refusals import lacks_capacity
from wa_relay.elevenlabs.signing import UrlSigner
from wa_relay.model import Answer, Moment, NoteTools, Question, Silence, UpstreamError

if TYPE_CHECKING:
    from wa_relay.elevenlabs.client import AgentSettings, ElevenLabs

_MAX_FRAME = 16 * 1024 * 1024
_CLOSE_SECONDS = 2.0
_SHORTEST_WAIT = 0.001  # the library takes 0 for "no limit"
_END_EVENT = "agent_response_complete"
_PERMANENT_STATUSES = frozenset(range(400, 500)) - {408, 425, 429}

_Socket = aiohttp.ClientWebSocketResponse


class TextAgent:
    """Answers questions with text sessions of ElevenLabs agents. `http` stays the caller's to close.

    `turn_timeout` seconds for a session, `settle` seconds of quiet end an answer whose end is not announced.
    `base_url` is `elevenlabs.base_url`: the WebSocket goes to its host. `handover_tool` is the client tool by which
    agents ask for a person. `signer` fetches the signed URLs, `api` does
    without one.
    """

    needs_context = True

    def __init__(
        self,
        api: ElevenLabs,
        http: aiohttp.ClientSession,
        *,
        turn_timeout: float,
        settle: float,
        base_url: str = "",
        handover_tool: str = "",
        signer: UrlSigner | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._sign = (signer or api).signed_url
        self._http = http
        self._settle = settle
        self._base_url = base_url
        self._handover_tool = handover_tool
        self._tries = Tries(turn_timeout, limits)
        self._settings = SettingsCache(api)
        self._closing: set[asyncio.Task[None]] = set()

    async def answer(self, question: Question, note_tools: NoteTools) -> Answer | Silence:
        """What the agent answers. Raises `NoCapacityError`, and `AgentError` when no try brought an answer.

        `note_tools` is awaited before a tool that the agent called, or may call, can have an effect that a second
        session would repeat; with `handover` before the agent is told that a person will come.
        """
        tools = ToolNote(note_tools)
        return await self._tries.first_answer(
            lambda deadline: self._try(question, tools, deadline),
            tools,
            {"agent": question.agent_id, "call": question.call_key},
        )

    async def close(self) -> None:
        """Ends what is still under way: reads of settings and closing handshakes."""
        await self._settings.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _try(self, question: Question, tools: ToolNote, deadline: Moment) -> Answer | Silence:
        settings = await self._settings.get(question.agent_id)
        ask = self._ask(question, settings, deadline)
        socket = await self._connect(question.agent_id, deadline)
        turn = Turn(ask)
        try:
            await _Carrier(turn, socket, tools, unseen=settings is not None and settings.tools_unseen).run()
        finally:
            self._hang_up(socket)
        if isinstance(turn.outcome, Failed) and turn.outcome.override_refused and ask.text_only:
            self._settings.override_refused(question.agent_id)
            raise TryFailedError(turn.outcome.reason, at_once=True)
        return _answer_of(turn)

    def _ask(self, question: Question, settings: AgentSettings | None, deadline: Moment) -> Ask:
        own = variables(question)
        ask = Ask(
            text=question_text(question),
            settle=self._settle,
            deadline=deadline,
            context=recap(question),
            variables=own,
            greeting=UNKNOWN,
            handover_tool=self._handover_tool,
        )
        if settings is None:
            return ask
        return replace(
            ask,
            greeting=greeting_of(settings.first_message, own),
            announces_end=settings.client_events is not None and _END_EVENT in settings.client_events,
            text_only=settings.text_only_override and not settings.text_only,
        )

    async def _connect(self, agent_id: str, deadline: Moment) -> _Socket:
        try:
            async with asyncio.timeout_at(deadline):
                url = socket_url(await self._sign(agent_id), self._base_url)
                return await self._http.ws_connect(
                    URL(url, encoded=True),
                    max_msg_size=_MAX_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
        except UpstreamError as error:
            raise _unsigned(agent_id, error) from error
        except WrongAddressError as error:
            raise TryFailedError(str(error), permanent=True) from error
        except aiohttp.WSServerHandshakeError as error:
            raise TryFailedError(
                f"ElevenLabs refused the session with HTTP {error.status}",
                permanent=error.status in _PERMANENT_STATUSES,
                away=error.status >= 500,
                no_capacity=lacks_capacity(error.status, None),
            ) from error
        except TimeoutError as error:
            raise TryFailedError("no connection to ElevenLabs in time", away=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TryFailedError(f"no connection to ElevenLabs: {type(error).__name__}", away=True) from error

    def _hang_up(self, socket: _Socket) -> None:
        """Closes beside the work: the answer does not wait for the service's goodbye."""
        task = asyncio.create_task(_closed(socket))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Carrier:
    """Carries one turn over one socket until the turn has its outcome.

    `unseen` is true for an agent whose tool calls a session does not hear of.
    """

    def __init__(self, turn: Turn, socket: _Socket, tools: ToolNote, *, unseen: bool) -> None:
        self._turn = turn
        self._socket = socket
        self._tools = tools
        self._unseen = unseen

    async def run(self) -> None:
        """Carries events and frames; returns once the turn has its outcome."""
        clock = asyncio.get_running_loop().time
        try:
            await self._send(self._turn.opened(clock()))
            while self._turn.outcome is None:
                try:
                    message = await self._socket.receive(max(self._turn.wake_at - clock(), _SHORTEST_WAIT))
                except TimeoutError:
                    await self._send(self._turn.tick(clock()))
                else:
                    await self._take(message, clock())
        except (aiohttp.ClientError, OSError):
            self._turn.closed(None, "")

    async def _take(self, message: aiohttp.WSMessage, now: Moment) -> None:
        if message.type is aiohttp.WSMsgType.TEXT:
            await self._send(self._turn.received(message.data, now))
        elif message.type is aiohttp.WSMsgType.CLOSE:
            self._turn.closed(message.data, message.extra or "")
        elif message.type is not aiohttp.WSMsgType.BINARY:
            self._turn.closed(None, "")

    async def _send(self, frames: list[str]) -> None:
        if self._turn.handover_requested:
            await self._tools.make(handover=True)
        if self._turn.tools_called or (self._unseen and self._turn.asked):
            # Before the frames: they may hold the tool's result, or the question that makes the agent call one.
            await self._tools.make()
        for frame in frames:
            await self._socket.send_str(frame)


def _answer_of(turn: Turn) -> Answer | Silence:
    """The answer of a turn that is over; raises `TryFailedError` for any other end."""
    match turn.outcome:
        case Answered(text):
            return Answer(text=text, session_id=turn.session_id)
        case ChoseSilence():
            return Silence(session_id=turn.session_id)
        case Failed(reason, no_capacity=no_capacity):
            raise TryFailedError(reason, no_capacity=no_capacity)
        case NoAnswer(reason):
            raise TryFailedError(reason, at_once=True)
    raise TryFailedError("the session has no outcome", at_once=True)


async def _closed(socket: _Socket) -> None:
    try:
        async with asyncio.timeout(2 * _CLOSE_SECONDS):
            await socket.close()
    except (TimeoutError, aiohttp.ClientError, OSError):
        return


def _unsigned(agent_id: str, error: UpstreamError) -> TryFailedError:
    if error.status == 404:
        reason = f"ElevenLabs knows no agent {agent_id}: was it deleted, or is it in another workspace than the key?"
        return TryFailedError(reason, permanent=True)
    no_capacity = lacks_capacity(error.status, error.code)
    return TryFailedError(
        f"no session from ElevenLabs: {error.message}",
        permanent=error.permanent and not no_capacity,
        away=not no_capacity and (error.status is None or error.status >= 500),
        no_capacity=no_capacity,
        retry_after=error.retry_after,
    )
