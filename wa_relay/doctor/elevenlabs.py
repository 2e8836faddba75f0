"""The ElevenLabs key, and the settings of the agents that matter to a text turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wa_relay.config import Config
from wa_relay.config.checks import SAMPLES
from wa_relay.doctor.account import seconds_ahead
from wa_relay.doctor.check import LIMIT, Check, ask, skipped
from wa_relay.doctor.service_failures import failed, unreadable
from wa_relay.elevenlabs.client import BatchSummary, ElevenLabs
from wa_relay.elevenlabs.needed_variables import AgentSetup, Variables
from wa_relay.elevenlabs.shapes import AgentSettings
from wa_relay.model import Moment, UpstreamError
from wa_relay.text.escaping import one_line

KEY, AGENTS = "ElevenLabs key", "agents"
NAMES = (KEY, AGENTS)
SERVICE = "ElevenLabs"
IN_DASHBOARD = "ElevenLabs, Agents, the agent's page"
MOST_AGENTS, MOST_TOOLS = 20, 50
ANSWER, END = "agent_response", "agent_response_complete"
OWN_VARIABLES = frozenset({"channel", "previous_conversation_id", "previous_summary"})
"""The variables that every session of ours sets."""


@dataclass(frozen=True, slots=True)
class Found:
    """The checks, and by how many seconds this clock is ahead of ElevenLabs'."""

    checks: list[Check]
    ahead: float | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """The variables of the newest batch of an agent: those that each recipient has."""

    batch: str
    by_all: frozenset[str] = field(default_factory=frozenset)


async def examine(config: Config, clock: Callable[[], Moment], end: float) -> Found:
    """Asks ElevenLabs until the loop's time is `end`."""
    key = config.elevenlabs.api_key
    if not key:
        return Found(skipped(NAMES, "needs elevenlabs.api_key"))
    async with ElevenLabs(config.elevenlabs.base_url, key.reveal(), timeout=LIMIT) as api:
        try:
            batches = await ask(_newest_batches(api), SERVICE, end)
        except UpstreamError as error:
            off = seconds_ahead(api.last_date, clock())
            return Found([_failed(KEY, error), *skipped((AGENTS,), "ElevenLabs can't be asked")], off)
        off = seconds_ahead(api.last_date, clock())
        taken = Check(KEY, "ok", "works and can read batch calls")
        if config.elevenlabs.transport == "http":
            return Found([taken, *skipped((AGENTS,), "transport is http: the gateway talks to the agent")], off)
        checks = await _check_agents(api, config, batches, end)
        return Found(checks if checks[0].name == KEY else [taken, *checks], off)


async def _newest_batches(api: ElevenLabs) -> dict[str, BatchSummary]:
    """The newest batch of each agent, as far as the first page of the list goes."""
    page = await anext(api.batch_pages(), None)
    newest: dict[str, BatchSummary] = {}
    for batch in page.batches if page else ():
        known = newest.get(batch.agent_id)
        if known is None or (batch.created_at or 0.0) > (known.created_at or 0.0):
            newest[batch.agent_id] = batch
    return newest


def _failed(name: str, error: UpstreamError) -> Check:
    if error.status == 403 or error.code == "missing_permissions":
        message = f"the key is right, and lacks a permission (HTTP {error.status})"
        fix = "give elevenlabs.api_key the permission ElevenLabs Agents: Write, which includes reading"
        return Check(name, "fail", message, fix, cause="credentials")
    return failed(name, SERVICE, error, credentials="elevenlabs.api_key", address="elevenlabs.base_url")


async def _check_agents(
    api: ElevenLabs, config: Config, batches: Mapping[str, BatchSummary], end: float
) -> list[Check]:
    wanted = agents_of(config, tuple(batches))
    if not wanted:
        return skipped((AGENTS,), "poll.agent_ids is empty, and no agent has made batch calls yet")
    checks = list(await asyncio.gather(*(_check_agent(api, agent, batches, end) for agent in wanted[:MOST_AGENTS])))
    if len(wanted) > MOST_AGENTS:
        checks.append(Check(AGENTS, "skipped", f"only the first {MOST_AGENTS} of {len(wanted)} were looked at"))
    if checks and all(check.cause == "credentials" for check in checks):
        # The key is at fault, not each agent.
        return [Check(KEY, "fail", checks[0].message, checks[0].fix, cause="credentials")]
    return checks


def agents_of(config: Config, calling: tuple[str, ...]) -> list[str]:
    """Returns the agents that may be asked: of the configuration, and those that make batch calls."""
    named = [*(config.poll.agent_ids or calling), config.reply.unknown_sender_agent_id]
    named += [agent for sender in config.senders for agent in sender.agent_ids]
    return [agent for agent in dict.fromkeys(named) if agent and not SAMPLES.search(agent)]


async def _check_agent(api: ElevenLabs, agent_id: str, batches: Mapping[str, BatchSummary], end: float) -> Check:
    name = _name(agent_id)
    try:
        setup = await ask(api.agent_setup(agent_id), SERVICE, end)
        # A key that may only read gets this far, and no session: that needs a signed URL, which counts as writing.
        await ask(api.signed_url(agent_id), SERVICE, end)
    except UpstreamError as error:
        if error.status == 404:
            fix = "correct poll.agent_ids, reply.unknown_sender_agent_id or [[sender]].agent_ids"
            return Check(name, "fail", "this key's workspace has no such agent", fix)
        if error.status in (401, 403):
            return _failed(name, error)
        return unreadable(name, SERVICE, error, IN_DASHBOARD)
    judged = judge(setup.settings)
    if judged.found:
        return judged
    try:
        return await _check_variables(api, setup, batches, end) or judged
    except UpstreamError as error:
        why = f"HTTP {error.status}" if error.status else "no answer"
        return Check(name, "ok", f"{judged.message}; its variables could not be compared ({why})")


async def _check_variables(
    api: ElevenLabs, setup: AgentSetup, batches: Mapping[str, BatchSummary], end: float
) -> Check | None:
    """Names the variables that the agent requires and its newest batch lacks; None without any."""
    agent_id, variables = setup.settings.agent_id, setup.variables
    tools = [ask(_fetch_tool_variables(api, each), SERVICE, end) for each in setup.tool_ids[:MOST_TOOLS]]
    for found in await asyncio.gather(*tools):
        variables |= found
    required = variables.from_outside - OWN_VARIABLES
    brought = await ask(_fetch_brought(api, agent_id, batches.get(agent_id)), SERVICE, end) if required else None
    if brought is None:
        return None
    missing = sorted(required - brought.by_all)
    if not missing:
        return None
    message = (
        f"requires the variables {one_line(', '.join(missing))}, and its newest batch "
        f"({one_line(brought.batch)}) does not bring them to every recipient: no session can begin (1008)"
    )
    fix = "add them to the batch's recipients, or take them out of the agent's prompt, first message and tools"
    return Check(_name(agent_id), "fail", message, fix)


async def _fetch_tool_variables(api: ElevenLabs, tool_id: str) -> Variables:
    try:
        return await api.tool(tool_id)
    except UpstreamError as error:
        # A tool that was deleted, or that this key may not read, requires nothing that can be known here.
        if error.status in (401, 403, 404):
            return Variables()
        raise


async def _fetch_brought(api: ElevenLabs, agent_id: str, newest: BatchSummary | None) -> Brought | None:
    if newest is None:
        page = await anext(api.batch_pages(agent_id), None)
        own = [batch for batch in page.batches if batch.agent_id == agent_id] if page else []
        newest = max(own, key=lambda batch: batch.created_at or 0.0, default=None)
    if newest is None:
        return None
    recipients = (await api.batch(newest.id)).recipients
    if not recipients:
        return None
    by_all = frozenset.intersection(*(frozenset(each.variables) for each in recipients))
    return Brought(newest.name or newest.id, by_all)


def _name(agent_id: str) -> str:
    return f"agent {one_line(agent_id)}"


def judge(agent: AgentSettings) -> Check:
    """Checks how well an agent's settings suit a text turn."""
    name, events = _name(agent.agent_id), agent.client_events
    if events is not None and ANSWER not in events:
        fix = f"enable {ANSWER} and {END} in the agent's client events (Advanced)"
        return Check(name, "fail", f"does not send {ANSWER}: its replies can't be read", fix)
    faults, fixes = [], []
    if not agent.text_only and not agent.text_only_override:
        faults.append("forbids text only: each reply is also spoken, at the price of voice")
        fixes.append("allow the text-only override in the agent's Security settings")
    if agent.tools_unseen:
        faults.append("may call tools without reporting it: a turn that fails is not asked again")
        fixes.append("enable agent_tool_request and agent_tool_response in its client events (Advanced)")
    if faults:
        return Check(name, "warn", "; ".join(faults), "; ".join(fixes))
    notes = []
    if agent.first_message and agent.first_message.strip():
        notes.append("greets first: each turn waits for the greeting and drops it")
    if events is None or END not in events:
        notes.append(f"does not send {END}: each reply waits elevenlabs.settle_seconds for more text")
    return Check(name, "ok", "; ".join(notes) or "is ready for text")
