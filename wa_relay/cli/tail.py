"""`wa-relay tail`: what the running daemon does, as it happens."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, tzinfo
from typing import Annotated

import typer

from wa_relay import phone as phones
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import Paper, leave_if_unread, results, write_document
from wa_relay.cli.phones import read_phone, unknown
from wa_relay.cli.settings import load_config
from wa_relay.config import Config
from wa_relay.ledger import customers, events, journal, runs
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.events import Event
from wa_relay.ledger.location import location_of
from wa_relay.model import RelayError
from wa_relay.moments import stamp
from wa_relay.server.daemon_presence import find_daemon

LOOK_EVERY, DAEMON_EVERY = 0.2, 2.0
PAGE = 500


class NoDaemon(RelayError):
    """There is no daemon to follow, or it has stopped."""

    exit_code = 75


def tail(
    ctx: typer.Context,
    phone: Annotated[str | None, typer.Option(metavar="PHONE", help="Only what concerns this customer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show the events of the running daemon from now on, until Ctrl-C."""
    options: Options = ctx.obj
    number = None if phone is None else read_phone([phone])
    config = load_config(options)
    with reading(location_of(config)) as db:
        _require_daemon(config, db, "no daemon is running: start `wa-relay serve`.")
        chosen = None if number is None else customers.find_conversation(db, number)
        if number is not None and chosen is None:
            raise unknown(number)
        paper = None if as_json else results(no_color=options.no_color)
        _follow(config, db, chosen, paper)


def _follow(config: Config, db: Queries, chosen: int | None, paper: Paper | None) -> None:
    position, looked_at = journal.newest_id(db), time.monotonic()
    while True:
        page = events.read_events(db, position, PAGE)
        position = page.last
        for event in page.events:
            if chosen is None or event.conversation_id == chosen:
                _show(event, paper, config.timezone)
        sys.stdout.flush()
        if page.full:
            continue
        if time.monotonic() - looked_at >= DAEMON_EVERY:
            looked_at = time.monotonic()
            _require_daemon(config, db, "the daemon has stopped.")
        leave_if_unread()
        time.sleep(LOOK_EVERY)


def _require_daemon(config: Config, db: Queries, message: str) -> None:
    """Raises `NoDaemon` unless a daemon runs on the database."""
    if location_of(config).is_shared:
        alive = runs.is_anybody_alive(db, time.time())
    else:
        alive = find_daemon(config.database.path) is not None
    if not alive:
        raise NoDaemon(message)


def _show(event: Event, paper: Paper | None, timezone: tzinfo) -> None:
    masked = phones.mask(event.phone)
    if paper is None:
        shown = {
            "at": stamp(event.at),
            "event": event.kind,
            "phone": masked,
            "conversation_id": f"conv_local_{event.conversation_id}",
            "message_id": event.message_id,
            "status": event.status,
        }
        write_document(json.dumps(shown, ensure_ascii=False) + "\n")
        return
    about = f"message {event.message_id} " if event.message_id is not None else ""
    when = datetime.fromtimestamp(event.at, timezone)
    paper.console.print(paper.clean(f"{when:%H:%M:%S}  {masked}  {event.kind:<8}{about}{event.status}"))
