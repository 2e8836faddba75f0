"""What `why` shows of each session that the agent was asked in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.stage import ANA, Stage, run, stage, until
from wa_relay.standins.elevenlabs import Scenario


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
