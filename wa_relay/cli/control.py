"""`wa-relay pause`, `resume` and `resolve`: through the running daemon, directly when none runs."""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wa_relay.cli.settings import Settings
from wa_relay.model import RelayError

if TYPE_CHECKING:
    from wa_relay.reports import Undecided

Json = dict[str, Any]


class DaemonDoesNotAnswer(RelayError):
    """A daemon holds the database and its control socket is silent."""

    exit_code = 75


def pause(ctx: typer.Context) -> None:
    """Hold openings back until `wa-relay resume`. Answers to customers go on."""
    from wa_relay.ledger import control

    _change(ctx.obj, "/pause", {}, lambda ledger, _now: control.pause(ledger))
    typer.echo("Openings are paused. Answers to customers go on. Let openings go with: wa-relay resume")


def resume(ctx: typer.Context) -> None:
    """Let go the openings that `pause` or the burst breaker holds."""
    from wa_relay.ledger import control

    told = _change(ctx.obj, "/resume", {}, lambda ledger, _now: {"waiting": control.resume(ledger)})
    typer.echo(f"Openings go out again; {told.get('waiting', 0)} were waiting.")


def resolve(
    ctx: typer.Context,
    identity: Annotated[str | None, typer.Argument(metavar="ID", help="The message to decide about.")] = None,
    sent: Annotated[str | None, typer.Option("--sent", metavar="SID", help="It was sent, with this SID.")] = None,
    resend: Annotated[bool, typer.Option("--resend", help="It was not sent: send it again.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Leave it unsent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="List as JSON.")] = False,
) -> None:
    """List the sends whose fate is unknown, or decide one."""
    settings: Settings = ctx.obj
    decisions = [name for name, given in (("sent", sent is not None), ("resend", resend), ("cancel", cancel)) if given]
    if identity is None:
        if decisions:
            raise typer.BadParameter("say which message: wa-relay resolve ID --resend")
        _list(settings, as_json)
        return
    number = _number(identity)
    if len(decisions) != 1:
        raise typer.BadParameter("decide one of --sent SID, --resend, --cancel")
    if sent is not None and not _is_sid(sent):
        raise typer.BadParameter("a SID is SM or MM and 32 hexadecimal digits", param_hint="--sent")
    if not yes and sys.stdin.isatty():
        _confirm(settings, number, decisions[0])
    told = _decide(settings, number, decisions[0], sent)
    typer.echo(f"Message {number} is {told['status']} now.")


def _decide(settings: Settings, number: int, decision: str, sid: str | None) -> Json:
    from wa_relay.ledger import control

    who = _user()
    return _change(
        settings,
        "/resolve",
        {"id": number, "decision": decision, "sid": sid},
        lambda ledger, now: {"status": control.resolve(ledger, number, decision, sid, who, now)},  # type: ignore[arg-type]
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run under a number that has no name
        return f"user {os.getuid()}"


def _list(settings: Settings, as_json: bool) -> None:
    from wa_relay import reports
    from wa_relay.ledger.file import open_for_reading
    from wa_relay.text.safe import printable

    rows = reports.uncertain(open_for_reading(settings.config().database.path), time.time())
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], ensure_ascii=False, indent=2))
        return
    if not rows:
        typer.echo("Nothing needs a decision.")
        return
    for row in rows:
        minutes = int(row.age_seconds // 60)
        typer.echo(f"{row.id}  {row.phone_number}  {row.kind}  attempted {row.attempted_at} ({minutes} min ago)")
        typer.echo(f"    {printable(row.content)[:200]}")
        typer.echo(f"    {_seen(row)}")
    typer.echo("\nLook in Twilio's log whether it was sent, then: wa-relay resolve ID --sent SID | --resend | --cancel")


def _confirm(settings: Settings, number: int, decision: str) -> None:
    from wa_relay import reports
    from wa_relay.ledger.file import open_for_reading

    rows = reports.uncertain(open_for_reading(settings.config().database.path), time.time())
    row = next((row for row in rows if row.id == number), None)
    if row is not None:
        typer.echo(f"Message {number} to {row.phone_number}: {_seen(row)}")
    warning = " If it was sent after all, the customer gets it twice." if decision == "resend" else ""
    typer.confirm(f"{decision.capitalize()} message {number}?{warning}", abort=True)


def _seen(row: Undecided) -> str:
    """What is known of the send; before a first look-up, that Twilio may well have it."""
    if "look-up" in (row.evidence or ""):
        return str(row.evidence)
    return f"{row.evidence or 'no answer came'}; it could not be looked up at Twilio yet, which may well have it"


def _number(identity: str) -> int:
    if not (identity.isascii() and identity.isdigit() and int(identity) > 0):
        raise typer.BadParameter("the id of a message is a whole number, as `wa-relay resolve` lists it")
    return int(identity)


def _is_sid(text: str) -> bool:
    return len(text) == 34 and text[:2] in ("SM", "MM") and all(digit in "0123456789abcdefABCDEF" for digit in text[2:])


def _change(settings: Settings, path: str, body: Json, directly: Callable[[Any, float], Json | None]) -> Json:
    """Asks the daemon for a change, or makes it when none runs."""
    from wa_relay.config.rules import rules_of
    from wa_relay.ledger import file, store
    from wa_relay.ledger.faults import AlreadyServed, DatabaseMissing
    from wa_relay.ledger.lock import DatabaseLock
    from wa_relay.ledger.store import Ledger
    from wa_relay.moments import stamp

    config, now = settings.config(), time.time()
    database = config.database.path
    if not database.exists():
        raise DatabaseMissing(f"no database at {database}: it is made by `wa-relay serve`.", permanent=True)
    lock = DatabaseLock(database)
    try:
        lock.take(stamp(now))
    except AlreadyServed:
        return _ask_daemon(lock, path, body)
    try:
        opened = file.open_for_writing(database, account_sid="", now=now)
        with closing(opened.connection):
            ledger = Ledger(opened.connection, rules_of(config))
            row = ledger.one(store.RELAY)
            assert row is not None
            ledger.fence, ledger.epoch = row["fence"], row["epoch"]
            ledger.db.execute("begin immediate")
            told = directly(ledger, now)
            ledger.db.execute("commit")
            return told or {}
    except sqlite3.Error as error:
        raise file.fault_of(error, database) from error
    finally:
        lock.release()


def _ask_daemon(lock: Any, path: str, body: Json) -> Json:
    import httpx

    from wa_relay.server.unix_socket import address

    holder = lock.holder()
    if holder is None or holder.control is None or not Path(holder.control).exists():
        raise DaemonDoesNotAnswer("another process holds the database and does not answer: try again in a moment.")
    try:
        with (
            address(Path(holder.control)) as reachable,
            httpx.Client(transport=httpx.HTTPTransport(uds=reachable), timeout=10.0) as client,
        ):
            answer = client.post(f"http://wa-relay{path}", json=body)
            told: Json = answer.json()
    except (httpx.HTTPError, ValueError, OSError) as error:
        raise DaemonDoesNotAnswer(f"the daemon (pid {holder.pid}) does not answer: try again in a moment.") from error
    if answer.status_code != 200:
        raise RelayError(str(told.get("message", "the daemon refused.")), permanent=True)
    return told
