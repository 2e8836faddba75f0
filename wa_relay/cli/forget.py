"""`wa-relay forget` and `wa-relay retention`: erase one customer, or the threads that are old."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from wa_relay.cli.change import ask, cli_actor, running_daemon
from wa_relay.cli.offline_jobs import with_forgetter
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.phones import Phone, read_phone
from wa_relay.cli.settings import load_config
from wa_relay.ledger import erasing
from wa_relay.ledger.location import location_of
from wa_relay.moments import stamp

FORGET_SECONDS = 300.0
"""Seconds that the daemon may take: it waits for sends in flight, and asks Twilio for each message."""

RETENTION_SECONDS = 3600.0
REMAINS = "Log files and old backups are not touched. See docs/privacidad.md for what remains elsewhere."
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Required without a terminal.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def forget(
    ctx: typer.Context,
    phone: Phone,
    upstream: Annotated[bool, typer.Option("--upstream", help="First delete at Twilio and ElevenLabs too.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase a customer's texts, names, numbers, media and ids; the figures of `stats` stay."""
    options: Options = ctx.obj
    number = read_phone(phone)
    confirm(f"Erase everything that is stored about {number}? This can't be undone.", yes=yes)
    config = load_config(options, serving=False)
    by = cli_actor()
    if (daemon := running_daemon(config)) is not None:
        ask(daemon, "/forget", {"phone": number, "upstream": upstream, "by": by}, FORGET_SECONDS)
    else:
        with_forgetter(config, lambda forgetter: forgetter.forget(number, by, upstream=upstream), upstream=upstream)
    if as_json:
        typer.echo(json.dumps({"phone_number": number, "forgotten": True, "upstream": upstream}))
        return
    typer.echo(f"{number} is forgotten. {REMAINS}")
    if location_of(config).is_shared:
        typer.echo("PostgreSQL's own log, replicas and archives keep the rest until they are recycled.")
    if not upstream:
        typer.echo("Twilio and ElevenLabs keep their copies: use --upstream to delete those first.")


def retention(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be erased.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase the threads whose last message is older than retention.threads_days."""
    options: Options = ctx.obj
    if not dry_run:
        require_yes(yes=yes)
    config = load_config(options)
    days = config.retention.threads_days
    if dry_run or days <= 0:
        with reading(location_of(config)) as db:
            before = stamp(time.time() - days * 86400.0)
            threads = erasing.count_old_threads(db, before) if days > 0 else 0
        _print_threads(threads, dry_run=dry_run, as_json=as_json)
        return
    confirm(f"Erase the threads whose last message is older than {days:g} days? This can't be undone.", yes=yes)
    by = cli_actor()
    if (daemon := running_daemon(config)) is not None:
        threads = int(ask(daemon, "/retention", {"days": days, "by": by}, RETENTION_SECONDS)["threads"])
    else:
        threads = with_forgetter(config, lambda forgetter: forgetter.forget_old(days, by))
    _print_threads(threads, dry_run=False, as_json=as_json)


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal, and raises `typer.Abort` for a no. Without a terminal, `--yes` is required."""
    require_yes(yes=yes)
    if not yes:
        typer.confirm(question, abort=True)


def require_yes(*, yes: bool) -> None:
    """Raises `BadParameter` without `--yes` and a terminal, before anything else is checked."""
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("without a terminal this requires --yes", param_hint="--yes")


def _print_threads(threads: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"threads": threads}))
    else:
        typer.echo(f"{threads} threads would be erased." if dry_run else f"{threads} threads were erased. {REMAINS}")
