"""How the daemon hears of calls: the poller, the webhook and the backend, in any order and all at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.e2e.stage import AGENT, ANA, EVA, LUIS, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import SERVER_ERROR, UNAUTHORIZED, Recipient

POLLING = {"poll": {"enabled": True, "interval_seconds": 1, "push_grace_seconds": 2}}
HOLA = "Hola{}, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"


def _batch(s: Stage, *recipients: Recipient) -> str:
    return s.elevenlabs.add_batch(name="Campaña Octubre", agent_id=AGENT.agent_id, recipients=recipients)


def test_the_poller_follows_a_batch_through_time_and_writes_by_outcome(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = POLLING | {"opening.voicemail": {"body": "Hola {client_name}, te dejamos un mensaje de voz."}}
        async with stage(tmp_path, settings) as s:
            s.elevenlabs.play(
                _batch(
                    s,
                    Recipient(ANA, {"customer_name": "Ana"}),
                    Recipient(LUIS, {"nombre": "Luis"}, outcome="voicemail"),
                    Recipient(EVA, {"name": "Eva"}, outcome="failed", conversation=False),
                ),
                rings=0.1,
                talks=0.3,
                analysis=0.2,
                at_once=3,
            )
            assert await s.sent(1, ANA) == [HOLA.format(" Ana")]
            assert await s.sent(1, LUIS) == ["Hola Luis, te dejamos un mensaje de voz."]
            await until(lambda: s.relay.log.count("call_received") == 3)
            eva = await s.conversation(EVA)
            assert (eva["calls"][0]["outcome"], eva["messages"]) == ("failed", [])
            assert "/" in eva["calls"][0]["elevenlabs_conversation_id"]
            stats = (await s.call("GET", "/api/stats")).json
            assert (stats["calls"], stats["skipped"]) == (3, {"outcome_not_followed": 1})

    run(scenario())


def test_one_call_reported_by_all_three_at_once_is_one_opening_with_the_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING) as s:
            await s.report(payload("conv_before", LUIS))
            batch = _batch(s, Recipient(ANA))
            s.elevenlabs.start_call(batch, 0)
            key = s.elevenlabs.finish_call(batch, 0)
            assert key is not None
            answers = await asyncio.gather(
                *(s.elevenlabs.post_call(key) for _ in range(5)), *(s.report(payload(key)) for _ in range(5))
            )
            assert [answer for answer in answers if isinstance(answer, int)] == [200] * 5
            await s.sent(1)
            await until(lambda: len(s.elevenlabs.journal.entries("request")) > 6)
            again = await s.report(payload(key))
            assert (again.json["status"], again.json["duplicate"]) == ("message_sent", True)
            assert s.bodies() == [HOLA.format(" Ana García")]

    run(scenario())


def test_where_a_backend_pushes_a_polled_call_waits_for_the_name_and_no_longer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING) as s:
            await s.report(payload("conv_before", EVA))
            batch = _batch(s, Recipient(ANA), Recipient(LUIS))
            keys = []
            for position in (0, 1):
                s.elevenlabs.start_call(batch, position)
                keys.append(s.elevenlabs.finish_call(batch, position))
            await until(lambda: s.relay.log.count("source=poll") == 2)
            found = time.monotonic()
            assert s.bodies(ANA) == s.bodies(LUIS) == []
            assert (await s.report(payload(str(keys[0]), name="Ana"))).json["duplicate"] is True
            assert await s.sent(1, ANA) == [HOLA.format(" Ana")]
            assert time.monotonic() - found < 1.5
            assert await s.sent(1, LUIS) == [HOLA.format("")]
            assert time.monotonic() - found > 1.5

    run(scenario())


def test_a_first_start_against_history_writes_to_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING, start=False) as s:
            s.elevenlabs.add_history(300, agent_id=AGENT.agent_id)
            await s.twilio.customer_writes(ANA, "¿Sigue la oferta?", deliver=False)
            began = time.time()
            await asyncio.sleep(max(0.0, int(began) + 1.05 - began))  # a listing's times are whole seconds
            await s.relay.start()
            await until(lambda: s.relay.log.count("call_received") == 300, 60)
            batch = _batch(s, Recipient(LUIS, {"name": "Luis"}))
            s.elevenlabs.start_call(batch, 0)
            s.elevenlabs.finish_call(batch, 0)
            await s.sent(1, LUIS)
            assert [message.to for message in s.twilio.accepted()] == [LUIS]
            stats = (await s.call("GET", "/api/stats")).json
            assert (stats["calls"], stats["skipped"]) == (301, {"too_old": 300})

    run(scenario())


def test_our_own_text_session_is_not_a_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING) as s:
            s.elevenlabs.settings.webhook_texts = True
            await s.report()
            await s.twilio.customer_writes(ANA, "¿Precio?")
            await s.sent(2)
            await until(lambda: "webhook_ignored" in s.relay.log)
            assert (await s.call("GET", "/api/stats")).json["calls"] == 1

    run(scenario())


def test_an_upstream_that_refuses_or_is_away_makes_it_degraded_and_it_recovers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, POLLING, start=False) as s:
            s.elevenlabs.faults.next("workspace", UNAUTHORIZED, 50)
            await s.relay.start()
            await until(lambda: s.relay.log.count(" poll_failed ") >= 3, 60)
            health = (await s.call("GET", "/health")).json
            assert health["status"] == "degraded"
            assert health["poller"]["consecutive_failures"] >= 3
            s.elevenlabs.faults.clear()
            s.elevenlabs.faults.next("workspace", SERVER_ERROR)
            # Work continues meanwhile: the backend's push needs no poller.
            assert (await s.report()).json["status"] == "message_sent"

    run(scenario(), within=240)
