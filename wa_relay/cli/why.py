"""`wa-relay why`: every decision about a customer, and its reason."""

from __future__ import annotations

import json
from datetime import datetime, tzinfo
from typing import Annotated

import typer

from wa_relay.cli.open_reader import read_customer
from wa_relay.cli.options import Options
from wa_relay.cli.output import Paper, results, write_document
from wa_relay.cli.phones import Phone
from wa_relay.reports.why import Decision
from wa_relay.reports.why import why as decisions_about


def why(
    ctx: typer.Context,
    phone: Phone,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every decision about a customer, with its time and its rule."""
    options: Options = ctx.obj
    config, _, decisions = read_customer(options, phone, lambda _config, db, number: decisions_about(db, number))
    if as_json:
        rows = [decision.to_json() for decision in decisions]
        write_document(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
        return
    paper = results(no_color=options.no_color)
    day = ""
    for decision in decisions:
        when = datetime.fromtimestamp(decision.at, config.timezone)
        if (today := f"{when:%A %d %B %Y}") != day:
            day = today
            paper.console.print(day, style="bold")
        _print(paper, decision, config.timezone)


def _print(paper: Paper, decision: Decision, timezone: tzinfo) -> None:
    """Prints one decision: its time, what it is about, and its reason below."""
    when = datetime.fromtimestamp(decision.at, timezone)
    about = [] if decision.event == "message" else [decision.event]
    if decision.message_id is not None:
        about.append(f"message {decision.message_id}")
    elif decision.call is not None:
        about.append(decision.call)
    marks = [mark for mark in (decision.status, decision.reason, decision.error_code) if mark]
    heading = f"{when:%H:%M:%S}  {' '.join(about)}"
    paper.console.print(paper.clean(heading + (f": {', '.join(marks)}" if marks else "")))
    if decision.detail:
        paper.console.print(paper.clean(f"          {decision.detail}"), style="dim")
