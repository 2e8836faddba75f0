"""A running daemon as people see it: the events as they happen, and messages of two seconds ago."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from tests.e2e.stage import ANA, LUIS, Stage, payload, run, stage, until
from tests.forking import Started


async def lines(process: Started, count: int) -> list[str]:
    assert process.stdout is not None
    return [(await asyncio.wait_for(process.stdout.readline(), 60.0)).decode().rstrip("\n") for _ in range(count)]


async def searched(s: Stage, *words: str) -> list[Any]:
    status, out, err = await s.relay.command("search", "--json", *words)
    assert status == 0, err
    found: list[Any] = json.loads(out)
    return found


def test_tail_shows_what_happens_with_masked_numbers_until_the_daemon_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            await until(lambda: "status=read" in s.relay.log)
            process = await s.relay.spawn("tail", "--json")
            # Until the command follows, its first events would be lost.
            found: list[dict[str, Any]] = []
            number = 2
            while not found:
                await s.report(payload(f"conv_{number}", LUIS, status="voicemail"))
                number += 1
                try:
                    found = [json.loads((await asyncio.wait_for(lines(process, 1), 1.0))[0])]
                except TimeoutError:
                    continue
            assert list(found[0]) == ["at", "event", "phone", "conversation_id", "message_id", "status"]
            assert (found[0]["event"], found[0]["status"], found[0]["message_id"]) == ("call", "voicemail", None)
            assert found[0]["phone"] == "+57•••••••33"
            await s.relay.stop()
            assert await asyncio.wait_for(process.wait(), 60.0) == 75
            assert "the daemon has stopped" in s.relay.log

    run(scenario(), 180.0)


def test_tail_of_one_customer_shows_nobody_else_and_ends_with_130(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1", ANA))
            await s.report(payload("conv_2", LUIS))
            await s.sent(1, LUIS)
            process = await s.relay.spawn("tail", "--phone", LUIS)
            shown = ""
            while not shown:
                await s.twilio.customer_writes(ANA, "hola")
                await s.twilio.customer_writes(LUIS, "hola")
                try:
                    shown = (await asyncio.wait_for(lines(process, 1), 1.0))[0]
                except TimeoutError:
                    continue
            assert "+57•••••••33" in shown
            assert ANA[-2:] not in shown.partition("  ")[2].partition("  ")[0]
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 60.0) == 130

    run(scenario(), 180.0)


def test_a_new_text_is_found_within_two_seconds_by_command_and_api(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1", ANA))
            await s.report(payload("conv_2", LUIS))
            await s.sent(1)
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta la instalación?")
            await asyncio.sleep(2.0)
            (found,) = await searched(s, "INSTALACION", "cuest*")
            assert (found["phone_number"], found["snippet"]) == (ANA, "¿Cuánto cuesta la instalación?")
            listed = (await s.call("GET", "/api/conversations", params={"q": "instalación"})).json["conversations"]
            assert [one["phone_number"] for one in listed] == [ANA]
            assert (await s.call("GET", "/api/conversations", params={"q": "nada"})).json["conversations"] == []

    run(scenario())
