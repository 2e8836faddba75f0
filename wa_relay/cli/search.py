"""`wa-relay search`: the messages that contain all of the given words."""

from __future__ import annotations

import json
from datetime import tzinfo
from typing import Annotated

import typer

from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import Paper, results, write_document
from wa_relay.cli.settings import load_config
from wa_relay.cli.times import local_minute
from wa_relay.ledger.location import location_of
from wa_relay.ledger.search import Found, find
from wa_relay.moments import moment
from wa_relay.text.escaping import one_line
from wa_relay.text.search_terms import parse_query

USUAL, MOST = 100, 10_000


def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="All must match; prec* matches a beginning.")],
    limit: Annotated[
        int, typer.Option("--limit", "-n", help=f"Show at most this many of the newest, 1 to {MOST}.")
    ] = USUAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the text of all messages, ignoring case and accents."""
    options: Options = ctx.obj
    text = " ".join(words)
    if not parse_query(text):
        raise typer.BadParameter("there is no letter and no digit to search for", param_hint="WORDS")
    if not 1 <= limit <= MOST:
        raise typer.BadParameter(f"{limit} is not between 1 and {MOST}", param_hint="--limit")
    config = load_config(options)
    with reading(location_of(config)) as db:
        found = find(db, text, limit)
    if as_json:
        write_document(json.dumps([one.to_json() for one in found], ensure_ascii=False, indent=2) + "\n")
        return
    paper = results(no_color=options.no_color)
    for one in found:
        _print(one, paper, config.timezone)
    if not found:
        paper.console.print("no message has all of these words", style="dim")


def _print(found: Found, paper: Paper, timezone: tzinfo) -> None:
    when = "not sent" if found.sent_at is None else local_minute(moment(found.sent_at), timezone)
    who = " ".join(part for part in (found.phone, one_line(found.client_name or "")) if part)
    arrow = paper.mark("←", "<-") if found.direction == "inbound" else paper.mark("→", "->")
    paper.console.print(paper.clean(f"{when}  {arrow} {who}  (message {found.message_id})"), style="bold")
    paper.console.print(paper.clean(f"    {one_line(found.snippet)}"))
