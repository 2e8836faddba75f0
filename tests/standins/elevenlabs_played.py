"""A played ElevenLabs for the tests of this folder, and clients of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp
import httpx
from elevenlabs.client import AsyncElevenLabs

from wa_relay.agent.session import TextAgent
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.model import Question
from wa_relay.policy import TryLimits
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, ElevenLabsStandin, Recipient

T = TypeVar("T")
KEY = "sk_played"
SECRET = "wsec_played"
START = 1_763_800_000.0
AGENT = Agent("agent_1", client_events=CHAT_EVENTS)
ANA = Recipient("+573001112233", {"customer_name": "Ana"})
QUESTION = Question("agent_1", "¿Qué precio tiene?", call_key="conv_call", variables={"customer_name": "Ana"})


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Runs a scenario to its end, for 60 s at most."""
    return asyncio.run(asyncio.wait_for(scenario, 60))


@asynccontextmanager
async def played(agent: Agent = AGENT, **changes: object) -> AsyncIterator[ElevenLabsStandin]:
    """Runs a stand-in with one agent."""
    standin = ElevenLabsStandin(KEY, SECRET)
    standin.add_agent(replace(agent, **changes) if changes else agent)  # type: ignore[arg-type]
    await standin.start()
    try:
        yield standin
    finally:
        await standin.stop()


@asynccontextmanager
async def text_agent(
    standin: ElevenLabsStandin, *, turn_timeout: float = 5.0, settle: float = 0.2, tries: int = 1
) -> AsyncIterator[TextAgent]:
    """Our own client of the sessions, with a single try."""
    async with ElevenLabs(standin.url, KEY) as api, aiohttp.ClientSession() as http:
        agent = TextAgent(
            api, http, turn_timeout=turn_timeout, settle=settle, base_url=standin.url, limits=TryLimits(tries=tries)
        )
        try:
            yield agent
        finally:
            await agent.close()


@asynccontextmanager
async def sdk(standin: ElevenLabsStandin) -> AsyncIterator[AsyncElevenLabs]:
    """The official client; it does not close its connections by itself."""
    async with httpx.AsyncClient() as http:
        yield AsyncElevenLabs(api_key=KEY, base_url=standin.url, httpx_client=http)


class Raw:
    """A session frame by frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, kind: str, **data: object) -> None:
        """Sends one frame."""
        await self.socket.send_str(json.dumps({"type": kind, **data}))

    async def begin(self, **data: object) -> dict[str, Any]:
        """Sends the initiation and returns the metadata."""
        await self.say("conversation_initiation_client_data", **data)
        return await self.hear("conversation_initiation_metadata")

    async def event(self) -> dict[str, Any]:
        """The next event; raises Closed."""
        message = await self.socket.receive(5.0)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ClosedError(self.socket.close_code, str(message.extra or ""))
        event: dict[str, Any] = json.loads(message.data)
        return event

    async def hear(self, kind: str) -> dict[str, Any]:
        """Reads until an event of that type."""
        while True:
            event = await self.event()
            if event["type"] == kind:
                return event

    async def closed(self) -> tuple[list[str], int | None, str]:
        """Reads to the end: the types of the events, close code and reason."""
        kinds: list[str] = []
        while True:
            try:
                kinds.append((await self.event())["type"])
            except ClosedError as end:
                return kinds, end.code, end.reason


class ClosedError(Exception):
    """The session is over."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


@asynccontextmanager
async def session(standin: ElevenLabsStandin, query: str = "agent_id=agent_1", key: str = KEY) -> AsyncIterator[Raw]:
    """Connects to the WebSocket by the key in the header, none for ""."""
    headers = {"xi-api-key": key} if key else {}
    url = f"{standin.url}/v1/convai/conversation?{query}"
    async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(url) as socket:
        yield Raw(socket)


async def fetched(standin: ElevenLabsStandin, path: str, key: str = KEY) -> tuple[int, Any]:
    """GETs a path: status and JSON."""
    headers = {"xi-api-key": key} if key else {}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(standin.url + path) as answer:
        return answer.status, await answer.json()
