"""Every course of an agent's session, driven by our own client and frame by frame."""

from __future__ import annotations

import pytest

from tests.agent.scripted import no_note
from tests.standins.elevenlabs_played import (
    AGENT,
    QUESTION,
    ClosedError,
    Raw,
    fetched,
    played,
    run,
    session,
    text_agent,
)
from wa_relay.agent.session import TextAgent
from wa_relay.model import AgentError, Answer
from wa_relay.standins.elevenlabs import DEFAULT_EVENTS, Agent, Asked, ElevenLabsStandin, Scenario

ANSWER = "Ana, el plan Premium cuesta $99/mes."


async def text_of(agent: TextAgent) -> str:
    answer = await agent.answer(QUESTION, no_note)
    assert isinstance(answer, Answer)
    return answer.text


async def answered(standin: ElevenLabsStandin, scenario: Scenario, **limits: float) -> str:
    standin.answers = {"": ANSWER}
    standin.scenarios.default = scenario
    async with text_agent(standin, **limits) as agent:  # type: ignore[arg-type]
        return await text_of(agent)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    "name", ["plain", "parts", "response_before_parts", "response_after_stop", "parts_only", "correction", "late"]
)
def test_our_client_finds_the_answer_in_every_form(name: str, complete: bool) -> None:
    async def scenario() -> None:
        async with played() as standin:
            assert await answered(standin, Scenario(name, complete=complete, between=1.0)) == ANSWER

    run(scenario())


@pytest.mark.parametrize("name", ["server_tool", "client_tool"])
def test_our_client_waits_for_what_comes_after_a_tool(name: str) -> None:
    async def scenario() -> None:
        async with played() as standin:
            assert ANSWER in await answered(standin, Scenario(name, between=0.3))

    run(scenario())


def test_a_client_tool_waits_for_the_clients_result() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.scenarios.default = Scenario("client_tool")
            async with session(standin) as raw:
                await raw.begin()
                await raw.say("user_message", text="hola")
                call = (await raw.hear("client_tool_call"))["client_tool_call"]
                assert call["expects_response"] is True
                await raw.say("client_tool_result", tool_call_id="another", result="no", is_error=False)
                await raw.say("client_tool_result", tool_call_id=call["tool_call_id"], result="sí", is_error=False)
                assert (await raw.event())["type"] == "agent_tool_response"
                assert (await raw.event())["type"] == "agent_response"
            results = [entry.data["result"] for entry in standin.journal.entries("tool_result")]
            assert results == ["no", "sí"]

    run(scenario())


def test_the_goodbye_is_an_answer_although_the_agent_hangs_up() -> None:
    async def scenario() -> None:
        async with played() as standin:
            assert await answered(standin, Scenario("goodbye")) == f"{ANSWER} ¡Hasta luego!"
            await standin.journal.wait_for(lambda entry: entry.kind == "session_closed", 30)
            closed = standin.journal.entries("session_closed")[-1].data
            assert (closed["code"], closed["reason"]) == (1000, "Agent ended call")

    run(scenario())


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("empty"),
        Scenario("silence"),
        Scenario("close_midway"),
        Scenario("drop"),
        Scenario("drop_midway"),
        Scenario("close", code=1002, error_type="llm_timeout"),
        Scenario("close", code=1008, reason="Unauthorized"),
        Scenario("close", code=1011),
        Scenario("close", code=3000, reason="[quota_exceeded] none left"),
    ],
    ids=lambda scenario: f"{scenario.name}-{scenario.code}",
)
def test_our_client_says_that_a_session_without_an_answer_is_worth_another(scenario: Scenario) -> None:
    async def play() -> None:
        async with played() as standin:
            with pytest.raises(AgentError) as error:
                await answered(standin, scenario, turn_timeout=1.0)
            assert not error.value.permanent

    run(play())


def test_the_next_session_goes_well_after_one_that_was_dropped() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.scenarios.next(Scenario("close_midway"))
            async with text_agent(standin, tries=2) as agent:
                assert "$99/mes" in await text_of(agent)
            assert len(standin.journal.entries("session")) == 2

    run(scenario())


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("plain", ["agent_response", "agent_response_complete"]),
        ("parts", ["start", "delta", "delta", "agent_response", "stop", "agent_response_complete"]),
        ("response_before_parts", ["agent_response", "start", "delta", "delta", "stop", "agent_response_complete"]),
        ("response_after_stop", ["start", "delta", "delta", "stop", "agent_response", "agent_response_complete"]),
        ("parts_only", ["start", "delta", "delta", "stop", "agent_response_complete"]),
        ("correction", ["agent_response", "agent_response_correction", "agent_response_complete"]),
    ],
)
def test_events_come_in_the_order_of_the_scenario(name: str, kinds: list[str]) -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.answers, standin.scenarios.default = {"": "dos palabras"}, Scenario(name)
            async with session(standin) as raw:
                await raw.begin()
                await raw.say("user_message", text="hola")
                heard = [await raw.event() for _ in kinds]
            parts = [event.get("text_response_part", {}).get("type", event["type"]) for event in heard]
            assert parts == kinds

    run(scenario())


def test_an_agent_sends_only_the_events_of_its_settings() -> None:
    async def scenario() -> None:
        async with played(client_events=DEFAULT_EVENTS) as standin:
            standin.scenarios.default = Scenario("parts")
            async with session(standin) as raw:
                await raw.begin()
                for _ in range(2):
                    await raw.say("user_message", text="hola")
                    assert (await raw.event())["type"] == "agent_response"

    run(scenario())


def test_the_greeting_comes_first_and_our_client_does_not_take_it_for_the_answer() -> None:
    async def scenario() -> None:
        async with played(first_message="Hola {{customer_name}}, soy Valentina.") as standin:
            async with session(standin) as raw:
                await raw.begin(dynamic_variables={"customer_name": "Ana"})
                greeting = await raw.event()
                assert greeting["agent_response_event"]["agent_response"] == "Hola Ana, soy Valentina."
            assert await answered(standin, Scenario("plain")) == ANSWER

    run(scenario())


def test_the_answer_knows_the_contexts_and_the_variables() -> None:
    async def scenario() -> None:
        heard: list[Asked] = []

        def answer(asked: Asked) -> str:
            heard.append(asked)
            return "claro"

        async with played() as standin:
            standin.answers = answer
            async with session(standin) as raw:
                await raw.begin(dynamic_variables={"plan": "Oro"})
                await raw.say("contextual_update", text="uno")
                await raw.say("contextual_update", text="dos", context_id="call")
                await raw.say("contextual_update", text="tres", context_id="call")
                await raw.say("user_message", text="¿y?")
                assert (await raw.event())["type"] == "agent_response"
        assert (heard[0].text, heard[0].context, heard[0].variables) == ("¿y?", ("uno", "tres"), {"plan": "Oro"})

    run(scenario())


def test_answers_of_a_table_are_found_by_a_word_of_the_question() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.answers = {"horario": "{{customer_name}}, abrimos a las 8."}
            async with session(standin) as raw:
                await raw.begin(dynamic_variables={"customer_name": "Ana"})
                await raw.say("user_message", text="¿Qué HORARIO tienen?")
                event = await raw.hear("agent_response")
                assert event["agent_response_event"]["agent_response"] == "Ana, abrimos a las 8."

    run(scenario())


def test_a_session_that_does_not_begin_with_its_initiation_is_refused() -> None:
    async def scenario() -> None:
        async with played() as standin, session(standin) as raw:
            await raw.say("user_message", text="hola")
            kinds, code, _ = await raw.closed()
            assert (kinds, code) == (["error"], 1008)

    run(scenario())


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ({"conversation": {"text_only": True}}, "text_only"),
        ({"text_only": True}, "text_only"),
        ({"agent": {"first_message": ""}}, "first_message"),
        ({"agent": {"prompt": {"prompt": "x"}}}, "prompt"),
    ],
)
def test_a_forbidden_override_is_refused_with_the_services_message(override: object, field: str) -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.settings.error_events = False
            async with session(standin) as raw:
                await raw.say("conversation_initiation_client_data", conversation_config_override=override)
                reason = f"Override for field '{field}' is not allowed by config."
                assert await raw.closed() == ([], 1008, reason)

    run(scenario())


def test_a_permitted_override_changes_the_session() -> None:
    async def scenario() -> None:
        permitted = frozenset({"agent.first_message"})
        async with played(first_message="Hola", overrides=permitted) as standin, session(standin) as raw:
            await raw.begin(conversation_config_override={"agent": {"first_message": "Buenas"}})
            assert (await raw.event())["agent_response_event"]["agent_response"] == "Buenas"

    run(scenario())


def test_a_variable_of_the_prompt_has_to_be_supplied() -> None:
    async def scenario() -> None:
        async with played(prompt="Cliente: {{ customer_name }}, {{system__time}}") as standin, session(standin) as raw:
            await raw.say("conversation_initiation_client_data", dynamic_variables={"plan": "Oro"})
            error = (await raw.event())["error_event"]
            assert error["error_type"] == "missing_dynamic_variable"
            assert "customer_name" in error["reason"]
            assert (await raw.closed())[1] == 1008

    run(scenario())


def test_a_private_agent_lets_in_by_key_or_signature_and_nobody_else() -> None:
    async def scenario() -> None:
        async with played() as standin:
            for query, key, welcome in (
                ("agent_id=agent_1", "", False),
                ("agent_id=agent_1", "wrong", False),
                ("agent_id=agent_1&conversation_signature=AAAA", "", False),
                ("agent_id=agent_1", "sk_played", True),
            ):
                async with session(standin, query, key) as raw:
                    assert await welcomed(raw) is welcome

    run(scenario())


def test_a_public_agent_admits_every_client_and_an_unknown_one_admits_none() -> None:
    async def scenario() -> None:
        async with played(enable_auth=False) as standin:
            async with session(standin, key="") as raw:
                assert await welcomed(raw)
            async with session(standin, "agent_id=agent_9", key="") as raw:
                assert not await welcomed(raw)

    run(scenario())


def test_a_signed_url_holds_for_15_minutes_and_its_agent() -> None:
    async def scenario() -> None:
        now = [1_000_000.0]
        standin = ElevenLabsStandin("sk_played", clock=lambda: now[0])
        standin.add_agent(AGENT)
        standin.add_agent(Agent("agent_2"))
        await standin.start()
        try:
            _, body = await fetched(standin, "/v1/convai/conversation/get-signed-url?agent_id=agent_1")
            query = body["signed_url"].split("?")[1]
            for later, asked, welcome in (
                (899.0, query, True),
                (899.0, query.replace("agent_1", "agent_2"), False),
                (901.0, query, False),
            ):
                now[0] = 1_000_000.0 + later
                async with session(standin, asked, key="") as raw:
                    assert await welcomed(raw) is welcome
        finally:
            await standin.stop()

    run(scenario())


def test_a_signed_url_with_a_conversation_id_works_once() -> None:
    async def scenario() -> None:
        async with played() as standin:
            path = "/v1/convai/conversation/get-signed-url?agent_id=agent_1&include_conversation_id=true"
            _, body = await fetched(standin, path)
            url, query = body["signed_url"], body["signed_url"].split("?")[1]
            async with session(standin, query, key="") as raw:
                metadata = (await raw.begin())["conversation_initiation_metadata_event"]
                assert metadata["conversation_id"] in url
            async with session(standin, query, key="") as raw:
                assert not await welcomed(raw)

    run(scenario())


async def welcomed(raw: Raw) -> bool:
    try:
        await raw.begin()
    except (ClosedError, ConnectionError):
        return False
    return True


def test_pings_come_and_a_client_that_does_not_answer_them_is_closed() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.settings.ping_seconds, standin.settings.pong_seconds = 0.02, 0.3
            async with session(standin) as raw:
                await raw.begin()
                for number in (1, 2, 3):
                    ping = (await raw.event())["ping_event"]
                    assert ping["event_id"] == number
                    await raw.say("pong", event_id=number)
                kinds, code, reason = await raw.closed()
                assert set(kinds) == {"ping", "error"}
                assert (code, reason) == (1002, "No pong")

    run(scenario())


def test_a_session_without_user_input_ends_with_1002() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.settings.idle_seconds = 0.2
            async with session(standin) as raw:
                await raw.begin()
                assert (await raw.event())["error_event"]["error_type"] == "transport_receive_timeout"
                _, code, reason = await raw.closed()
                assert (code, reason) == (1002, "No user input for 0.2 seconds")

    run(scenario())


def test_a_session_ends_with_1000_after_its_longest_duration() -> None:
    async def scenario() -> None:
        async with played(max_duration=0.1) as standin, session(standin) as raw:
            await raw.begin()
            assert (await raw.closed())[1] == 1000

    run(scenario())


def test_a_text_session_becomes_a_conversation_of_its_own() -> None:
    async def scenario() -> None:
        async with played() as standin:
            async with session(standin) as raw:
                body = await raw.begin(user_id="+573001112233")
                conversation_id = body["conversation_initiation_metadata_event"]["conversation_id"]
                await raw.say("user_message", text="hola")
                await raw.hear("agent_response")
            await standin.journal.wait_for(lambda entry: entry.kind == "session_closed", 30)
            _, shown = await fetched(standin, f"/v1/convai/conversations/{conversation_id}")
            assert (shown["status"], shown["metadata"]["text_only"], shown["user_id"]) == (
                "done",
                True,
                "+573001112233",
            )
            assert [turn["role"] for turn in shown["transcript"]] == ["user", "agent"]
            assert shown["metadata"]["phone_call"] is None

    run(scenario())
