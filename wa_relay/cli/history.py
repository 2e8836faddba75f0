"""`wa-relay history`: the call and the whole thread with one person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from wa_relay import phone
from wa_relay.cli.settings import Settings

if TYPE_CHECKING:
    import sqlite3

    from wa_relay.cli.pages import Page
    from wa_relay.reports import Conversation

USUAL, MOST = 100, 10_000
FOLLOW_PAUSE = 0.5
"""Seconds between two looks at the database."""


def history(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="PHONE", help="The phone, with its country code.")],
    limit: Annotated[int, typer.Option("--limit", "-n", help=f"The newest so many messages, 1 to {MOST}.")] = USUAL,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="From then on: a date, a local time, or 7d, 24h, 30m back."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what comes, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --follow one object a line.")] = False,
) -> None:
    """Show the call and the whole thread with one person."""
    settings: Settings = ctx.obj
    try:
        person = phone.parse(" ".join(words))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="PHONE") from None
    if not 1 <= limit <= MOST:
        raise typer.BadParameter(f"{limit} is out of range: 1 to {MOST} is wanted", param_hint="--limit")
    config = settings.config()

    from wa_relay import reports
    from wa_relay.cli.pages import page_for
    from wa_relay.cli.reading import reading
    from wa_relay.model import RelayError

    try:
        start = reports.span(since, None, config.timezone, time.time()).since
    except reports.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    with reading(config.database.path) as db:
        found = reports.conversation(db, phone=person, limit=limit, since=start)
        if found is None:
            raise RelayError(f"nobody with the number {person} has been called or has written.", permanent=True)
        page = page_for(as_json=as_json, one_line=follow, no_color=settings.no_color, timezone=config.timezone)
        page.begin(found)
        if follow:
            _follow(db, found, page)


def _follow(db: sqlite3.Connection, seen: Conversation, page: Page) -> None:
    """Shows what is new, and what has got further of the messages that were shown, until the person stops it."""
    from wa_relay import reports

    version = None
    while True:
        # Changes whenever another connection has committed: else there is nothing to look for.
        latest = db.execute("pragma data_version").fetchone()[0]
        if latest != version:
            version = latest
            now = reports.conversation(db, phone=seen.phone, limit=MOST)
            if now is not None:
                page.go_on(now)
        time.sleep(FOLLOW_PAUSE)
