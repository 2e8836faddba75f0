"""Openings and their times: the real daemon between the stand-ins."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.e2e.stage import AGENT, ANA, EVA, LUIS, Stage, payload, run, stage, until
from wa_relay.standins.elevenlabs import Recipient
from wa_relay.standins.twilio import Delays, Template, TwilioStandin

NEVER = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "")
ALWAYS = dict.fromkeys(NEVER, "00:00-24:00")
TEMPLATE = "HX" + "1" * 32
HOLA = "Hola Ana García, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"


def completed(**keys: Any) -> dict[str, dict[str, Any]]:
    return {"opening.completed": keys}


def ended_call(s: Stage, recipient: Recipient, *, analysed: bool = True) -> str:
    """A call of a batch that is over at ElevenLabs; returns its conversation's id."""
    batch = s.elevenlabs.add_batch(name="Campaña", agent_id=AGENT.agent_id, recipients=[recipient])
    s.elevenlabs.start_call(batch, 0)
    key = s.elevenlabs.finish_call(batch, 0, analysed=analysed)
    assert key is not None
    return key


async def answer_for(s: Stage, key: str, phone: str = ANA) -> dict[str, Any]:
    """The API's answer for a call that is reported again."""
    answer: dict[str, Any] = (await s.report(payload(key, phone))).json
    return answer


def test_an_opening_goes_out_after_its_delay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, completed(delay_seconds=2)) as s:
            began = time.monotonic()
            answer = await s.report()
            assert (answer.status, answer.json["status"]) == (202, "message_queued")
            assert await s.sent(1) == [HOLA]
            assert time.monotonic() - began >= 1.9

    run(scenario())


def test_a_customer_who_writes_during_the_delay_gets_an_answer_and_no_opening(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, completed(delay_seconds=30)) as s:
            await s.report(payload("conv_1"))
            await s.twilio.customer_writes(ANA, "¿Quién llamó?")
            assert HOLA not in await s.sent(1)
            opening = (await s.conversation())["messages"][0]
            assert (opening["kind"], opening["status"], opening["reason"]) == (
                "opening",
                "failed",
                "conversation_started",
            )
            assert (await answer_for(s, "conv_1"))["error_code"] == "conversation_started"

    run(scenario())


def test_a_pushed_call_waits_for_its_length_and_a_short_one_is_skipped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, completed(min_call_seconds=20)) as s:
            short = ended_call(s, Recipient(ANA, talk_seconds=5.0))
            long = ended_call(s, Recipient(LUIS, talk_seconds=60.0))
            for key, phone in ((short, ANA), (long, LUIS)):
                answer = await s.report(payload(key, phone))
                assert (answer.status, answer.json["status"]) == (202, "message_queued")
            await s.sent(1, LUIS)
            await until(lambda: "skipped=too_short" in s.relay.log)
            again = await answer_for(s, short)
            assert (again["status"], again["reason"], again["duplicate"]) == ("skipped", "too_short", True)
            assert s.bodies(ANA) == []

    run(scenario())


def test_only_calls_whose_collected_values_match_are_followed_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, completed(when={"interest": ["yes", "maybe"]})) as s:
            interested = ended_call(s, Recipient(ANA, collected={"interest": "Yes"}))
            other = ended_call(s, Recipient(LUIS, collected={"interest": "no"}))
            silent = ended_call(s, Recipient(EVA, collected={"interest": None}))
            for key, phone in ((interested, ANA), (other, LUIS), (silent, EVA)):
                assert (await s.report(payload(key, phone))).status == 202
            await s.sent(1, ANA)
            await until(lambda: s.relay.log.count("skipped=condition") == 2)
            assert (s.bodies(LUIS), s.bodies(EVA)) == ([], [])
            stats = (await s.call("GET", "/api/stats")).json
            assert (stats["calls"], stats["skipped"]) == (3, {"condition": 2})

    run(scenario())


def test_a_call_is_decided_when_its_analysis_is_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, completed(when={"interest": ["yes"]})) as s:
            key = ended_call(s, Recipient(ANA, collected={"interest": "yes"}), analysed=False)
            await s.report(payload(key))
            await until(lambda: len([e for e in s.elevenlabs.journal.entries("request") if key in str(e.data)]) >= 1)
            assert s.bodies() == []
            s.elevenlabs.analyse(key)
            assert await s.sent(1, within=60.0) == [HOLA]

    run(scenario())


def test_openings_wait_for_the_hours_of_the_day_and_follow_the_latest_configuration(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"quiet_hours": {"days": {**ALWAYS, **_today_and_tomorrow("")}}}) as s:
            answer = await s.report(payload("conv_1"))
            assert (answer.status, answer.json["status"]) == (202, "message_queued")
            await until(lambda: "call_received" in s.relay.log)
            assert s.bodies() == []
            await s.relay.stop()
            s.relay.write_config({"quiet_hours": {"days": ALWAYS}})
            await s.relay.start()
            assert await s.sent(1) == [HOLA]

    run(scenario())


def test_openings_beyond_the_daily_limit_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        template = {"content_sid": TEMPLATE, "content_variables": {"1": "{client_name}"}}
        twilio = TwilioStandin(
            delays=Delays(0.02, 0.02, None), templates=(Template(TEMPLATE, "Hola {{1}}, ¿seguimos?", {"1": "Ana"}),)
        )
        async with stage(tmp_path, {"opening": {"daily_limit": 1}, **completed(**template)}, twilio=twilio) as s:
            assert (await s.report(payload("conv_1"))).json["status"] == "message_sent"
            answer = await s.report(payload("conv_2", LUIS))
            assert (answer.status, answer.json["status"]) == (202, "message_queued")
            assert s.bodies(LUIS) == []
            await s.relay.stop()
            s.relay.write_config({"opening": {"daily_limit": 2}})
            await s.relay.start()
            await s.sent(1, LUIS)

    run(scenario())


def test_a_recipient_whose_number_lacks_its_plus_is_written_to_and_an_unusable_one_is_a_warning(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"poll": {"enabled": True, "interval_seconds": 1}}) as s:
            recipients = [Recipient("573138539155", {"name": "Ana"}), Recipient("3001112233", {"name": "Luis"})]
            batch = s.elevenlabs.add_batch(name="Campaña", agent_id=AGENT.agent_id, recipients=recipients)
            for position in (0, 1):
                s.elevenlabs.start_call(batch, position)
                s.elevenlabs.finish_call(batch, position)
            await s.sent(1, ANA)
            await until(lambda: "call_number_unusable" in s.relay.log)
            rounds = len(s.elevenlabs.journal.entries("request"))
            await until(lambda: len(s.elevenlabs.journal.entries("request")) >= rounds + 2)
            assert s.relay.log.count("call_number_unusable") == 1
            assert "3001112233" not in s.relay.log
            assert (await s.call("GET", "/api/stats")).json["calls"] == 1

    run(scenario())


def _today_and_tomorrow(hours: str) -> dict[str, str]:
    """The days that a test may run into, in Bogotá."""
    today = int((time.time() - 5 * 3600) // 86400 + 3) % 7
    names = list(NEVER)
    return {names[today]: hours, names[(today + 1) % 7]: hours}
