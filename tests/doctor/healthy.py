"""A set-up without faults, and a way to examine it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.stage import AGENT, Stage, stage
from tests.server.served import sign_webhook
from wa_relay.config.loader import read
from wa_relay.doctor import Check, Report, examine
from wa_relay.model import Moment
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, Recipient
from wa_relay.standins.twilio import Delays, Template, TwilioStandin

SENDER = "whatsapp:+573150000000"
HX = "HX" + "a" * 32
GOOD_AGENT = Agent(
    AGENT.agent_id,
    prompt="Atiende a {{cliente}}.",
    client_events=CHAT_EVENTS,
    overrides=frozenset({"conversation.text_only"}),
)
GOOD: Mapping[str, Mapping[str, Any]] = {
    "poll": {"agent_ids": [AGENT.agent_id]},
    "console": {"enabled": True},
    "opening.completed": {"content_sid": HX, "content_variables": {"1": "{client_name}"}},
}


def merged(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tables of all layers, the later ones over the earlier."""
    found: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            found.setdefault(section, {}).update(values)
    return found


def good_twilio(approval: str = "approved", body: str = "Hola {{1}}, gracias.") -> TwilioStandin:
    """An account with one sender and one approved template."""
    return TwilioStandin(
        senders=(SENDER,),
        templates=(Template(HX, body, {"1": "Ana"}, approval=approval),),
        delays=Delays(0.02, 0.02, 0.02),
        enforce_window=False,
    )


@asynccontextmanager
async def healthy(
    folder: Path, settings: Mapping[str, Mapping[str, Any]] | None = None, **more: Any
) -> AsyncIterator[Stage]:
    """Sets everything up, with a batch of the agent and a post-call webhook that has arrived."""
    more.setdefault("twilio", good_twilio())
    more.setdefault("agent", GOOD_AGENT)
    async with stage(folder, merged(GOOD, settings or {}), **more) as s:
        variables = {"cliente": "Ana", "client_name": "Ana"}
        s.elevenlabs.add_batch(name="B", agent_id=AGENT.agent_id, recipients=[Recipient("+573138539155", variables)])
        if s.relay.process is not None:
            await hear_post_call(s)
        yield s


async def hear_post_call(s: Stage) -> None:
    """Posts a correctly signed webhook that reports no call."""
    body = json.dumps({"type": "post_call_other", "event_timestamp": int(time.time()), "data": {}}).encode()
    headers = {
        "ElevenLabs-Signature": sign_webhook(body, time.time(), "wsec_standin"),
        "Content-Type": "application/json",
    }
    answer = await s.call("POST", "/webhook/elevenlabs/post-call", token=None, data=body, headers=headers)
    assert answer.status in (200, 403), answer.text  # 403 where the set-up has no secret


async def examined(
    s: Stage, clock: Callable[[], Moment] = time.time, *, offline: bool = False, config: Path | None = None
) -> dict[str, Check]:
    """The findings by their names, made in this process."""
    loaded = read(config or s.relay.config, {}, cwd=s.relay.folder, serving=True)
    return by_name(await examine(loaded, clock, offline=offline))


def by_name(report: Report) -> dict[str, Check]:
    """The findings by their names, each of which is there once."""
    found = {check.name: check for check in report.checks}
    assert len(found) == len(report.checks), [check.name for check in report.checks]
    assert report.ok is all(check.status != "fail" for check in report.checks)
    for check in report.checks:
        assert check.message
        assert check.fix or not check.found, check
    return found


def faults_of(found: Mapping[str, Check]) -> dict[str, Check]:
    """The checks that are not ok."""
    return {name: check for name, check in found.items() if check.found}
