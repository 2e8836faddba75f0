"""The sessions of the agent in the output of `why`."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

from tests.e2e.stage import ANA, Stage, run, stage, until
from wa_relay.standins.elevenlabs import Scenario
from wa_relay.standins.twilio import Fault


async def tries(s: Stage) -> list[tuple[str, str]]:
    """The reason and the rule of each `try` event of `why --json`."""
    code, out, err = await s.relay.command("why", ANA, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return [(each["reason"], each["detail"]) for each in found if each["event"] == "try"]


def test_each_session_of_a_turn_is_shown_with_how_it_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.next(Scenario("close", code=1011))
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            await s.sent(2)
            (failed, why), (answered, _) = await tries(s)
            assert (failed, "1011" in why, answered) == ("failed", True, "answered")

    run(scenario())


def test_a_session_that_a_kill_cut_off_is_shown_as_interrupted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            s.elevenlabs.scenarios.default = Scenario(before=30.0)
            await s.twilio.customer_writes(ANA, "¿Cuánto cuesta?")
            await until(lambda: s.elevenlabs.journal.entries("user_message"))
            await s.relay.kill()
            s.elevenlabs.scenarios.default = Scenario()
            await s.relay.start()
            await s.sent(2)
            assert [reason for reason, _ in await tries(s)] == ["interrupted", "answered"]

    run(scenario())


def test_why_names_the_channel_or_the_user_of_each_decision(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await s.sent(1)
            await s.call("POST", f"/api/conversations/{ANA}/takeover", json={})
            await s.relay.command("release", ANA)
            await s.call("POST", f"/api/conversations/{ANA}/opt-out", json={})
            await s.relay.command("opt-out", "remove", ANA)
            found = json.loads((await s.relay.command("why", ANA, "--json"))[1])
            details = [each["detail"] for each in found if each["event"] in ("handover", "opt_out")]
            assert details == ["taken over by api", "given back by cli", "opted out by api", "opted back in by cli"]

    run(scenario())


def test_why_names_the_command_and_its_user_where_one_decided_an_uncertain_send(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.faults.next("create", Fault("F5"))
            await s.report()
            await until(lambda: "uncertain" in s.relay.log)
            await s.relay.command("resolve", "1", "--cancel", "--yes")
            found = json.loads((await s.relay.command("why", ANA, "--json"))[1])
            assert found[-1]["detail"] == f"cancelled by cli ({getpass.getuser()})"

    run(scenario())
