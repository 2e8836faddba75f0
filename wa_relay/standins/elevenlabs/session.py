"""A text session over a WebSocket: how it begins, its turns, how it ends.

`permissions` and `scenarios` decide; this carries the frames.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import suppress

from aiohttp import WSMsgType, web

from wa_relay.standins.elevenlabs import events
from wa_relay.standins.elevenlabs.events import Event
from wa_relay.standins.elevenlabs.faults import reset
from wa_relay.standins.elevenlabs.permissions import Initiation, Refusal, greeting_of, initiation_of, refusal_of
from wa_relay.standins.elevenlabs.scenarios import AwaitTool, Close, Drop, RunTool, Send, Step, Wait, steps
from wa_relay.standins.elevenlabs.stage import Stage
from wa_relay.standins.elevenlabs.state import Agent, Conversation
from wa_relay.standins.elevenlabs.talk import Asked, File

_ALWAYS = frozenset({"conversation_initiation_metadata", "error", "queue_status"})
_USER_INPUT = frozenset({"user_message", "multimodal_message", "user_activity"})
_NO_INPUT = "No user input for {seconds:g} seconds"
_CLOSING_SECONDS = 1.0
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Session:
    """One session with an agent. `run` lasts as long as it does."""

    def __init__(self, stage: Stage, request: web.BaseRequest, socket: web.WebSocketResponse, agent: Agent) -> None:
        self._stage, self._request, self._socket, self._agent = stage, request, socket, agent
        self._allowed = _ALWAYS | frozenset(agent.client_events)
        self._conversation: Conversation | None = None
        self._contexts: dict[str, str] = {}
        self._results: dict[str, asyncio.Future[None]] = {}
        self._turns: set[asyncio.Task[None]] = set()
        self._event_id = 0
        self._pinged_at: float | None = None
        self._heard_at = 0.0
        self._ended: tuple[int, str] | None = None
        self._listening = False
        self._heard_all = asyncio.Event()
        self._placed = False

    async def run(self, conversation_id: str = "") -> None:
        """Plays the session until it ends, and notes it in the journal."""
        self._stage.sessions.add(self)
        watch: asyncio.Task[None] | None = None
        try:
            if not await self._begin(conversation_id):
                return
            watch = asyncio.create_task(self._watch())
            await self._listen()
        except ConnectionError:
            pass
        finally:
            self._stage.sessions.discard(self)
            if self._placed:
                self._stage.lobby.leave()
            for task in (*self._turns, *([watch] if watch else ())):
                task.cancel()
            self._over()

    def abort(self) -> None:
        """Breaks the connection without a close."""
        self._ended = self._ended or (1006, "")
        reset(self._request)

    # --- beginning ---

    async def _begin(self, conversation_id: str) -> bool:
        frame = await self._first_frame()
        if frame is None and self._socket.closed:
            return False
        initiation = initiation_of(frame)
        refusal = initiation if isinstance(initiation, Refusal) else refusal_of(self._agent, initiation)
        if isinstance(initiation, Refusal) or refusal is not None:
            assert refusal is not None
            self._stage.journal.note("refused", agent_id=self._agent.agent_id, reason=refusal.reason)
            await self._close(1008, refusal.reason, refusal.error_type)
            return False
        if not await self._place():
            return False
        await self._open(initiation, conversation_id)
        return True

    async def _place(self) -> bool:
        """Takes a place among the sessions that may be open at once, or closes the session for lack of one."""
        lobby, settings = self._stage.lobby, self._stage.settings
        if not lobby.full(settings.most_sessions):
            lobby.enter()
            self._placed = True
            return True
        self._stage.journal.note("full", agent_id=self._agent.agent_id, how=settings.full)
        if settings.full != "queue":
            await self._close(3008, "Too many concurrent conversations", "concurrent_limit_exceeded")
            return False
        await self._send(events.queue_status("waiting"))
        self._placed = await lobby.wait(settings.queue_seconds)
        await self._send(events.queue_status("admitted" if self._placed else "timed_out"))
        if not self._placed:
            await self._close(4300, "Queue timed out")
        return self._placed

    async def _first_frame(self) -> Mapping[str, object] | None:
        try:
            message = await self._socket.receive(self._stage.settings.initiation_seconds)
        except TimeoutError:
            return None
        return _object(message.data) if message.type is WSMsgType.TEXT else None

    async def _open(self, initiation: Initiation, conversation_id: str) -> None:
        now = self._stage.clock()
        conversation = self._stage.world.begin_text(
            self._agent, now, initiation.variables, initiation.user_id, conversation_id
        )
        self._conversation = conversation
        self._stage.live[conversation.id] = conversation
        self._stage.journal.note(
            "session",
            conversation_id=conversation.id,
            agent_id=self._agent.agent_id,
            variables=dict(initiation.variables),
            overrides=dict(initiation.overrides),
            user_id=initiation.user_id,
            source=initiation.source,
        )
        await self._send(events.metadata(conversation.id))
        self._event_id = 1
        greeting = greeting_of(self._agent, initiation)
        if greeting:
            conversation.transcript.append(("agent", greeting))
            await self._send(events.response(greeting, self._event_id))

    # --- the client's frames ---

    async def _listen(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._listening = True
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.TEXT:
                self._heard_all.set()
                return
            frame = _object(message.data)
            if frame is None:
                self._listening = False
                await self._close(1008, "Message is not a JSON object.", "invalid_message")
                return
            self._hear(frame)

    def _hear(self, frame: Mapping[str, object]) -> None:
        kind = frame.get("type")
        if kind in _USER_INPUT:
            self._heard_at = asyncio.get_running_loop().time()
        text = frame.get("text")
        if kind == "user_message" and isinstance(text, str):
            self._asked(text)
        elif kind == "multimodal_message":
            self._multimodal(frame)
        elif kind == "contextual_update" and isinstance(text, str):
            key = frame.get("context_id")
            self._contexts[key if isinstance(key, str) else f"#{len(self._contexts)}"] = text
            self._note("context", text=text)
        elif kind == "pong":
            self._pinged_at = None
        elif kind == "client_tool_result":
            self._tool_result(frame)

    def _tool_result(self, frame: Mapping[str, object]) -> None:
        call_id = str(frame.get("tool_call_id"))
        self._note("tool_result", call_id=call_id, result=frame.get("result"), is_error=frame.get("is_error"))
        waiting = self._results.get(call_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # --- the agent's turns ---

    def _multimodal(self, frame: Mapping[str, object]) -> None:
        """Text with files; a file that was not uploaded for this conversation ends the session."""
        numbers = _file_ids(frame)
        known = self._stage.files
        mine = self._conversation.id if self._conversation else ""
        wrong = [one for one in numbers if one not in known or known[one].conversation_id != mine]
        if wrong or not (numbers or _text_in(frame)):
            reason = f"File {wrong[0]} not found" if wrong else "multimodal_message holds neither text nor file"
            self._go(self._close(1008, reason, "invalid_message"))
            return
        self._asked(_text_in(frame), tuple(known[one] for one in numbers))

    def _asked(self, text: str, files: tuple[File, ...] = ()) -> None:
        self._note("user_message", text=text, files=[file.file_id for file in files])
        self._go(self._turn(text, files))

    def _go(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._turns.add(task)
        task.add_done_callback(self._turns.discard)

    async def _turn(self, text: str, files: tuple[File, ...]) -> None:
        assert self._conversation is not None
        scenario = self._stage.scenarios.take(self._agent.agent_id)
        asked = Asked(
            text=text,
            agent_id=self._agent.agent_id,
            conversation_id=self._conversation.id,
            variables=self._conversation.variables,
            context=tuple(self._contexts.values()),
            files=files,
        )
        self._conversation.transcript.append(("user", text))
        answer = self._stage.answer(asked)
        self._event_id += 2
        with suppress(ConnectionError):
            for step in steps(scenario, answer, self._event_id):
                await self._do(step)

    async def _do(self, step: Step) -> None:
        match step:
            case Send(event):
                await self._send(event)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case AwaitTool(call_id):
                await self._tool(call_id)
            case RunTool(name, call_id, kind):
                self._note("tool_run", name=name, call_id=call_id, tool_type=kind)
            case Close(code, reason, error_type):
                await self._close(code, reason, error_type)
            case Drop():
                self.abort()

    async def _tool(self, call_id: str) -> None:
        """Waits for a tool's result, unless the agent could not ask for it."""
        if "client_tool_call" in self._allowed:
            waiting = self._results.setdefault(call_id, asyncio.get_running_loop().create_future())
            await waiting

    # --- time ---

    async def _watch(self) -> None:
        """Pings, and ends the session when its time is up."""
        loop, settings = asyncio.get_running_loop(), self._stage.settings
        began, ping_at, pings = loop.time(), loop.time() + settings.ping_seconds, 0
        with suppress(ConnectionError):
            while self._ended is None:
                now = loop.time()
                pong_by = None if self._pinged_at is None else self._pinged_at + settings.pong_seconds
                if now >= self._heard_at + settings.idle_seconds:
                    reason = _NO_INPUT.format(seconds=settings.idle_seconds)
                    return await self._close(1002, reason, "transport_receive_timeout")
                if now >= began + self._agent.max_duration:
                    return await self._close(
                        1000, "Conversation exceeded its maximum duration", "max_duration_exceeded"
                    )
                if pong_by is not None and now >= pong_by:
                    return await self._close(1002, "No pong", "transport_receive_timeout")
                if now >= ping_at:
                    ping_at, pings = now + settings.ping_seconds, pings + 1
                    await self._ping(pings, now)
                due = [ping_at, self._heard_at + settings.idle_seconds, began + self._agent.max_duration]
                await asyncio.sleep(max(0.001, min([*due, *([pong_by] if pong_by else ())]) - loop.time()))
        return None

    async def _ping(self, event_id: int, now: float) -> None:
        if "ping" in self._allowed:
            self._pinged_at = self._pinged_at or now
            await self._send(events.ping(event_id))

    # --- sending and ending ---

    async def _send(self, event: Event) -> None:
        kind = str(event["type"])
        if kind not in self._allowed or self._socket.closed:
            return
        await self._socket.send_str(_encode(event))
        body = event.get("agent_response_event")
        if isinstance(body, dict) and self._conversation is not None and self._event_id > 1:
            self._conversation.transcript.append(("agent", body["agent_response"]))
            self._note("agent_response", text=body["agent_response"], event_id=body["event_id"])

    async def _close(self, code: int, reason: str, error_type: str | None = None) -> None:
        if self._ended is not None:
            return
        self._ended = (code, reason)
        if error_type is not None and self._stage.settings.error_events:
            with suppress(ConnectionError):
                await self._send(events.error(code, error_type, reason))
        # A close carries 123 bytes of reason at most.
        data = reason.encode()[:123]
        transport = self._request.transport
        if not self._listening or transport is None:
            await self._socket.close(code=code, message=data)
            return
        # While another task reads, aiohttp's close() ends the connection without waiting for the client's answer, and
        # the client may then see 1006. So the frame (RFC 6455 §5.5.1) is written here, and the answer read there.
        transport.write(bytes((0x88, len(data) + 2)) + code.to_bytes(2, "big") + data)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard_all.wait(), _CLOSING_SECONDS)
        transport.close()

    def _over(self) -> None:
        ended_by = "agent" if self._ended else "client"
        code, reason = self._ended or (self._socket.close_code or 1006, "")
        self._note("session_closed", code=code, reason=reason, by=ended_by)
        if self._conversation is not None:
            self._stage.live.pop(self._conversation.id, None)
            failed = code not in (1000, 1005, 1006) and ended_by == "agent"
            self._stage.world.end_text(self._conversation, self._stage.clock(), reason, failed=failed)
            self._stage.text_over(self._conversation)

    def _note(self, kind: str, **data: object) -> None:
        conversation_id = self._conversation.id if self._conversation else None
        self._stage.journal.note(kind, conversation_id=conversation_id, agent_id=self._agent.agent_id, **data)


def _object(text: str) -> Mapping[str, object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text_in(frame: Mapping[str, object]) -> str:
    """Returns the text of a multimodal message, which is a message inside it."""
    inner = frame.get("text")
    text = inner.get("text") if isinstance(inner, Mapping) else inner
    return text if isinstance(text, str) else ""


def _file_ids(frame: Mapping[str, object]) -> list[str]:
    """The files of a multimodal message: `file`, `files`, or both."""
    listed = frame.get("files")
    entries = [frame.get("file"), *(listed if isinstance(listed, list) else ())]
    return [str(one.get("file_id")) for one in entries if isinstance(one, Mapping)]
