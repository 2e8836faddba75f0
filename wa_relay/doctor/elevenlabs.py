"""The ElevenLabs key, and the settings of the agents that matter to a text turn."""

from __future__ import annotations

import asyncio

from wa_relay.config import Config
from wa_relay.doctor.check import LIMIT, Check, ask, skipped
from wa_relay.doctor.upstreams import failed
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.shapes import AgentSettings
from wa_relay.model import UpstreamError

KEY, AGENTS = "ElevenLabs key", "agents"
NAMES = (KEY, AGENTS)
SERVICE = "ElevenLabs"
MOST_AGENTS = 20
ANSWER, END = "agent_response", "agent_response_complete"


async def examine(config: Config, end: float) -> list[Check]:
    """Asks ElevenLabs until the loop's time is `end`."""
    key = config.elevenlabs.api_key
    if not key:
        return skipped(NAMES, "needs elevenlabs.api_key")
    async with ElevenLabs(config.elevenlabs.base_url, key.reveal(), timeout=LIMIT) as api:
        try:
            await ask(api.check(), SERVICE, end)
        except UpstreamError as error:
            refused = _failed(KEY, error)
            return [refused, *skipped((AGENTS,), "ElevenLabs can't be asked")]
        taken = Check(KEY, "ok", "works and can read batch calls")
        if config.elevenlabs.transport == "http":
            why = "transport is http: the gateway talks to the agent"
            return [taken, *skipped((AGENTS,), why)]
        return [taken, *await _agents(api, config, end)]


def _failed(name: str, error: UpstreamError) -> Check:
    credentials = "elevenlabs.api_key"
    if error.status == 403 or error.code == "missing_permissions":
        credentials += ": give the key ElevenLabs Agents: Write, which includes reading"
    return failed(name, SERVICE, error, credentials=credentials, address="elevenlabs.base_url")


async def _agents(api: ElevenLabs, config: Config, end: float) -> list[Check]:
    named = [*config.poll.agent_ids, config.reply.unknown_sender_agent_id]
    wanted = [agent for agent in dict.fromkeys(named) if agent]
    if not config.poll.agent_ids:
        try:
            wanted = list(dict.fromkeys([*wanted, *await ask(_calling(api), SERVICE, end)]))
        except UpstreamError as error:
            return [_failed(AGENTS, error)]
    if not wanted:
        return skipped((AGENTS,), "poll.agent_ids is empty, and no agent has made batch calls yet")
    return list(await asyncio.gather(*(_agent(api, agent, end) for agent in wanted[:MOST_AGENTS])))


async def _calling(api: ElevenLabs) -> list[str]:
    """The agents of the newest batches."""
    page = await anext(api.batch_pages(), None)
    return [batch.agent_id for batch in page.batches] if page else []


async def _agent(api: ElevenLabs, agent_id: str, end: float) -> Check:
    try:
        found = judge(await ask(api.agent(agent_id), SERVICE, end))
        # A key that may only read gets this far, and no session: that needs a signed URL, which counts as writing.
        await ask(api.signed_url(agent_id), SERVICE, end)
        return found
    except UpstreamError as error:
        if error.status == 404:
            fix = "correct poll.agent_ids or reply.unknown_sender_agent_id"
            return Check(_name(agent_id), "fail", "this key's workspace has no such agent", fix)
        return _failed(_name(agent_id), error)


def _name(agent_id: str) -> str:
    return f"agent {agent_id}"


def judge(agent: AgentSettings) -> Check:
    """Says how well an agent's settings suit a text turn."""
    name, greets = _name(agent.agent_id), ""
    if agent.first_message and agent.first_message.strip():
        greets = "greets first: each turn waits for the greeting and drops it"
    events = agent.client_events
    if events is not None and ANSWER not in events:
        fix = f"enable {ANSWER} and {END} in the agent's client events (Advanced)"
        return Check(name, "fail", f"does not send {ANSWER}: its replies can't be read", fix)
    faults, fixes = [], []
    if not agent.text_only and not agent.text_only_override:
        faults.append("does not allow text only: each reply is also spoken, at the price of voice")
        fixes.append("allow the text-only override in the agent's Security settings")
    if events is None or END not in events:
        faults.append(f"does not send {END}: each reply waits elevenlabs.settle_seconds for more text")
        fixes.append(f"enable {END} in its client events (Advanced)")
    message = "; ".join([*faults, *filter(None, [greets])])
    if faults:
        return Check(name, "warn", message, "; ".join(fixes))
    return Check(name, "ok", message or "is ready for text")
