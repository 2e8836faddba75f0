"""Alerts, from their cause to the receiver: the real daemon between the stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.stage import ANA, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import Fault, Scenario
from wa_relay.standins.receiver import Failure, ReceiverStandin
from wa_relay.standins.twilio import Attachment

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
UNWILLING = Scenario("close", code=1008, reason="Override for field 'x' is not allowed by config.")


@asynccontextmanager
async def alerted(
    folder: Path, settings: Mapping[str, Mapping[str, Any]] | None = None, **keys: Any
) -> AsyncIterator[tuple[Stage, ReceiverStandin]]:
    """A daemon whose alerts are received."""
    receiver = ReceiverStandin(SECRET)
    await receiver.start()
    alerts = {"url": receiver.url, "secret": SECRET, **keys.pop("alerts", {})}
    try:
        async with stage(folder, {**(settings or {}), "alerts": alerts}, **keys) as s:
            yield s, receiver
    finally:
        await receiver.stop()


def correct(receiver: ReceiverStandin) -> bool:
    return not receiver.journal.entries("violation")


def test_a_customer_who_asks_for_a_person_is_reported_with_the_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path) as (s, receiver):
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            (alert,) = await receiver.wait_for(1)
            assert alert.type == "handover.wanted"
            assert alert.data == {"conversation_id": "conv_local_1", "phone_number": ANA, "reason": "keyword"}
            assert correct(receiver)

    run(scenario())


def test_an_alert_that_is_refused_comes_again_with_the_same_id(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path, env={"WA_RELAY_TIME_DIVISOR": "10"}) as (s, receiver):
            receiver.fail(Failure(status=500))
            receiver.fail(Failure(status=302, location=receiver.url))
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            await receiver.wait_for(1, 40.0)
            tries = receiver.alerts
            assert [alert.attempt for alert in tries] == [1, 2, 3]
            assert len({alert.id for alert in tries}) == 1
            assert tries[1].at - tries[0].at >= 0.5
            assert tries[2].at - tries[1].at >= 1.0
            assert correct(receiver)

    run(scenario())


def test_an_alert_waits_for_a_receiver_that_is_away_also_over_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path, env={"WA_RELAY_TIME_DIVISOR": "10"}) as (s, receiver):
            await receiver.down()
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            await until(lambda: "alert_not_acknowledged" in s.relay.log)
            await s.relay.kill()
            await receiver.up()
            await s.relay.start()
            (alert,) = await receiver.wait_for(1, 40.0)
            assert alert.type == "handover.wanted"

    run(scenario())


def test_a_receiver_that_hangs_holds_up_no_customer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path) as (s, receiver):
            s.elevenlabs.answers = lambda asked: f"Eco: {asked.text}"
            receiver.fail(Failure("hang"), 20)
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            await until(lambda: receiver.alerts)
            await s.report(payload("conv_2", "+573001112233"))
            await s.twilio.customer_writes("+573001112233", "¿Precio?")
            assert (await s.sent(2, "+573001112233", 5.0))[1] == "Eco: ¿Precio?"
            assert receiver.accepted == []

    run(scenario())


def test_a_type_that_is_left_out_is_not_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path, alerts={"events": ["agent.failing"]}) as (s, receiver):
            s.elevenlabs.scenarios.next(UNWILLING, 9)
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            for number in range(3):
                phone = f"+57300111223{number}"
                await s.report(payload(f"conv_{number + 2}", phone))
                await s.twilio.customer_writes(phone, "¿Precio?")
            (alert,) = await receiver.wait_for(1, 40.0)
            assert alert.type == "agent.failing"
            assert "573" not in str(alert.data)

    run(scenario(), 90.0)


def test_five_refused_signatures_are_reported_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path) as (s, receiver):
            for number in range(8):
                body = {"From": f"whatsapp:{ANA}", "Body": "Hola", "MessageSid": f"SM{number}"}
                headers = {"X-Twilio-Signature": "bm8="}
                refused = await s.call("POST", "/webhook/twilio/incoming", token=None, data=body, headers=headers)
                assert refused.status == 403
            (alert,) = await receiver.wait_for(1)
            assert (alert.type, alert.data) == ("webhook.failing", {"cause": "refused_signatures"})
            await asyncio.sleep(2.0)
            assert len(receiver.alerts) == 1

    run(scenario())


def test_without_a_receiver_nothing_is_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            await s.sent(2)
            assert "alert_" not in s.relay.log

    run(scenario())


def test_speech_to_text_that_refuses_the_account_degrades_health_and_is_reported_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with alerted(tmp_path) as (s, receiver):
            s.elevenlabs.faults.next("speech", Fault(status=403, code="missing_permissions"))
            s.elevenlabs.faults.next("speech", Fault(status=429, code="quota_exceeded"))
            await s.report()
            for number in (1, 2):
                await s.twilio.customer_writes(ANA, "", media=Attachment("audio/ogg", b"OggS %d" % number))
                await until(lambda number=number: s.relay.log.count("media_failed") == number)  # type: ignore[misc]
                assert (await s.call("GET", "/health")).json["status"] == "degraded"
            (alert,) = await receiver.wait_for(1)
            assert (alert.type, alert.data["service"]) == ("agent.failing", "speech_to_text")
            assert "Speech to Text" in str(alert.data["message"])
            assert correct(receiver)

    run(scenario())
