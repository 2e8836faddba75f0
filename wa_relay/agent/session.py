"""A turn over the agent service's WebSocket: `turn` decides, this carries.

Each try opens its own session: signed URL, connection, turn, close.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from wa_relay.agent.ask import Ask
from wa_relay.agent.greeting import UNKNOWN, greeting_of
from wa_relay.agent.recap import question_text, recap, variables
from wa_relay.agent.session_end import Answered, ChoseSilence, Failed, NoAnswer, NothingReadable
from wa_relay.agent.settings_cache import SettingsCache
from wa_relay.agent.tries import ToolNote, Tries, TryFailedError
from wa_relay.agent.turn import Turn
from wa_relay.agent.uploading import Uploader
from wa_relay.elevenlabs.refusals import lacks_capacity
from wa_relay.elevenlabs.shapes import FILE_LIMIT
from wa_relay.elevenlabs.signed_url import SignedUrls
from wa_relay.elevenlabs.socket_address import WrongAddressError, socket_url
from wa_relay.model import AgentFile, Answer, Moment, NoteTools, NoteTry, Question, Silence, Unreadable, UpstreamError
from wa_relay.policy import TryLimits

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
    agents request a person. `signed_urls` fetches the signed URLs, `api` does without one. `read_file` returns a file's
    bytes in parts; without it the agent takes no files.
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
        signed_urls: SignedUrls | None = None,
        limits: TryLimits | None = None,
        read_file: Callable[[AgentFile], AsyncIterator[bytes]] | None = None,
    ) -> None:
        self._uploader = None if read_file is None else Uploader(api, read_file)
        self._sign = (signed_urls or api).signed_url
        self._http = http
        self._settle = settle
        self._base_url = base_url
        self._handover_tool = handover_tool
        self._tries = Tries(turn_timeout, limits)
        self._settings = SettingsCache(api)
        self._closing: set[asyncio.Task[None]] = set()

    async def file_limit(self, agent_id: str) -> int:
        """Returns the number of files of a turn that the agent takes; 0 for none."""
        if self._uploader is None:
            return 0
        settings = await self._settings.get(agent_id)
        return FILE_LIMIT if settings is None else settings.file_limit

    async def answer(
        self, question: Question, note_tools: NoteTools, note_try: NoteTry | None = None
    ) -> Answer | Silence | Unreadable:
        """Returns the agent's answer. Raises `NoCapacityError`, and `AgentError` when no try brought an answer.

        `note_tools` is awaited before a tool that the agent called, or may call, can have an effect that a second
        session would repeat; with `handover` before the agent learns that a person will come. `note_try` is awaited
        after each failed session.
        """
        tools = ToolNote(note_tools)
        return await self._tries.first_answer(
            lambda deadline: self._try(question, tools, deadline),
            tools,
            {"agent": question.agent_id, "call": question.call_key},
            note_try,
        )

    async def close(self) -> None:
        """Ends what is still under way: reads of settings and closing handshakes."""
        await self._settings.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _try(self, question: Question, tools: ToolNote, deadline: Moment) -> Answer | Silence | Unreadable:
        # For each try: an override that was refused, or a new first message, changes the next session.
        settings = await self._settings.get(question.agent_id)
        ask = self._ask(question, settings, deadline)
        socket = await self._connect(question.agent_id, deadline)
        turn = Turn(ask)
        try:
            unseen = settings is not None and settings.tools_unseen
            await _Carrier(turn, socket, tools, self._uploader, ask.files, unseen=unseen).run()
        finally:
            self._hang_up(socket)
        if isinstance(turn.end, Failed) and turn.end.override_refused and ask.text_only:
            # The agent forbids text-only sessions by override; the next try asks without it.
            self._settings.override_refused(question.agent_id)
            raise TryFailedError(turn.end.reason, at_once=True)
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
            files=question.files,
            has_words=question.has_words,
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
                # A signed URL is good for one session, so each try fetches its own.
                url = socket_url(await self._sign(agent_id), self._base_url)
                return await self._http.ws_connect(
                    # Encoded again, the signature in the query would be wrong.
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
    """Carries one turn over one socket until the turn has its end.

    `unseen` is true for an agent whose tool calls a session does not hear of.
    """

    def __init__(
        self,
        turn: Turn,
        socket: _Socket,
        tools: ToolNote,
        uploader: Uploader | None,
        files: Sequence[AgentFile],
        *,
        unseen: bool,
    ) -> None:
        self._turn = turn
        self._socket = socket
        self._tools = tools
        self._uploader = uploader
        self._files = files
        self._unseen = unseen
        self._uploading: asyncio.Task[list[str | None]] | None = None
        self._receiving: asyncio.Task[aiohttp.WSMessage] | None = None

    async def run(self) -> None:
        """Carries events and frames; returns once the turn has its end."""
        clock = asyncio.get_running_loop().time
        try:
            await self._send(self._turn.opened(clock()))
            while self._turn.end is None:
                message = await self._next(max(self._turn.wake_at - clock(), _SHORTEST_WAIT))
                if message is None:
                    await self._send(self._turn.tick(clock()))
                else:
                    await self._take(message, clock())
        except (aiohttp.ClientError, OSError):
            self._turn.closed(None, "")
        finally:
            for task in (self._uploading, self._receiving):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def _next(self, within: float) -> aiohttp.WSMessage | None:
        """The next message; None if none came in time, or the upload ended meanwhile."""
        if self._turn.wants_files and self._uploading is None:
            self._uploading = asyncio.create_task(self._upload())
        if self._uploading is None and self._receiving is None:
            try:
                return await self._socket.receive(within)
            except TimeoutError:
                return None
        # A pending receive must not be cancelled: a message that it has already taken would be lost.
        receiving = self._receiving = self._receiving or asyncio.create_task(self._socket.receive())
        uploading = self._uploading
        waits = {receiving} if uploading is None else {receiving, uploading}
        await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if uploading is not None and uploading.done():
            self._uploading = None
            await self._send(self._turn.uploaded(uploading.result()))
            return None
        if not receiving.done():
            return None
        self._receiving = None
        return receiving.result()

    async def _upload(self) -> list[str | None]:
        session_id = self._turn.session_id
        if self._uploader is None or session_id is None:
            return [None] * len(self._files)
        return await self._uploader.upload(session_id, self._files)

    async def _take(self, message: aiohttp.WSMessage, now: Moment) -> None:
        if message.type is aiohttp.WSMsgType.TEXT:
            await self._send(self._turn.received(message.data, now))
        elif message.type is aiohttp.WSMsgType.CLOSE:
            self._turn.closed(message.data, message.extra or "")
        # Text sessions carry no audio: binary frames are ignored, any other frame ends the session.
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


def _answer_of(turn: Turn) -> Answer | Silence | Unreadable:
    """The answer of a turn that is over; raises `TryFailedError` for any other end."""
    match turn.end:
        case Answered(text):
            return Answer(text=text, session_id=turn.session_id)
        case ChoseSilence():
            return Silence(session_id=turn.session_id)
        case NothingReadable():
            return Unreadable(session_id=turn.session_id)
        case Failed(reason, no_capacity=no_capacity):
            raise TryFailedError(reason, no_capacity=no_capacity)
        case NoAnswer(reason):
            raise TryFailedError(reason, at_once=True)
    raise TryFailedError("the session has no end", at_once=True)


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
