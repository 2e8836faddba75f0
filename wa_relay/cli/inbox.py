"""`wa-relay inbox`: the conversations in which a person is requested or has taken over."""

from __future__ import annotations

import json
import time
from datetime import tzinfo
from typing import Annotated

import typer

from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import Paper, results
from wa_relay.cli.settings import load_config
from wa_relay.cli.times import local_minute
from wa_relay.ledger.location import location_of
from wa_relay.model import Moment
from wa_relay.reports.conversation_list import Listed, at_work
from wa_relay.text.escaping import one_line

SHOWN = 100
"""Characters of the newest message."""


def inbox(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the conversations in which a person is requested or has taken over.

    Customers who wait come first, the longest wait at the top.
    """
    options: Options = ctx.obj
    config = load_config(options)
    with reading(location_of(config)) as db:
        found = at_work(db)
    now = time.time()
    if as_json:
        typer.echo(json.dumps([listed.to_json(now) for listed in found], ensure_ascii=False, indent=2))
        return
    paper = results(no_color=options.no_color)
    if not found:
        paper.console.print("No person is requested, and no conversation is taken over.")
    for listed in found:
        for line in _lines(listed, paper, config.timezone, now):
            paper.console.print(line, soft_wrap=True)


def _lines(listed: Listed, paper: Paper, timezone: tzinfo, now: Moment) -> list[str]:
    who = listed.overview
    name = f"  {one_line(who.client_name)}" if who.client_name else ""
    unread = f", {who.unread} unread" if who.unread else ""
    lines = [f"{who.phone}{name}", f"    {_state(listed, timezone, now)}{unread}"]
    if listed.last_message is not None and listed.last_message.content.strip():
        lines.append(f"    {one_line(listed.last_message.content)[:SHOWN]}")
    return [paper.clean(line) for line in lines]


def _state(listed: Listed, timezone: tzinfo, now: Moment) -> str:
    who = listed.overview
    if who.waiting_since is not None:
        minutes = max(0, int((now - who.waiting_since) // 60))
        given_back = "" if who.handler == "human" else "; the agent has it, because no person came"
        return f"waits for a person since {minutes} min ({who.handler_reason or 'requested'}){given_back}"
    until = local_minute(who.handler_until or now, timezone)
    return f"taken over by {who.handler_by} until {until}"
