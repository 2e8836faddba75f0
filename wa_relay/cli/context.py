"""`wa-relay context`: what the agent would be given for a customer now."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Annotated

import typer

from wa_relay.agent.recap import recap, variables
from wa_relay.cli.open_reader import read_customer
from wa_relay.cli.options import Options
from wa_relay.cli.output import results, write_document
from wa_relay.cli.phones import Phone
from wa_relay.config import Config
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import agent_context
from wa_relay.ledger.agent_input import Informed
from wa_relay.ledger.call_details import merge_variables
from wa_relay.ledger.engine import Queries
from wa_relay.model import Question, RelayError, UpstreamError


def context(
    ctx: typer.Context,
    phone: Phone,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the agent would be given for a customer now: the variables and the context of a session."""
    options: Options = ctx.obj
    read: tuple[Config, str, Informed | str] = read_customer(options, phone, _find)
    config, number, found = read
    if isinstance(found, str):
        raise RelayError(f"no agent would answer {number}: {found}.", permanent=True)
    question = found.question
    if found.needs_details and question.call_key is not None:
        question = asyncio.run(_with_details(config, question, question.call_key))
    given = {
        "agent_id": question.agent_id,
        "dynamic_variables": variables(question),
        "contextual_update": recap(question),
    }
    if as_json:
        write_document(json.dumps(given, ensure_ascii=False, indent=2) + "\n")
        return
    paper = results(no_color=options.no_color)
    paper.console.print(f"agent {question.agent_id}", style="bold")
    for name, value in variables(question).items():
        paper.console.print(paper.clean(f"{name} = {value}"))
    paper.console.print()
    paper.console.print(paper.clean(recap(question)))


def _find(config: Config, db: Queries, number: str) -> Informed | str | None:
    agent_of_strangers = config.reply.unknown_sender_agent_id if config.reply.unknown_sender == "agent" else ""
    return agent_context.find_context(db, number, agent_of_strangers)


async def _with_details(config: Config, question: Question, key: str) -> Question:
    """Adds the call's details that were not fetched yet; they are not stored."""
    try:
        async with ElevenLabs(config.elevenlabs.base_url, config.elevenlabs.api_key.reveal(), timeout=10.0) as api:
            found = await api.conversation(key)
    except UpstreamError:
        return question
    return replace(
        question,
        variables=merge_variables(question.variables, found.variables),
        summary=found.summary or question.summary,
        transcript=found.transcript or question.transcript,
    )
