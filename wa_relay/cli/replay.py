"""`wa-relay replay`: puts a customer's questions to another agent, and shows old and new answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from wa_relay.cli.forget import confirm, require_yes
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import results, write_document
from wa_relay.cli.phones import Phone, read_phone, unknown
from wa_relay.cli.settings import load_config
from wa_relay.config import Config
from wa_relay.config.policy_rules import rules_of
from wa_relay.ledger.location import location_of
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.replaying import StoredTurn, stored_turns
from wa_relay.ledger.store import Ledger
from wa_relay.loops.file_reader import FileReader
from wa_relay.loops.service_clients import ServiceClients, open_clients
from wa_relay.model import AgentError, Answer, NoCapacityError, RelayError, UpstreamError
from wa_relay.text.markdown import to_whatsapp


@dataclass(frozen=True, slots=True)
class Replayed:
    """One turn: what was asked, the old answer and the new one, each None if it is missing."""

    question: str
    old: str | None
    new: str | None
    error: str | None


def replay(
    ctx: typer.Context,
    phone: Phone,
    agent: Annotated[str, typer.Option("--agent", metavar="ID", help="The agent to ask.")],
    tools_run: Annotated[bool, typer.Option("--tools-run", help="Allow an agent whose tools would run.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask another agent a customer's stored questions, and show old and new answers. Nothing is sent to Twilio."""
    options: Options = ctx.obj
    number = read_phone(phone)
    require_yes(yes=yes)
    config = load_config(options)
    with reading(location_of(config)) as db:
        # A reading command has no writer's engine, and changes nothing.
        turns = stored_turns(Ledger(db, rules_of(config)), number, agent)  # type: ignore[arg-type]
    if turns is None:
        raise unknown(number)
    confirm(f"Ask {agent} {len(turns)} questions of {number}? Each is a session that ElevenLabs bills.", yes=yes)
    found = asyncio.run(_replay(config, turns, agent, tools_run=tools_run))
    if as_json:
        write_document(json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=2) + "\n")
        return
    paper = results(no_color=options.no_color)
    for each in found:
        paper.console.print(paper.clean(each.question), style="bold")
        paper.console.print(paper.clean(f"  old: {each.old or '(no answer)'}"), style="dim")
        paper.console.print(paper.clean(f"  new: {each.error or each.new or '(silence)'}"))


async def _replay(config: Config, turns: Sequence[StoredTurn], agent: str, *, tools_run: bool) -> list[Replayed]:
    async with AsyncExitStack() as opened:
        reader = Reader(location_of(config))
        opened.callback(reader.close)
        clients = await open_clients(config, "", FileReader(reader), opened)
        await _refuse_tools(clients, agent, tools_run=tools_run)
        return [await _ask(clients, turn) for turn in turns]


async def _refuse_tools(clients: ServiceClients, agent: str, *, tools_run: bool) -> None:
    try:
        settings = await clients.elevenlabs.agent(agent)
    except UpstreamError as error:
        if error.status == 404:
            raise RelayError(f"ElevenLabs knows no agent {agent}.", permanent=True) from None
        raise
    if (settings.prompt_tools or settings.workflow_tools) and not tools_run:
        raise RelayError(
            f"{agent} has webhook or MCP tools, which would really run. Repeat with --tools-run to allow it.",
            permanent=True,
        )


async def _ask(clients: ServiceClients, turn: StoredTurn) -> Replayed:
    async def note_tools(*_: object, **__: object) -> None:
        """Nothing is kept of a replayed turn."""

    async def note_try(_why: str) -> None:
        """Its tries are not kept either."""

    asked = turn.question.text
    try:
        answer = await clients.agent.answer(turn.question, note_tools, note_try)
    except (AgentError, NoCapacityError) as error:
        return Replayed(asked, turn.old, None, error.message)
    new = to_whatsapp(answer.text) if isinstance(answer, Answer) else None
    return Replayed(asked, turn.old, new, None)
