"""Turns over real sockets: sessions, tries, limits, and failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.stopwatch import Stopwatch
from wa_relay.agent.session import TextAgent
from wa_relay.agent.tries import Result
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.signed_url import SignedUrls
from wa_relay.model import AgentError, Answer, Line, NoCapacityError, Question, RelayError, Silence
from wa_relay.policy import TryLimits

from .scripted import (
    Script,
    Scripted,
    Socket,
    answers,
    begin,
    breaks_after_a_tool,
    closes,
    empty,
    end,
    lost,
    no_note,
    say,
    scripted,
    settings,
    silent,
    skips,
)

QUICK = TryLimits(tries=3, total=5.0, base=0.01, cap=0.02)
QUESTION = Question(
    agent_id="agent_1",
    text="Sí me interesa, ¿precio?",
    call_key="conv_call",
    variables={"client_name": "Ana", "system__time": "3"},
    summary="Ana quiere el plan.",
    thread=(Line("agent", "Hola Ana, gracias por atender."),),
)


@asynccontextmanager
async def agent_of(
    service: Scripted,
    *,
    turn_timeout: float = 3.0,
    settle: float = 0.05,
    limits: TryLimits = QUICK,
    signing: bool = True,
) -> AsyncIterator[TextAgent]:
    """The agent side of the relay, beside the scripted service."""
    async with scripted(service), ElevenLabs(service.base_url, "key") as api, aiohttp.ClientSession() as http:
        base_url = service.base_url
        signed_urls = SignedUrls(http, base_url, "key") if signing else None
        agent = TextAgent(
            api,
            http,
            turn_timeout=turn_timeout,
            settle=settle,
            base_url=base_url,
            signed_urls=signed_urls,
            limits=limits,
        )
        try:
            yield agent
        finally:
            await agent.close()


def ask(service: Scripted, *, turn_timeout: float = 3.0, limits: TryLimits = QUICK, signing: bool = True) -> Answer:
    """One question to the scripted service."""

    async def scenario() -> Result:
        async with agent_of(service, turn_timeout=turn_timeout, limits=limits, signing=signing) as agent:
            return await agent.answer(QUESTION, no_note)

    answer = asyncio.run(scenario())
    assert isinstance(answer, Answer)
    return answer


def outcome_of(service: Scripted) -> tuple[Result | RelayError, list[int]]:
    """The result of one question, and the number of frames that the service had received when tools were noted."""
    noted: list[int] = []

    async def note(*, handover: bool = False) -> None:
        noted.append(len(service.frames))

    async def scenario() -> Result | RelayError:
        async with agent_of(service, turn_timeout=0.5) as agent:
            try:
                return await agent.answer(QUESTION, note)
            except RelayError as error:
                return error

    return asyncio.run(scenario()), noted


@pytest.mark.parametrize("script", [closes(1000), skips])
def test_an_agent_that_says_nothing_is_not_asked_again(script: Script) -> None:
    service = Scripted([script], settings())
    outcome, noted = outcome_of(service)
    assert (outcome, service.sessions, noted) == (Silence("conv_1"), 1, [])


@pytest.mark.parametrize("script", [closes(3008), closes(4300), closes(1008, "concurrent_limit_exceeded")])
def test_a_session_without_capacity_does_not_count_as_a_try(script: Script) -> None:
    service = Scripted([script], settings())
    outcome, _ = outcome_of(service)
    assert isinstance(outcome, NoCapacityError)
    assert service.sessions == 1


def test_a_signed_url_refused_for_lack_of_capacity_does_not_count_as_a_try() -> None:
    service = Scripted([silent], settings(), sign_statuses=[429])
    outcome, _ = outcome_of(service)
    assert isinstance(outcome, NoCapacityError)
    assert (service.signed, service.sessions) == (1, 0)


def test_a_turn_that_breaks_after_a_tool_is_not_asked_again() -> None:
    service = Scripted([breaks_after_a_tool, answers("Otra vez")], settings())
    outcome, noted = outcome_of(service)
    assert isinstance(outcome, AgentError)
    assert "a tool was or may have been called" in outcome.message
    assert service.sessions == 1
    kinds = [frame["type"] for frame in service.frames]
    assert kinds[noted[0] :] == ["client_tool_result"], "noted before the result of the tool is sent"


def test_a_turn_whose_tools_are_unseen_is_noted_before_its_question_and_not_asked_again() -> None:
    known = settings(tools=[{"type": "webhook", "name": "reservar"}])
    service = Scripted([closes(1011), answers("Otra vez")], known)
    outcome, noted = outcome_of(service)
    assert isinstance(outcome, AgentError)
    assert service.sessions == 1
    kinds = [frame["type"] for frame in service.frames]
    assert "user_message" not in kinds[: noted[0]]


def test_a_turn_whose_tools_are_seen_is_asked_again() -> None:
    known = settings(tools=[{"type": "webhook"}], events=["agent_tool_request", "agent_tool_response"])
    service = Scripted([closes(1011), answers("Otra vez")], known)
    outcome, noted = outcome_of(service)
    assert (outcome, noted) == (Answer("Otra vez", session_id="conv_2"), [])


def refused(service: Scripted, *, turn_timeout: float = 3.0, signing: bool = True) -> AgentError:
    """The error of a question without an answer."""
    with pytest.raises(AgentError) as caught:
        ask(service, turn_timeout=turn_timeout, signing=signing)
    return caught.value


def test_an_answer_comes_with_its_session() -> None:
    """The plain turn."""
    service = Scripted([answers("Cuesta $99")], settings())
    assert ask(service) == Answer("Cuesta $99", session_id="conv_1")


def test_the_agent_gets_the_call_and_is_asked_once() -> None:
    """Variables without the service's own, the recap, the text."""
    service = Scripted([answers("Cuesta $99")], settings())
    ask(service)
    assert service.of("conversation_initiation_client_data") == [
        {
            "type": "conversation_initiation_client_data",
            "dynamic_variables": {
                "client_name": "Ana",
                "channel": "whatsapp",
                "previous_conversation_id": "conv_call",
                "previous_summary": "Ana quiere el plan.",
            },
        }
    ]
    assert [frame["text"] for frame in service.of("user_message")] == ["Sí me interesa, ¿precio?"]
    context = str(service.of("contextual_update")[0]["text"])
    assert "Ana quiere el plan." in context
    assert "Tú: Hola Ana, gracias por atender." in context


def test_an_answer_without_an_announced_end_settles() -> None:
    """Quiet ends it."""
    assert ask(Scripted([answers("Cuesta $99", complete=False)], settings())).text == "Cuesta $99"


def test_a_greeting_is_not_the_answer() -> None:
    """Neither with the agent's settings nor without them."""
    greeting = "Hola Ana, soy Laura."
    for known in (settings("Hola {{client_name}}, soy Laura."), None):
        service = Scripted([answers("Cuesta $99", greeting)], known)
        assert ask(service).text == "Cuesta $99"
        assert service.sessions == 1


@pytest.mark.parametrize(
    ("known", "override"),
    [
        (settings(allowed=True), {"conversation": {"text_only": True}}),
        (settings(allowed=False), None),
        (settings(allowed=True, text_only=True), None),
        (settings(text_only=True), None),
    ],
)
def test_the_override_is_sent_only_where_it_is_allowed_and_needed(
    known: dict[str, object], override: dict[str, object] | None
) -> None:
    """A forbidden one would end the session."""
    service = Scripted([answers("Cuesta $99")], known)
    ask(service)
    assert service.of("conversation_initiation_client_data")[0].get("conversation_config_override") == override


def test_an_override_that_is_refused_after_all_is_left_out() -> None:
    """The settings were changed after they were read."""
    reason = "Override for field 'text_only' is not allowed by config."
    service = Scripted([closes(1008, reason), answers("Cuesta $99")], settings(allowed=True))
    assert ask(service).text == "Cuesta $99"
    first, second = service.of("conversation_initiation_client_data")
    assert "conversation_config_override" in first
    assert "conversation_config_override" not in second


def test_the_settings_are_read_once() -> None:
    """Also by questions that come together."""

    async def scenario() -> Scripted:
        service = Scripted([answers("Cuesta $99")], settings())
        async with agent_of(service) as agent:
            await asyncio.gather(*(agent.answer(QUESTION, no_note) for _ in range(5)))
            await agent.answer(QUESTION, no_note)
        return service

    service = asyncio.run(scenario())
    assert (service.settings_read, service.sessions) == (1, 6)


@pytest.mark.parametrize("first", [silent, empty, closes(1002, "llm_timeout"), closes(1011), lost])
def test_a_session_without_text_is_followed_by_a_fresh_one(first: Script) -> None:
    """For every cause of a missing text."""
    service = Scripted([first, answers("Cuesta $99")], settings())
    assert ask(service, turn_timeout=1.0).text == "Cuesta $99"
    assert service.sessions == 2


@pytest.mark.parametrize("script", [silent, empty, closes(1011), lost])
def test_there_are_three_sessions_at_most(script: Script) -> None:
    """Then the turn has failed, in words, and may be asked another time."""
    service = Scripted([script], settings())
    # A session has to begin within it, on a busy machine too.
    error = refused(service, turn_timeout=1.0)
    assert service.sessions == 3
    assert not error.permanent
    assert "3 tries" in error.message


def test_all_tries_together_have_a_limit() -> None:
    """A fresh session gets only what is left."""

    async def scenario() -> tuple[float, Scripted]:
        service = Scripted([silent], settings())
        async with agent_of(service, turn_timeout=2.0, limits=TryLimits(total=2.2, base=0.0)) as agent:
            watch = Stopwatch()
            with pytest.raises(AgentError):
                await agent.answer(QUESTION, no_note)
            return watch.seconds, service

    seconds, service = asyncio.run(scenario())
    assert service.sessions == 2
    assert seconds < 3.5


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (closes(1008, "Missing required dynamic variables in first message: {'plan'}"), "dynamic variable"),
        (closes(3000, "[quota_exceeded] over"), "quota"),
    ],
)
def test_a_close_that_a_person_must_act_on_is_tried_again_like_any_other(script: Script, words: str) -> None:
    """The service may mean that session alone; its message is reported when no session brought text."""
    service = Scripted([script], settings())
    error = refused(service)
    assert words in error.message
    assert service.sessions == 3
    assert ask(Scripted([script, answers("Cuesta $99")], settings())).text == "Cuesta $99"


@pytest.mark.parametrize("unseen", ["\u200b \n", "---", "** **"])
def test_an_answer_with_nothing_to_see_is_tried_again(unseen: str) -> None:
    """It is empty, so the turn has brought no text."""
    service = Scripted([answers(unseen), answers("Cuesta $99")], settings())
    assert ask(service).text == "Cuesta $99"
    assert service.sessions == 2


@pytest.mark.parametrize("signing", [True, False])
@pytest.mark.parametrize(("status", "words"), [(401, "elevenlabs.api_key"), (404, "knows no agent agent_1"), (422, "")])
def test_a_refused_signed_url_is_permanent(status: int, words: str, signing: bool) -> None:
    """And says what to do."""
    service = Scripted([silent], settings(), sign_statuses=[status])
    error = refused(service, signing=signing)
    assert error.permanent
    assert words in error.message
    assert (service.signed, service.sessions) == (1, 0)


@pytest.mark.parametrize("signing", [True, False])
@pytest.mark.parametrize("status", [500, 503])
def test_a_signed_url_that_is_not_available_is_tried_again(status: int, signing: bool) -> None:
    """Twice, after a pause."""
    service = Scripted([answers("Cuesta $99")], settings(), sign_statuses=[status, status])
    assert ask(service, signing=signing).text == "Cuesta $99"
    assert service.signed == 3


@pytest.mark.parametrize("answer", ["", "<html>", "[]", "{}", '{"signed_url": 7}', '{"signed_url": "' + "x" * 99_999])
def test_an_answer_without_a_signed_url_is_a_failure_with_a_message(answer: str) -> None:
    """And worth another try: a proxy may have stood in for the service."""
    service = Scripted([silent], settings(), sign_body=answer)
    error = refused(service)
    assert "elevenlabs.base_url" in error.message
    assert (service.signed, service.sessions) == (3, 0)


def test_a_normal_close_after_the_goodbye_is_an_answer() -> None:
    """The agent ended the session itself."""
    assert ask(Scripted([closes(1000, "", "¡Adiós!")], settings())).text == "¡Adiós!"


def test_the_socket_goes_to_the_host_of_the_base_url() -> None:
    """A signed URL of another host is taken there."""
    service = Scripted([answers("Cuesta $99")], settings())
    service.signed_url = "wss://agents.example.com/v1/convai/conversation?agent_id=a"
    assert ask(service).text == "Cuesta $99"


def test_a_socket_address_without_a_listener_is_a_failure_with_a_message() -> None:
    """And worth another try."""
    service = Scripted([silent], settings())
    service.signed_url = "ws://127.0.0.1:1/v1/convai/conversation"
    error = refused(service)
    assert not error.permanent
    assert "no connection to ElevenLabs" in error.message


def test_a_tool_call_and_pings_are_answered_on_the_wire() -> None:
    """And the answer after them is found."""

    async def script(service: Scripted, socket: Socket) -> None:
        await begin(service, socket)
        await socket.send_json({"type": "ping", "ping_event": {"event_id": 7}})
        await service.hear(socket, "pong")
        call = {"tool_name": "cotizar", "tool_call_id": "t1", "parameters": {}, "event_id": 2}
        await socket.send_json({"type": "client_tool_call", "client_tool_call": call})
        result = await service.hear(socket, "client_tool_result")
        await say(socket, f"error: {result['is_error']}", 3)
        await end(socket, 3)

    assert ask(Scripted([script], settings())).text == "error: True"


def test_the_session_is_closed_after_the_answer() -> None:
    """With a goodbye; the service's slot is not held any longer."""

    async def scenario() -> list[int | None]:
        service = Scripted([answers("Cuesta $99")], settings())
        async with agent_of(service) as agent:
            await agent.answer(QUESTION, no_note)
            async with asyncio.timeout(30.0):
                await service.over.wait()
            return service.close_codes

    assert asyncio.run(scenario()) == [1000]


def test_many_turns_run_beside_each_other() -> None:
    """A slow agent holds up its own turn only."""

    async def scenario() -> tuple[list[Result], float]:
        async def slow(service: Scripted, socket: Socket) -> None:
            await begin(service, socket)
            await asyncio.sleep(0.3)
            await say(socket, "Cuesta $99")
            await end(socket)

        service = Scripted([slow], settings())
        async with agent_of(service) as agent:
            watch = Stopwatch()
            got = await asyncio.gather(*(agent.answer(QUESTION, no_note) for _ in range(30)))
            return got, watch.seconds

    got, seconds = asyncio.run(scenario())
    assert {answer.text for answer in got if isinstance(answer, Answer)} == {"Cuesta $99"}
    assert seconds < 3.0
