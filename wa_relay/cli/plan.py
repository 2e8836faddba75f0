"""`wa-relay plan`: shows which customers of a batch would get which opening, and why."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from wa_relay import policy
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import results, write_document
from wa_relay.cli.settings import load_config
from wa_relay.config import Config
from wa_relay.config.policy_rules import rules_of
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import store
from wa_relay.ledger.location import location_of
from wa_relay.ledger.preview import Preview, Previewer
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError, UpstreamError
from wa_relay.moments import optional_stamp
from wa_relay.reports import spans
from wa_relay.server.daemon_presence import find_daemon
from wa_relay.sources.batch_preview import ListedCall, list_calls
from wa_relay.text.escaping import one_line


class ServiceAway(RelayError):
    """ElevenLabs can't be asked just now."""

    exit_code = 75


@dataclass(frozen=True, slots=True)
class Planned:
    """One line of the plan."""

    listed: ListedCall
    preview: Preview

    def to_json(self) -> dict[str, Any]:
        """The entry of `plan --json`."""
        call, recipient, preview = self.listed.call, self.listed.recipient, self.preview
        variables = recipient.variables if call is None else call.variables
        name = policy.client_name(None if call is None else call.client_name, variables)
        return {
            "phone_number": recipient.phone if call is None else call.phone,
            "client_name": name or None,
            "elevenlabs_conversation_id": recipient.conversation_id if call is None else call.key,
            "outcome": recipient.status,
            "decision": preview.decision,
            "reason": preview.reason,
            "due_at": optional_stamp(preview.due_at),
            "content": preview.content,
            "content_sid": preview.content_sid,
        }


def plan(
    ctx: typer.Context,
    batch: Annotated[str | None, typer.Option("--batch", metavar="ID", help="The calls of this batch.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="The calls since a date, a time, or 7d, 24h ago.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who would get what, when and why, for calls at ElevenLabs. Nothing is stored or sent."""
    options: Options = ctx.obj
    if (batch is None) == (since is None):
        raise typer.BadParameter("give one of --batch ID and --since WHEN")
    config = load_config(options)
    now = time.time()
    try:
        start = spans.span(since, None, config.timezone, now).since
    except spans.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    rows = list(_decide(config, _listed(config, batch, start, now), now))
    if as_json:
        write_document(json.dumps([row.to_json() for row in rows], ensure_ascii=False, indent=2) + "\n")
        return
    paper = results(no_color=options.no_color)
    for row in rows:
        found = row.to_json()
        about = [found["decision"], found["phone_number"] or "no number", found["outcome"]]
        about += [one_line(found[key]) for key in ("client_name", "reason", "due_at") if found[key]]
        paper.console.print(paper.clean("  ".join(about)))
        if found["content"] or found["content_sid"]:
            paper.console.print(paper.clean(f"      {one_line(found['content'] or found['content_sid'])}"), style="dim")
    counts = {name: sum(row.preview.decision == name for row in rows) for name in ("send", "wait", "skip")}
    paper.console.print(f"{len(rows)} calls: {counts['send']} send, {counts['wait']} wait, {counts['skip']} skip")


def _listed(config: Config, batch: str | None, since: Moment | None, now: Moment) -> list[ListedCall]:
    async def fetch() -> list[ListedCall]:
        async with ElevenLabs(config.elevenlabs.base_url, config.elevenlabs.api_key.reveal()) as api:
            agents = config.poll.agent_ids
            return await list_calls(api, batch_id=batch, since=since, agent_ids=agents, now=now)

    try:
        return asyncio.run(fetch())
    except UpstreamError as error:
        if error.status == 404:
            raise RelayError(f"ElevenLabs knows no batch {batch}.", permanent=True) from None
        raise ServiceAway(error.message) if not error.permanent else RelayError(error.message) from error
    except ExceptionGroup as group:
        found = next((each for each in group.exceptions if isinstance(each, UpstreamError)), None)
        if found is None:
            raise
        raise ServiceAway(found.message) from group


def _decide(config: Config, listed: list[ListedCall], now: Moment) -> Iterator[Planned]:
    place = location_of(config)
    with reading(place) as db:
        # A reading command has no writer's engine, and changes nothing.
        ledger = Ledger(db, rules_of(config), forgotten=config.forgotten)  # type: ignore[arg-type]
        relay = ledger.need_one(store.SELECT_RELAY)
        ledger.fence, ledger.epoch = relay["fence"], relay["epoch"]
        starting = not place.is_shared and find_daemon(config.database.path) is None
        previewer = Previewer(ledger, now, starting=starting)
        for each in listed:
            yield Planned(each, _preview(previewer, each))


def _preview(previewer: Previewer, listed: ListedCall) -> Preview:
    if listed.rejection is not None:
        return Preview("skip", listed.rejection.reason)
    if listed.call is None:
        cancelled = listed.recipient.status == "cancelled"
        return Preview("skip", "outcome_not_followed") if cancelled else Preview("wait", "not_finished")
    return previewer.preview(listed.call)
