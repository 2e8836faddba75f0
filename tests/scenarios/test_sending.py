"""Sending: from which number, and what stops it: the real daemon between the stand-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import AGENT, ANA, LUIS, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent
from wa_relay.standins.twilio import Delays, Fate, Template, TwilioStandin

DEFAULT, SALES = "whatsapp:+14155238886", "whatsapp:+573000000001"
SALES_AGENT = "agent_sales"
TEMPLATE, OTHER_TEMPLATE, REOPEN = ("HX" + digit * 32 for digit in "123")
SENDERS = json.dumps([{"number": SALES, "agent_ids": [SALES_AGENT], "messages_per_second": 40}])
QUICK = Delays(0.02, 0.02, 0.02)


def _twilio(**more: Any) -> TwilioStandin:
    templates = [Template(sid, "Hola {{1}}, ¿seguimos?", {"1": "Ana"}) for sid in (TEMPLATE, OTHER_TEMPLATE, REOPEN)]
    return TwilioStandin(
        senders=(DEFAULT, SALES), templates=tuple(templates), delays=QUICK, enforce_window=False, **more
    )


def _of_sales(key: str, phone: str = LUIS) -> dict[str, Any]:
    return payload(key, phone) | {"agent_id": SALES_AGENT}


def _senders(s: Stage, phone: str) -> list[str]:
    return [message.sender.removeprefix("whatsapp:") for message in s.twilio.accepted(phone)]


def _asked(s: Stage) -> list[str]:
    return [str(entry.data["text"]) for entry in s.elevenlabs.journal.entries("user_message")]


async def _message(s: Stage, kind: str, status: str, phone: str = ANA) -> dict[str, Any]:
    """The newest message of a kind once it has a status."""
    while True:
        found = [each for each in (await s.conversation(phone))["messages"] if each["kind"] == kind]
        if found and found[-1]["status"] == status:
            message: dict[str, Any] = found[-1]
            return message


async def _release(s: Stage) -> None:
    assert (await s.call("POST", f"/api/conversations/{ANA}/release", json={})).status == 200


async def _health(s: Stage) -> dict[str, Any]:
    health: dict[str, Any] = (await s.call("GET", "/health")).json
    return health


def test_a_conversation_begins_at_its_agents_number_and_follows_the_customer_to_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, twilio=_twilio(), env={"WA_RELAY_SENDER": SENDERS}) as s:
            s.elevenlabs.add_agent(Agent(SALES_AGENT, client_events=CHAT_EVENTS))
            await s.report(payload("conv_1"))
            await s.report(_of_sales("conv_2"))
            await s.sent(1)
            await s.sent(1, LUIS)
            assert (_senders(s, ANA), _senders(s, LUIS)) == (["+14155238886"], ["+573000000001"])
            await s.twilio.customer_writes(LUIS, "¿Precio?", to=SALES)
            await s.sent(2, LUIS)
            await s.twilio.customer_writes(LUIS, "¿Y por aquí?", to=DEFAULT)
            await s.sent(3, LUIS)
            assert _senders(s, LUIS) == ["+573000000001", "+573000000001", "+14155238886"]
            assert (await s.conversation(LUIS))["sender"] == "+14155238886"

    run(scenario())


def test_messages_to_a_further_number_are_swept_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, twilio=_twilio(), env={"WA_RELAY_SENDER": SENDERS}) as s:
            s.elevenlabs.add_agent(Agent(SALES_AGENT, client_events=CHAT_EVENTS))
            await s.report(_of_sales("conv_2"))
            await s.sent(1, LUIS)
            await s.relay.stop()
            await s.twilio.customer_writes(LUIS, "¿Precio?", to=SALES, deliver=False)
            await s.relay.start()
            await s.sent(2, LUIS)
            assert _senders(s, LUIS)[-1] == "+573000000001"

    run(scenario())


@pytest.mark.parametrize("how", ["response", "receipt"])
def test_a_stopped_template_waits_until_a_person_tries_it_and_others_go_out(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        variables = {"content_variables": {"1": "{client_name}"}}
        settings = {
            "opening.completed": {"content_sid": TEMPLATE, "body": "", **variables},
            "opening.voicemail": {"content_sid": OTHER_TEMPLATE, **variables},
        }
        async with stage(tmp_path, settings, twilio=_twilio()) as s:
            s.twilio.trouble(TEMPLATE, 63041, how)
            await s.report(payload("conv_1"))
            failed = await _message(s, "opening", "failed")
            assert failed["error_code"] == "63041"
            answer = await s.report(payload("conv_2", LUIS))
            assert (answer.status, answer.json["status"]) == (202, "message_queued")
            await s.report(payload("conv_3", "+573004445566", status="voicemail"))
            await s.sent(1, "+573004445566")
            health = await _health(s)
            assert health["status"] == "degraded"
            assert [(each["content_sid"], each["error_code"]) for each in health["templates"]] == [(TEMPLATE, "63041")]
            assert (await s.call("GET", "/api/stats")).json["templates"] == health["templates"]
            await s.relay.stop()
            await s.relay.start()
            assert [each["content_sid"] for each in (await _health(s))["templates"]] == [TEMPLATE]
            assert s.bodies(LUIS) == []
            s.twilio.trouble(TEMPLATE, None)
            status, _, error = await s.relay.command("resume", "--template", OTHER_TEMPLATE)
            assert (status, "is not stopped" in error) == (1, True)
            status, out, _ = await s.relay.command("resume", "--template", TEMPLATE)
            assert (status, TEMPLATE in out) == (0, True)
            await s.sent(1, LUIS)
            while (await _health(s))["templates"]:
                pass

    run(scenario())


def test_21656_and_21654_fail_only_their_own_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {"opening.completed": {"content_sid": TEMPLATE, "body": ""}}
        async with stage(tmp_path, settings, twilio=_twilio()) as s:
            for number, code in enumerate((21656, 21654)):
                s.twilio.trouble(TEMPLATE, code, "response")
                key, phone = f"conv_{number}", f"+57300444000{number}"
                answer = await s.report(payload(key, phone))
                assert (answer.json["status"], answer.json["error_code"]) == ("message_failed", str(code))
            s.twilio.trouble(TEMPLATE, None)
            await s.report(payload("conv_9"))
            await s.sent(1)
            assert (await _health(s))["templates"] == []

    run(scenario())


def test_63016_on_an_answer_asks_the_question_again_with_the_next_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            s.twilio.next_message(Fate(code=63016))
            await s.twilio.customer_writes(ANA, "¿Precio?")
            failed = await _message(s, "reply", "failed")
            assert (failed["reason"], failed["error_code"]) == ("undelivered", "63016")
            assert (await s.conversation())["window_ends_at"] is None
            await s.twilio.customer_writes(ANA, "¿Sigues ahí?")
            await s.sent(3)
            assert _asked(s) == ["¿Precio?", "¿Precio?\n¿Sigues ahí?"]
            context = str(s.elevenlabs.journal.entries("context")[-1].data["text"])
            assert "no le llegaron al cliente" in context
            assert failed["content"] in context

    run(scenario())


def test_63016_on_an_answer_sends_the_template_that_asks_for_an_answer_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"reopen_content_sid": REOPEN}}, twilio=_twilio()) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            s.twilio.next_message(Fate(code=63016))
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(3)
            template = s.twilio.accepted(ANA)[-1]
            assert (template.content_sid, template.shown) == (REOPEN, "Hola Ana García, ¿seguimos?")
            notice = await _message(s, "notice", "read")
            assert notice["reason"] is None
            await s.twilio.customer_writes(ANA, "Sí, dime")
            await s.sent(4)
            assert [message.content_sid for message in s.twilio.accepted(ANA)].count(REOPEN) == 1

    run(scenario())


def test_two_machines_that_answer_each_other_are_stopped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            echo = "Gracias por escribirnos. Un asesor le responderá."
            for times in (1, 2):
                await s.twilio.customer_writes(ANA, echo)
                await s.sent(1 + times)
            await s.twilio.customer_writes(ANA, echo)
            await until(lambda: len(s.twilio.journal.entries("inbound")) == 3)
            thread = await s.conversation()
            assert (thread["handler"], thread["handler_reason"]) == ("muted", "repeats_itself")
            await s.twilio.customer_writes(ANA, "¿Sigues ahí?")
            assert len(_asked(s)) == 2
            await _release(s)
            await s.twilio.customer_writes(ANA, "Hola de nuevo")
            await s.sent(4)
            assert _asked(s)[2] == "Hola de nuevo"

    run(scenario())


def test_more_turns_than_an_hour_may_have_mute_with_one_fallback(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"max_turns_per_hour": 2, "fallback": "Ya te escribimos."}}) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            for number in (1, 2):
                await s.twilio.customer_writes(ANA, f"Pregunta {number}")
                await s.sent(1 + number)
            await s.twilio.customer_writes(ANA, "Pregunta 3")
            assert (await s.sent(4))[-1] == "Ya te escribimos."
            await s.twilio.customer_writes(ANA, "Pregunta 4")
            thread = await s.conversation()
            assert (thread["handler"], thread["handler_reason"]) == ("muted", "too_many_turns")
            assert len(_asked(s)) == 2
            await _release(s)
            await s.sent(5)
            assert _asked(s)[2] == "Pregunta 3\nPregunta 4"

    run(scenario())


@pytest.mark.parametrize("state", ["agent", "muted", "taken_over"])
def test_an_opt_out_by_meaning_is_honoured_in_every_state(tmp_path: Path, state: str) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            sent = 1
            if state == "muted":
                for _ in range(3):
                    await s.twilio.customer_writes(ANA, "Gracias por escribirnos. Un asesor responderá.")
                    sent = min(sent + 1, 3)
                    await s.sent(sent)
            elif state == "taken_over":
                assert (await s.call("POST", f"/api/conversations/{ANA}/takeover", json={})).status == 200
            await s.twilio.customer_writes(ANA, "Hola, por favor NO me escriban más!! 🙏")
            assert (await s.sent(sent + 1))[-1].startswith("Listo, no te escribiremos más")
            assert (await s.conversation())["status"] == "opted_out"
            assert (await s.report(payload("conv_2"))).json["reason"] == "opted_out"

    run(scenario())


def test_a_quick_reply_that_asks_for_no_more_promotions_is_an_opt_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            await s.twilio.customer_writes(ANA, "Detener promociones", button="Detener promociones")
            await s.sent(2)
            assert (await s.conversation())["status"] == "opted_out"
            assert _asked(s) == []

    run(scenario())


def test_without_phrases_only_keywords_opt_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"opt_out": {"phrases": False}}) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            await s.twilio.customer_writes(ANA, "No me escriban más")
            await s.sent(2)
            assert _asked(s) == ["No me escriban más"]
            await s.twilio.customer_writes(ANA, "¡Baja, por favor!")
            await s.sent(3)
            assert (await s.conversation())["status"] == "opted_out"

    run(scenario())


def test_two_conversations_that_turn_out_to_be_one_customers_become_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.contact(LUIS, user_id="CO.1A2b3C")
            first = (await s.report(payload("conv_1"))).json["conversation_id"]
            await s.report(payload("conv_2", LUIS))
            await s.sent(1, LUIS)
            await s.twilio.customer_writes(LUIS, "¿Precio?")
            await s.sent(2, LUIS)
            # The customer has another number now; WhatsApp shows the same user.
            s.twilio.contact(ANA, user_id="CO.1A2b3C")
            await s.twilio.customer_writes(ANA, "Soy yo, con otro número")
            await s.sent(2, ANA)
            for address in (ANA, LUIS, "CO.1A2b3C"):
                thread = await s.conversation(address)
                assert thread["conversation_id"] == first
            assert {ANA, LUIS, "CO.1A2b3C"} <= set(thread["addresses"])
            assert thread["elevenlabs_conversation_id"] == "conv_2"
            written = [each["content"] for each in thread["messages"] if each["kind"] == "customer"]
            assert written == ["¿Precio?", "Soy yo, con otro número"]
            assert AGENT.agent_id == thread["agent_id"]

    run(scenario())
