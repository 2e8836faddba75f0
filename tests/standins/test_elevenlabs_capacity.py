"""Capacity, silence and tools, frame by frame."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from elevenlabs.core.api_error import ApiError

from tests.standins.elevenlabs_played import ClosedError, fetched, played, run, sdk, session
from wa_relay.standins.elevenlabs import DEFAULT_EVENTS, ElevenLabsStandin, Scenario

SIGNED = "/v1/convai/conversation/get-signed-url?agent_id=agent_1"


def test_the_signed_url_is_refused_while_too_many_sessions_are_open() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            standin.settings.most_sessions = 1
            async with session(standin) as first:
                await first.begin()
                with pytest.raises(ApiError) as caught:
                    await api.conversational_ai.conversations.get_signed_url(
                        agent_id="agent_1", request_options={"max_retries": 0}
                    )
                assert caught.value.status_code == 429
                assert caught.value.body["detail"]["code"] == "concurrent_limit_exceeded"
                assert caught.value.headers is not None
                assert caught.value.headers["maximum-concurrent-requests"] == "1"
            await standin.journal.wait_for(lambda entry: entry.kind == "session_closed")
            assert (await fetched(standin, SIGNED))[0] == 200
            assert (standin.sessions_open, standin.sessions_peak) == (0, 1)

    run(scenario())


def test_a_session_too_many_is_closed_with_3008() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.settings.most_sessions, standin.settings.full = 1, "3008"
            async with session(standin) as first, session(standin) as second:
                await first.begin()
                assert (await fetched(standin, SIGNED))[0] == 200
                await second.say("conversation_initiation_client_data")
                kinds, code, _ = await second.closed()
                assert (kinds, code) == (["error"], 3008)

    run(scenario())


def test_a_session_waits_in_the_queue_until_another_one_ends() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.settings.most_sessions, standin.settings.full = 1, "queue"
            async with session(standin) as second:
                async with session(standin) as first:
                    await first.begin()
                    await second.say("conversation_initiation_client_data")
                    assert (await second.event())["queue_status_event"] == {"status": "waiting"}
                assert (await second.event())["queue_status_event"] == {"status": "admitted"}
                await second.hear("conversation_initiation_metadata")
                assert (standin.sessions_open, standin.sessions_peak) == (1, 1)

    run(scenario())


def test_a_session_that_waited_too_long_is_closed_with_4300() -> None:
    async def scenario() -> None:
        async with played() as standin:
            settings = standin.settings
            settings.most_sessions, settings.full, settings.queue_seconds = 1, "queue", 0.05
            async with session(standin) as first, session(standin) as second:
                await first.begin()
                await second.say("conversation_initiation_client_data")
                kinds, code, _ = await second.closed()
                assert (kinds, code) == (["queue_status", "queue_status"], 4300)

    run(scenario())


async def heard(standin: ElevenLabsStandin, scenario: Scenario) -> tuple[list[str], int | None]:
    """The types of a turn's events, and the code with which the session ended (None: it stayed open)."""
    standin.scenarios.default = scenario
    kinds: list[str] = []
    async with session(standin) as raw:
        await raw.begin()
        await raw.say("user_message", text="hola")
        try:
            while True:
                event = await asyncio.wait_for(raw.event(), 1.0)
                if event["type"] == "client_tool_call":
                    number = event["client_tool_call"]["tool_call_id"]
                    await raw.say("client_tool_result", tool_call_id=number, result="ok", is_error=False)
                kinds.append(event["type"])
        except ClosedError as closed:
            return kinds, closed.code
        except TimeoutError:
            return kinds, None


TOOL = ["agent_tool_request", "agent_tool_response"]


@pytest.mark.parametrize(
    ("scenario", "events", "code"),
    [
        (Scenario("skip_turn"), [*TOOL, "agent_response_complete"], None),
        (Scenario("skip_turn", complete=False), TOOL, None),
        (Scenario("end_call"), TOOL, 1000),
        (Scenario("hang_up"), [], 1000),
        (Scenario("server_tool", aside=False, then="silence", complete=False), TOOL, None),
        (Scenario("server_tool", aside=False, then="drop"), TOOL, 1006),
        (Scenario("server_tool", aside=False, then="close", code=1011), TOOL, 1011),
        (
            Scenario("mcp_tool"),
            ["agent_response", *["mcp_tool_call"] * 2, "agent_response", "agent_response_complete"],
            None,
        ),
        (
            Scenario("client_tool", tool="transfer_to_human", aside=False, then="silence", complete=False),
            ["client_tool_call", "agent_tool_response"],
            None,
        ),
    ],
)
def test_silences_and_tools_have_their_events(scenario: Scenario, events: list[str], code: int | None) -> None:
    async def play() -> None:
        async with played() as standin:
            assert await heard(standin, scenario) == (events, code)

    run(play())


@pytest.mark.parametrize("name", ["server_tool", "client_tool", "mcp_tool"])
def test_each_run_of_a_tool_is_recorded_although_no_event_shows_it(name: str) -> None:
    async def play() -> None:
        async with played(client_events=DEFAULT_EVENTS) as standin:
            for _ in range(2):
                kinds, _ = await heard(standin, Scenario(name, tool="reservar_cita", aside=False))
                assert kinds == ["agent_response"]
            runs = [entry.data["name"] for entry in standin.journal.entries("tool_run")]
            assert runs == ["reservar_cita", "reservar_cita"]

    run(play())


def test_a_failed_tool_is_marked() -> None:
    async def play() -> None:
        async with played() as standin, session(standin) as raw:
            standin.scenarios.default = Scenario("server_tool", tool_fails=True)
            await raw.begin()
            await raw.say("user_message", text="hola")
            event: dict[str, Any] = (await raw.hear("agent_tool_response"))["agent_tool_response"]
            assert event["is_error"] is True
            standin.scenarios.default = Scenario("mcp_tool", tool_fails=True)
            await raw.say("user_message", text="hola")
            await raw.hear("mcp_tool_call")
            assert (await raw.hear("mcp_tool_call"))["mcp_tool_call"]["state"] == "failure"

    run(play())


def test_an_answer_for_a_voice_has_its_marks() -> None:
    async def play() -> None:
        async with played() as standin, session(standin) as raw:
            standin.answers, standin.scenarios.default = {"": "Claro."}, Scenario("spoken")
            await raw.begin()
            await raw.say("user_message", text="hola")
            said = (await raw.hear("agent_response"))["agent_response_event"]["agent_response"]
            assert said == '[laughs] Claro. <break time="1s"/>'

    run(play())
