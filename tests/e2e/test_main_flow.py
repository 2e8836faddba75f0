"""The main job, end to end: a call ends, the customer is written to, and the same agent answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.e2e.stage import AGENT, ANA, PAYLOAD, TOKEN, Stage, run, stage, until
from tests.stopwatch import Stopwatch
from wa_relay.standins.elevenlabs import Scenario
from wa_relay.standins.twilio import Fault

ANSWER = "El plan Premium cuesta **$99/mes**."


def test_the_documents_call_is_opened_answered_and_shown_alike_everywhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.elevenlabs.answers = {"precio": ANSWER}
            reported = await s.report()
            assert reported.status == 200, reported.text
            sid = s.twilio.accepted(ANA)[0].sid
            assert reported.json == {
                "success": True,
                "status": "message_sent",
                "conversation_id": "conv_local_1",
                "whatsapp_message_id": sid,
                "elevenlabs_conversation_id": PAYLOAD["recipient"]["conversation_id"],
                "duplicate": False,
            }
            assert s.bodies() == ["Hola Ana García, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"]
            again = await s.report()
            assert (again.status, again.json["duplicate"], again.json["whatsapp_message_id"]) == (200, True, sid)
            watch = Stopwatch()
            written = await s.twilio.customer_writes(ANA, "Sí me interesa, ¿precio?")
            assert (written.status, written.twiml) == (200, '<?xml version="1.0" encoding="UTF-8"?><Response/>')
            await s.sent(2)
            assert watch.seconds < 2.0 + 0.1
            assert s.bodies()[1] == "El plan Premium cuesta *$99/mes*."
            await _shown_alike(s)
            assert await s.relay.stop() == 0
            _nothing_personal(s)

    run(scenario())


async def _shown_alike(s: Stage) -> None:
    """The API, the commands and the stand-in's journal show the same story."""

    async def settled() -> bool:
        return all(m["status"] in ("read", "received") for m in (await s.conversation())["messages"])

    async with asyncio.timeout(30):
        # A busy machine takes its time, and the database rings no bell.
        while not await settled():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    thread = await s.conversation()
    code, out, err = await s.relay.command("history", "--json", "+57 313 853-9155")
    assert (code, err) == (0, "")
    assert json.loads(out) == thread
    assert [(m["kind"], m["status"]) for m in thread["messages"]] == [
        ("opening", "read"),
        ("customer", "received"),
        ("reply", "read"),
    ]
    ours = [(m["twilio_message_id"], m["content"]) for m in thread["messages"] if m["direction"] == "outbound"]
    assert ours == [(m.sid, m.body) for m in s.twilio.accepted(ANA)]
    code, out, err = await s.relay.command("stats", "--json")
    assert (code, err) == (0, "")
    stats = json.loads(out)
    api = (await s.call("GET", "/api/stats")).json
    assert stats == api
    assert (stats["calls"], stats["replied"], stats["openings"]["read"], stats["turns"]["answered"]) == (1, 1, 1, 1)


def _nothing_personal(s: Stage) -> None:
    log = s.relay.log
    for secret in (ANA, ANA[1:], "García", "precio", "Premium", TOKEN, s.twilio.settings.auth_token, "sk_standin"):
        assert secret not in log
    for step in ("call_received", "opening_sent", "message_received", "agent_asked", "agent_answered", "answer_sent"):
        assert log.count(f" {step} ") == 1, step
    assert "Traceback" not in log


def test_the_agent_knows_the_call_and_the_thread(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            reported = json.loads(json.dumps(PAYLOAD))
            reported["recipient"]["variables"] = {"plan": "Premium", "system__secret": "x"}
            assert (await s.report(reported)).json["status"] == "message_sent"
            await s.twilio.customer_writes(ANA, "¿Y el precio?")
            await s.sent(2)
            begun = s.elevenlabs.journal.entries("session")
            assert begun, [entry.kind for entry in s.elevenlabs.journal.entries()]
            text = s.elevenlabs.journal.lines()
            assert '"plan": "Premium"' in text
            assert "system__secret" not in text
            assert '"channel": "whatsapp"' in text
            assert AGENT.agent_id in text

    run(scenario())


def test_a_kill_in_the_middle_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            s.elevenlabs.scenarios.next(Scenario("plain", before=5.0))
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await until(lambda: s.elevenlabs.journal.entries("user_message"), what="the agent was not asked")
            await s.relay.kill()
            await s.relay.start()
            await s.sent(2)
            thread = await s.conversation()
            assert [m["kind"] for m in thread["messages"]] == ["opening", "customer", "reply"]
            assert len(s.bodies()) == 2

    run(scenario())


def test_a_send_whose_answer_was_lost_with_the_process_is_adopted_and_never_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.faults.next("create", Fault("F7", hold=30.0))
            s.twilio.configure(delays=None)
            waiting = asyncio.create_task(s.report())
            await s.sent(1)
            await s.relay.kill()
            await asyncio.gather(waiting, return_exceptions=True)
            await s.relay.start()
            thread = await _adopted(s)
            assert thread["messages"][0]["twilio_message_id"] == s.twilio.accepted(ANA)[0].sid
            assert len(s.bodies()) == 1

    run(scenario())


async def _adopted(s: Stage) -> dict[str, list[dict[str, object]]]:
    for _ in range(500):
        thread: dict[str, list[dict[str, object]]] = await s.conversation()
        if thread["messages"][0]["status"] == "sent":
            return thread
    raise AssertionError(s.relay.log[-3000:])


def test_a_send_that_twilio_does_not_have_stays_uncertain_and_visible(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.faults.next("create", Fault("F5"))
            reported = await s.report()
            assert (reported.status, reported.json["status"]) == (202, "message_queued")
            await until(lambda: " look" in s.relay.log or s.twilio.journal.entries("request"))
            health = (await s.call("GET", "/health")).json
            assert (health["status"], health["queue"]["uncertain"]) == ("degraded", 1)
            code, out, _ = await s.relay.command("resolve", "--json")
            assert (code, len(json.loads(out))) == (0, 1)
            await s.relay.kill()
            await s.relay.start()
            assert (await s.conversation())["messages"][0]["status"] == "uncertain"
            assert s.bodies() == []

    run(scenario())
