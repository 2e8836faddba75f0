"""The rules of sending and answering, as customers see them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.e2e.stage import AGENT, ANA, EVA, LUIS, payload, run, stage, until
from wa_relay.standins.elevenlabs import Scenario
from wa_relay.standins.twilio import Delays, Fate, Template, TwilioStandin

FALLBACK = "En este momento no podemos responderte. Te escribiremos pronto."
CONFIRMATION = "Listo, no te escribiremos más. Escribe ALTA si cambias de idea."
TEMPLATE = "HX" + "a" * 32
UNWILLING = Scenario("close", code=1008, reason="Override for field 'x' is not allowed by config.")


def test_a_burst_is_one_turn_and_conversations_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"debounce_seconds": 0.5}}) as s:
            s.elevenlabs.answers = lambda asked: f"Eco: {asked.text}"
            for number, phone in enumerate((ANA, LUIS)):
                await s.report(payload(f"conv_{number}", phone))
            s.elevenlabs.scenarios.next(Scenario("plain", before=3.0))
            await s.twilio.customer_writes(LUIS, "lento")
            await until(lambda: s.elevenlabs.journal.entries("user_message"))
            for text in ("hola", "¿precio?", "¿y horario?"):
                await s.twilio.customer_writes(ANA, text)
            await s.sent(2, ANA)
            assert len(s.bodies(LUIS)) == 1
            assert s.bodies(ANA)[1] == "Eco: hola\n¿precio?\n¿y horario?"
            await s.sent(2, LUIS)

    run(scenario())


def test_an_opt_out_is_confirmed_once_and_honoured_until_the_way_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            for text in ("¡BAJA!", "baja", "¿hola?"):
                await s.twilio.customer_writes(ANA, text)
            await s.sent(2)
            skipped = await s.report(payload("conv_2"))
            assert (skipped.json["status"], skipped.json["reason"]) == ("skipped", "opted_out")
            refused = await s.call("POST", "/api/test-whatsapp", json={"to": ANA, "message": "Prueba"})
            assert refused.status == 422
            assert (await s.conversation())["status"] == "opted_out"
            await s.twilio.customer_writes(ANA, "Alta")
            await s.sent(3)
            assert (await s.conversation())["status"] == "active"
            assert s.bodies()[1] == CONFIRMATION
            assert CONFIRMATION not in s.bodies()[2:]
            asked = [entry.data["text"] for entry in s.elevenlabs.journal.entries("user_message")]
            assert asked == ["Alta"]
            assert (await s.report(payload("conv_3"))).json["status"] == "message_sent"

    run(scenario())


def test_twilios_own_opt_out_changes_the_state_and_is_answered_by_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.twilio.customer_writes(ANA, "STOP", fields={"OptOutType": "STOP"})
            assert (await s.conversation())["status"] == "opted_out"
            await s.twilio.customer_writes(ANA, "START", fields={"OptOutType": "START"})
            assert (await s.conversation())["status"] == "active"
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            assert [entry.data["text"] for entry in s.elevenlabs.journal.entries("user_message")] == ["¿Precio?"]

    run(scenario())


def test_the_fallback_is_sent_once_until_the_agent_answers_again_with_all_that_was_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            s.elevenlabs.scenarios.next(UNWILLING, 6)
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            await s.twilio.customer_writes(ANA, "¿Horario?")
            await until(lambda: s.relay.log.count(" agent_failed ") == 2)
            assert s.bodies()[1:] == [FALLBACK]
            await s.twilio.customer_writes(ANA, "¿Hola?")
            await s.sent(3)
            asked = s.elevenlabs.journal.entries("user_message")[-1].data["text"]
            assert asked == "¿Precio?\n¿Horario?\n¿Hola?"
            s.elevenlabs.scenarios.next(UNWILLING, 3)
            await s.twilio.customer_writes(ANA, "¿Y ahora?")
            await s.sent(4)
            assert s.bodies()[3] == FALLBACK
            stats = (await s.call("GET", "/api/stats")).json
            assert (stats["turns"]["answered"], stats["turns"]["failed"]) == (1, 3)

    run(scenario())


def test_a_turn_without_text_is_tried_again_in_a_fresh_session(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            s.elevenlabs.scenarios.next(Scenario("close", code=1011), 2)
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            assert len(s.elevenlabs.journal.entries("session")) == 3
            assert FALLBACK not in s.bodies()

    run(scenario())


def test_a_stranger_is_treated_as_configured(tmp_path: Path) -> None:
    modes: dict[str, tuple[dict[str, Any], int]] = {
        "ignore": ({}, 0),
        "fallback": ({}, 1),
        "agent": ({"unknown_sender_agent_id": AGENT.agent_id}, 2),
    }

    async def scenario(mode: str, folder: Path) -> None:
        more, messages = modes[mode]
        async with stage(folder, {"reply": {"debounce_seconds": 0, "unknown_sender": mode, **more}}) as s:
            for count, text in enumerate(("hola", "¿hay alguien?"), 1):
                assert (await s.twilio.customer_writes(EVA, text)).status == 200
                if messages:
                    await s.sent(min(count, messages), EVA)
            assert (await s.report(payload("conv_1", LUIS))).json["status"] == "message_sent"
            assert len(s.bodies(EVA)) == messages
            assert (FALLBACK in s.bodies(EVA)) == (mode == "fallback")
            shown = await s.call("GET", f"/api/conversations/{EVA}")
            assert shown.status == (404 if mode == "ignore" else 200)

    for mode in modes:
        folder = tmp_path / mode
        folder.mkdir()
        run(scenario(mode, folder))


def test_a_long_answer_goes_out_in_its_order_with_nothing_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"reply": {"debounce_seconds": 0, "max_length": 120}}) as s:
            words = " ".join(f"palabra{number}" for number in range(60))
            s.elevenlabs.answers = {"precio": words}
            await s.report()
            await s.twilio.customer_writes(ANA, "¿precio?")
            await until(lambda: " ".join(s.bodies()[1:]) == words or None)
            assert all(len(part) <= 120 for part in s.bodies()[1:])

    run(scenario())


def test_outside_the_window_the_template_goes_and_inside_it_the_body(tmp_path: Path) -> None:
    async def scenario() -> None:
        twilio = TwilioStandin(
            delays=Delays(0.02, 0.02, None), templates=(Template(TEMPLATE, "Hola {{1}}, ¿seguimos?", {"1": "Ana"}),)
        )
        completed = {"content_sid": TEMPLATE, "content_variables": {"1": "{client_name}"}}
        async with stage(tmp_path, {"opening.completed": completed}, twilio=twilio) as s:
            assert (await s.report()).json["status"] == "message_sent"
            (first,) = s.twilio.accepted(ANA)
            assert (first.content_sid, first.content_variables) == (TEMPLATE, {"1": "Ana García"})
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            assert (await s.report(payload("conv_2"))).json["status"] == "message_sent"
            assert s.twilio.accepted(ANA)[2].body.startswith("Hola Ana García, gracias por atender")
            failed = await s.report(payload("conv_3", LUIS, name=None))
            assert (failed.status, failed.json["status"]) == (200, "message_failed")
            assert failed.json["error_code"] == "empty_variable"
            assert s.twilio.accepted(LUIS) == []

    run(scenario())


def test_a_receipt_of_63016_is_final_and_understood(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.next_message(Fate(code=63016))
            await s.report()
            await until(lambda: "status=undelivered" in s.relay.log)
            (message,) = (await s.conversation())["messages"]
            assert (message["status"], message["reason"], message["error_code"]) == ("failed", "undelivered", "63016")
            assert len(s.bodies()) == 1
            (failure,) = (await s.call("GET", "/api/stats")).json["failures"]
            assert (failure["code"], "template" in failure["meaning"]) == ("63016", True)
            again = (await s.report()).json
            assert (again["status"], again["error_code"], again["duplicate"]) == ("message_failed", "63016", True)

    run(scenario())


def test_openings_wait_for_quiet_hours_and_answers_do_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        now = datetime.now(UTC)
        quiet = {"start": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + timedelta(hours=2):%H:%M}"}
        async with stage(tmp_path, {"general": {"timezone": "UTC"}}) as s:
            await s.report()
            await s.relay.stop()
            s.relay.write_config({"quiet_hours": quiet})
            await s.relay.start()
            reported = await s.report(payload("conv_2", LUIS))
            assert (reported.status, reported.json["status"]) == (202, "message_queued")
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            assert s.bodies(LUIS) == []

    run(scenario())


def test_a_refused_account_holds_everything_and_fails_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            right = s.twilio.settings.auth_token
            s.twilio.configure(auth_token="another")
            reported = await asyncio.gather(*(s.report(payload(f"c{n}", f"+57300111220{n}")) for n in range(4)))
            assert {answer.json["status"] for answer in reported} == {"message_queued"}
            health = (await s.call("GET", "/health")).json
            assert (health["status"], health["paused"], health["queue"]["dead"]) == ("degraded", "account", 0)
            s.twilio.configure(auth_token=right)
            await until(lambda: len(s.twilio.accepted()) == 4, 60)
            assert (await s.call("GET", "/health")).json["paused"] is None

    run(scenario())


def test_the_gateway_transport_makes_the_documents_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"elevenlabs": {"transport": "http"}}) as s:
            s.elevenlabs.settings.gateway = True
            s.elevenlabs.answers = {"precio": "Cuesta $99."}
            batch = s.elevenlabs.add_batch(name="b", agent_id=AGENT.agent_id, recipients=[])
            assert batch
            await s.report()
            await s.twilio.customer_writes(ANA, "¿precio?")
            await s.sent(2)
            posted = [e.data for e in s.elevenlabs.journal.entries("message")]
            assert [data["text"] for data in posted] == ["¿precio?"]
            assert s.elevenlabs.journal.entries("session") == []

    run(scenario())
