"""A scripted agent service over real sockets: each session plays the next script of a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

Socket = web.WebSocketResponse
Script = Callable[["Scripted", Socket], Awaitable[None]]


@dataclass
class Scripted:
    """The service's side. The last script is played for all further sessions."""

    scripts: list[Script] = field(default_factory=list)
    settings: dict[str, object] | None = None
    sign_statuses: list[int] = field(default_factory=list)
    signed_url: str = ""
    sign_body: str | None = None
    frames: list[dict[str, object]] = field(default_factory=list)
    sessions: int = 0
    signed: int = 0
    settings_read: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    close_codes: list[int | None] = field(default_factory=list)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, kind: str) -> list[dict[str, object]]:
        """The frames of that type, in their order."""
        return [frame for frame in self.frames if frame["type"] == kind]

    async def hear(self, socket: Socket, kind: str) -> dict[str, object]:
        """Reads until a frame of that type arrives."""
        while True:
            message = await socket.receive(5.0)
            if message.type is not WSMsgType.TEXT:
                raise ConnectionError("the client has gone")
            frame: dict[str, object] = json.loads(message.data)
            self.frames.append(frame)
            if frame["type"] == kind:
                return frame

    async def _sign(self, request: web.Request) -> web.Response:
        self.signed += 1
        status = self.sign_statuses.pop(0) if self.sign_statuses else 200
        if request.headers.get("xi-api-key") != "key" or request.query.get("agent_id") != "agent_1":
            return web.json_response({"detail": "wrong key or agent"}, status=400)
        if status != 200:
            return web.json_response({"detail": {"code": "x", "message": "no"}}, status=status)
        if self.sign_body is not None:
            return web.Response(text=self.sign_body)
        url = (
            self.signed_url
            or f"ws://127.0.0.1:{self.port}/v1/convai/conversation?agent_id=a&conversation_signature=s%2Bs"
        )
        return web.json_response({"signed_url": url})

    async def _agent(self, request: web.Request) -> web.Response:
        self.settings_read += 1
        if self.settings is None:
            return web.json_response({"detail": "no"}, status=500)
        return web.json_response({"agent_id": request.match_info["id"], **self.settings})

    async def _session(self, request: web.Request) -> Socket:
        socket = Socket()
        await socket.prepare(request)
        script = self.scripts[min(self.sessions, len(self.scripts) - 1)]
        self.sessions += 1
        try:
            await script(self, socket)
            while not socket.closed:
                await socket.receive(5.0)
        finally:
            self.close_codes.append(socket.close_code)
            self.over.set()
        return socket


def settings(
    first_message: str = "",
    *,
    text_only: bool = False,
    allowed: bool = False,
    events: list[str] | None = None,
    tools: list[dict[str, object]] | None = None,
) -> dict[str, object]:
    """An agent's settings, as the REST API shows them."""
    agent = {"first_message": first_message, "prompt": {"tools": tools or []}}
    conversation: dict[str, object] = {"text_only": text_only}
    if events is not None:
        conversation["client_events"] = events
    return {
        "conversation_config": {
            "conversation": conversation,
            "agent": agent,
        },
        "platform_settings": {"overrides": {"conversation_config_override": {"conversation": {"text_only": allowed}}}},
    }


@asynccontextmanager
async def scripted(service: Scripted) -> AsyncIterator[Scripted]:
    """Runs the service on a free port."""
    app = web.Application()
    app.router.add_get("/v1/convai/conversation/get-signed-url", service._sign)
    app.router.add_get("/v1/convai/agents/{id}", service._agent)
    app.router.add_get("/v1/convai/conversation", service._session)
    server = TestServer(app)
    await server.start_server()
    service.port = server.port or 0
    try:
        yield service
    finally:
        await server.close()


# --- scripts ---


async def begin(service: Scripted, socket: Socket, greeting: str = "") -> None:
    """Initiation, metadata, perhaps a greeting, the customer's text."""
    await service.hear(socket, "conversation_initiation_client_data")
    body = {"conversation_id": f"conv_{service.sessions}"}
    await socket.send_json({"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": body})
    if greeting:
        await say(socket, greeting, 1)
    await service.hear(socket, "user_message")


async def say(socket: Socket, text: str, event_id: int = 2) -> None:
    """One whole reply."""
    body = {"agent_response": text, "event_id": event_id}
    await socket.send_json({"type": "agent_response", "agent_response_event": body})


async def end(socket: Socket, event_id: int = 2) -> None:
    """The end of a reply, announced."""
    body = {"event_id": event_id}
    await socket.send_json({"type": "agent_response_complete", "agent_response_complete_event": body})


async def call_tool(service: Scripted, socket: Socket) -> None:
    """The agent calls a client tool, and gets its result."""
    call = {"tool_name": "reservar", "tool_call_id": "t1", "parameters": {}, "event_id": 2}
    await socket.send_json({"type": "client_tool_call", "client_tool_call": call})
    await service.hear(socket, "client_tool_result")


async def breaks_after_a_tool(service: Scripted, socket: Socket) -> None:
    """The session breaks after a tool has run."""
    await begin(service, socket)
    await call_tool(service, socket)
    await socket.close(code=1011)


async def skips(service: Scripted, socket: Socket) -> None:
    """The agent skips its turn."""
    await begin(service, socket)
    body = {"tool_name": "skip_turn", "tool_call_id": "s1", "tool_type": "system", "is_error": False, "event_id": 2}
    await socket.send_json({"type": "agent_tool_response", "agent_tool_response": body})


def answers(text: str, greeting: str = "", *, complete: bool = True) -> Script:
    """A plain turn."""

    async def script(service: Scripted, socket: Socket) -> None:
        await begin(service, socket, greeting)
        await say(socket, text)
        if complete:
            await end(socket)

    return script


def closes(code: int, reason: str = "", text: str = "") -> Script:
    """A turn that the service ends with a close."""

    async def script(service: Scripted, socket: Socket) -> None:
        await begin(service, socket)
        if text:
            await say(socket, text)
        await socket.close(code=code, message=reason.encode())

    return script


async def silent(service: Scripted, socket: Socket) -> None:
    """A turn without an answer."""
    await begin(service, socket)


async def empty(service: Scripted, socket: Socket) -> None:
    """An answer without text."""
    await begin(service, socket)
    await say(socket, "")
    await end(socket)


async def lost(service: Scripted, socket: Socket) -> None:
    """The line breaks without a close."""
    await begin(service, socket)
    transport = socket._req.transport if socket._req is not None else None
    if transport is not None:
        transport.abort()
    await asyncio.sleep(0)


async def no_note(*, handover: bool = False) -> None:
    """Records nothing."""
