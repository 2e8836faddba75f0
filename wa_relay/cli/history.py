"""`wa-relay history`: a customer's calls and the whole thread."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from wa_relay.cli.conversation_pages import Page, page_for
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import leave_if_unread
from wa_relay.cli.phones import Phone, read_phone, unknown
from wa_relay.cli.settings import load_config
from wa_relay.cli.times import Since
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.location import location_of
from wa_relay.reports import conversation, spans
from wa_relay.reports.conversation import Conversation

DEFAULT_LIMIT, MAX_LIMIT = 100, 10_000
FOLLOW_SECONDS = 0.5
"""Between two looks at the database."""


def history(
    ctx: typer.Context,
    parts: Phone,
    limit: Annotated[
        int, typer.Option("--limit", "-n", help=f"Show only the newest messages, 1 to {MAX_LIMIT}.")
    ] = DEFAULT_LIMIT,
    since: Since = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new messages until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --follow, one object per line.")] = False,
) -> None:
    """Show a customer's calls and the whole WhatsApp thread."""
    options: Options = ctx.obj
    number = read_phone(parts)
    if not 1 <= limit <= MAX_LIMIT:
        raise typer.BadParameter(f"{limit} is not between 1 and {MAX_LIMIT}", param_hint="--limit")
    config = load_config(options)
    try:
        start = spans.span(since, None, config.timezone, time.time()).since
    except spans.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    with reading(location_of(config)) as db:
        found = conversation.conversation(db, phone=number, limit=limit, since=start)
        if found is None:
            raise unknown(number)
        page = page_for(as_json=as_json, one_line=follow, no_color=options.no_color, timezone=config.timezone)
        page.begin(found)
        if follow:
            _follow(db, found, page)


def _follow(db: Queries, shown: Conversation, page: Page) -> None:
    """Shows new messages, and new statuses of the messages shown, until Ctrl-C."""
    version = None
    while True:
        # Changes whenever another connection has committed: otherwise there is nothing to look for.
        latest = db.version()
        if latest != version:
            version = latest
            current = conversation.conversation(db, phone=shown.phone, limit=MAX_LIMIT)
            if current is not None:
                page.go_on(current)
        leave_if_unread()
        time.sleep(FOLLOW_SECONDS)
