"""The outcomes of a turn: silence, tools, no capacity at ElevenLabs, and variables that the campaign left empty."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.stage import AGENT, ANA, PAYLOAD, Stage, payload, run, stage, until
from wa_relay.config import Reply
from wa_relay.standins.elevenlabs import Agent, Scenario

FALLBACK = Reply().fallback
WEBHOOK_TOOL = {"type": "webhook", "name": "reservar_cita"}


async def _write_again(s: Stage, text: str = "¿Sigues ahí?") -> None:
    """Writes once more and waits for the answer: what came before it has ended by then."""
    before = len(s.bodies())
    await s.twilio.customer_writes(ANA, text)
    await s.sent(before + 1)


@pytest.mark.parametrize("full", ["429", "3008", "queue"])
def test_forty_customers_who_write_at_once_are_all_answered_by_five_sessions(tmp_path: Path, full: str) -> None:
    phones = [f"+5730011122{number:02}" for number in range(40)]

    async def scenario() -> None:
        async with stage(tmp_path) as s:
            settings = s.elevenlabs.settings
            settings.most_sessions, settings.full = 5, full  # type: ignore[assignment]
            settings.queue_seconds = 0.2
            s.elevenlabs.scenarios.default = Scenario(before=0.1)
            for phone in phones:
                assert (await s.report(payload(f"conv_{phone}", phone))).status == 200
            await until(lambda: len(s.twilio.accepted()) >= len(phones))
            await asyncio.gather(*(s.twilio.customer_writes(phone, "¿Precio?") for phone in phones))
            for phone in phones:
                await s.sent(2, phone, within=60.0)
            assert s.elevenlabs.sessions_peak <= 5
            assert FALLBACK not in [body for phone in phones for body in s.bodies(phone)]
            assert {len(s.bodies(phone)) for phone in phones} == {2}

    run(scenario(), within=300)


@pytest.mark.parametrize("silence", ["skip_turn", "end_call", "hang_up"])
def test_an_agent_that_says_nothing_is_asked_once_and_nothing_is_sent(tmp_path: Path, silence: str) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.next(Scenario(silence))
            await s.twilio.customer_writes(ANA, "Gracias, adiós")
            await until(lambda: "agent_silent" in s.relay.log)
            await _write_again(s)
            asked = [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]
            assert asked == ["Gracias, adiós", "¿Sigues ahí?"]
            assert FALLBACK not in s.bodies()

    run(scenario())


@pytest.mark.parametrize(
    ("tool", "agent"),
    [
        ("server_tool", AGENT),
        ("client_tool", AGENT),
        ("mcp_tool", AGENT),
        ("server_tool", replace(AGENT, tools=(WEBHOOK_TOOL,), client_events=("agent_response",))),
    ],
)
def test_a_tool_that_ran_is_never_run_again_however_the_session_ends(tmp_path: Path, tool: str, agent: Agent) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, agent=agent) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.default = Scenario(tool, aside=False, then="close", code=1011)
            await s.twilio.customer_writes(ANA, "Reserva el jueves")
            assert FALLBACK in await s.sent(2)
            s.elevenlabs.scenarios.default = Scenario()
            await _write_again(s)
            assert len(s.elevenlabs.journal.entries("tool_run")) == 1
            asked = [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]
            assert asked == ["Reserva el jueves", "¿Sigues ahí?"]

    run(scenario())


def test_a_variable_that_the_campaign_left_empty_does_not_end_the_session(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, agent=replace(AGENT, prompt="Cita: {{cita}}, planes: {{planes}}")) as s:
            variables = {"cita": None, "planes": ["Oro"]}
            await s.report({**PAYLOAD, "recipient": {**PAYLOAD["recipient"], "variables": variables}})
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            (session,) = s.elevenlabs.journal.entries("session")
            assert session.data["variables"] | {"cita": "", "planes": '["Oro"]'} == session.data["variables"]  # type: ignore[operator]
            assert FALLBACK not in s.bodies()

    run(scenario())


def test_messages_that_come_while_the_agent_thinks_are_asked_with_the_rest_and_answered_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.next(Scenario(before=1.0))
            s.elevenlabs.answers = {"": "Cuesta $99."}
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await until(lambda: s.elevenlabs.journal.entries("user_message"))
            await s.twilio.customer_writes(ANA, "¿Y para dos?")
            assert await s.sent(2) == [s.bodies()[0], "Cuesta $99."]
            asked = [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]
            assert asked == ["¿Precio?", "¿Precio?\n¿Y para dos?"]
            await _write_again(s)
            assert len(s.bodies()) == 3

    run(scenario())


def test_a_turn_is_asked_again_twice_at_most(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.next(Scenario(before=0.7), 3)
            for number in range(4):
                await s.twilio.customer_writes(ANA, f"{number}")
                count = min(number + 1, 3)
                await until(lambda count=count: len(s.elevenlabs.journal.entries("user_message")) >= count)  # type: ignore[misc]
            await s.sent(3)
            asked = [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]
            assert asked == ["0", "0\n1", "0\n1\n2", "3"]

    run(scenario())


def test_an_answer_after_a_tool_goes_out_although_the_customer_wrote_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.next(Scenario("server_tool", aside=False, before=0.3, between=0.3))
            await s.twilio.customer_writes(ANA, "Reserva el jueves")
            await until(lambda: s.elevenlabs.journal.entries("user_message"))
            await s.twilio.customer_writes(ANA, "a las tres")
            await s.sent(3)
            asked = [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]
            assert asked == ["Reserva el jueves", "a las tres"]
            assert len(s.elevenlabs.journal.entries("tool_run")) == 1

    run(scenario())


@pytest.mark.parametrize("status", [200, 500])
def test_the_customer_sees_typing_while_the_agent_thinks_longer_than_a_second(tmp_path: Path, status: int) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.configure(typing_status=status)
            await s.report()
            await s.sent(1)
            await s.twilio.customer_writes(ANA, "Hola")
            await s.sent(2)
            s.elevenlabs.scenarios.next(Scenario(before=1.5))
            sid = (await s.twilio.customer_writes(ANA, "¿Precio?")).sid
            await s.sent(3)
            (shown,) = s.twilio.journal.entries("typing")
            assert shown.data["sid"] == sid
            assert s.relay.log.count("typing_failed") == (status != 200)

    run(scenario())


def test_typing_can_be_switched_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"typing": False}}) as s:
            await s.report()
            s.elevenlabs.scenarios.next(Scenario(before=1.5))
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            assert not s.twilio.journal.entries("typing")

    run(scenario())
