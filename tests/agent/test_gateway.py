"""The document's message call, over real sockets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.agent.scripted import no_note
from wa_relay.agent.gateway import GatewayAgent
from wa_relay.agent.tries import Result
from wa_relay.model import AgentError, Answer, NoCapacityError, Question
from wa_relay.policy import TryLimits

QUICK = TryLimits(tries=3, total=5.0, base=0.01, cap=0.02)
QUESTION = Question(agent_id="agent_1", text="¿Precio?", call_key="conv/1")


@dataclass
class Gateway:
    """Answers call after call with the next of `answers`: a status and a body; the last one stays."""

    answers: list[tuple[int, object]]
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Notes what was asked."""
        self.seen.append((request.raw_path, request.headers.get("xi-api-key", ""), await request.read()))
        status, body = self.answers[min(len(self.seen), len(self.answers)) - 1]
        if status == 0:
            await asyncio.sleep(5.0)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json", headers=self.headers)


def ask(gateway: Gateway, question: Question = QUESTION, *, timeout: float = 2.0) -> Answer:
    """One question to the gateway."""

    async def scenario() -> Result:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", gateway.handle)
        async with TestServer(app, handler_cancellation=True) as server, aiohttp.ClientSession() as http:
            base = f"http://127.0.0.1:{server.port}/"
            agent = GatewayAgent(http, base, "key", turn_timeout=timeout, limits=QUICK)
            return await agent.answer(question, no_note)

    answer = asyncio.run(scenario())
    assert isinstance(answer, Answer)
    return answer


def test_the_call_is_exactly_the_documents() -> None:
    """Path, key and body."""
    gateway = Gateway([(200, {"response": "Cuesta $99"})])
    assert ask(gateway) == Answer("Cuesta $99")
    path, key, body = gateway.seen[0]
    assert path == "/v1/convai/conversations/conv%2F1/message"
    assert key == "key"
    assert json.loads(body) == {"message": "¿Precio?", "mode": "text"}


@pytest.mark.parametrize(
    "body",
    [
        {"response": "sí", "message": "no", "text": "no"},
        {"response": "", "message": "sí"},
        {"response": None, "text": "sí", "agent_response": "no"},
        {"message": {"text": "no"}, "agent_response": " sí "},
    ],
)
def test_the_answer_is_the_first_of_its_fields_with_text(body: dict[str, object]) -> None:
    """In the order response, message, text, agent_response."""
    assert ask(Gateway([(200, body)])).text == "sí"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, 'elevenlabs.transport = "websocket"'),
        (401, "elevenlabs.api_key"),
        (422, "422"),
        (302, "elevenlabs.base_url"),
    ],
)
def test_a_refusal_is_permanent_and_says_what_to_do(status: int, words: str) -> None:
    """No second call."""
    gateway = Gateway([(status, {"detail": "Not Found"})], headers={"Location": "http://127.0.0.1:1/"})
    with pytest.raises(AgentError) as caught:
        ask(gateway)
    assert caught.value.permanent
    assert words in caught.value.message
    assert len(gateway.seen) == 1


@pytest.mark.parametrize(
    "first",
    [(500, {}), (503, "<html>"), (200, "<html>"), (200, []), (200, {}), (200, {"response": "  "}), (0, {})],
)
def test_a_passing_failure_is_tried_again(first: tuple[int, object]) -> None:
    """Also an answer without text, and one that does not come."""
    gateway = Gateway([first, (200, {"text": "Cuesta $99"})])
    assert ask(gateway, timeout=1.0).text == "Cuesta $99"
    assert len(gateway.seen) == 2


def test_three_failures_are_the_end() -> None:
    """With a message, and not permanently."""
    gateway = Gateway([(500, {})])
    with pytest.raises(AgentError) as caught:
        ask(gateway)
    assert not caught.value.permanent
    assert "the gateway answered 500" in caught.value.message
    assert len(gateway.seen) == 3


def test_a_pause_that_is_asked_for_beyond_the_limit_ends_the_turn() -> None:
    """No time is left for another try."""
    gateway = Gateway([(500, {})], headers={"Retry-After": "3600"})
    with pytest.raises(AgentError):
        ask(gateway)
    assert len(gateway.seen) == 1


def test_a_gateway_without_room_is_not_asked_again_at_once() -> None:
    gateway = Gateway([(429, {})], headers={"Retry-After": "7"})
    with pytest.raises(NoCapacityError) as caught:
        ask(gateway)
    assert (len(gateway.seen), caught.value.retry_after) == (1, 7.0)


def test_an_answer_without_end_is_refused() -> None:
    """It would fill the memory."""
    with pytest.raises(AgentError) as caught:
        ask(Gateway([(200, {"response": "x" * 2_000_000})]))
    assert caught.value.permanent


def test_a_person_without_a_call_can_not_be_answered_this_way() -> None:
    """The path needs the call's conversation."""
    gateway = Gateway([(200, {"response": "no"})])
    with pytest.raises(AgentError) as caught:
        ask(gateway, Question(agent_id="agent_1", text="hola"))
    assert caught.value.permanent
    assert not gateway.seen
