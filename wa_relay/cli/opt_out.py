"""`wa-relay opt-out`: the list of customers who have opted out."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wa_relay import phone as phones
from wa_relay.cli.change import Json, change
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import write_document
from wa_relay.cli.phones import read_phone
from wa_relay.cli.settings import load_config
from wa_relay.ledger import opt_outs
from wa_relay.ledger.location import location_of
from wa_relay.ledger.opt_outs import OptedOut
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError
from wa_relay.moments import stamp
from wa_relay.text.escaping import one_line

COLUMNS = ("phone_number", "opted_out_at", "source")
IMPORT_SECONDS = 120.0


class Action(StrEnum):
    """The actions on the list."""

    show = "list"
    add = "add"
    remove = "remove"
    load = "import"
    export = "export"


def opt_out(
    ctx: typer.Context,
    action: Annotated[
        Action, typer.Argument(metavar="list|add|remove|import|export", help="What to do with the list of opt-outs.")
    ],
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PHONE|FILE]", help="The number to add or remove, or the CSV file to import."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List, add, remove, import or export the customers who have opted out.

    Nobody is written to. CSV has phone_number, opted_out_at and source; an import takes all of its lines, or none.
    """
    options: Options = ctx.obj
    arguments = what or []
    if (action in (Action.show, Action.export)) == bool(arguments):
        raise typer.BadParameter("add and remove take a PHONE, import takes a FILE, list and export take nothing")
    if action is Action.show:
        _list(options, as_json=as_json)
    elif action is Action.export:
        _export(options)
    elif action is Action.load:
        _import(options, Path(" ".join(arguments)))
    else:
        _change(options, action, read_phone(arguments))


def _list(options: Options, *, as_json: bool) -> None:
    rows = _in_force(options)
    if as_json:
        found = [{"phone_number": row.address, "opted_out_at": stamp(row.at), "source": row.source} for row in rows]
        write_document(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        return
    for row in rows:
        typer.echo(f"{row.address}  {stamp(row.at)}  {one_line(row.source)}")
    if not rows:
        typer.echo("Nobody has opted out.")


def _change(options: Options, action: Action, number: str) -> None:
    def directly(ledger: Ledger, now: Moment) -> Json:
        operation = opt_outs.add if action is Action.add else opt_outs.remove
        return {"changed": int(operation(ledger, number, "cli", now))}

    body: Json = {"add": [[number, None, "cli"]]} if action is Action.add else {"remove": number}
    changed = bool(change(options, "/opt-out", body, directly, forbids_sends=action is Action.add)["changed"])
    if action is Action.add:
        typer.echo(f"{number} has opted out." if changed else f"{number} had opted out already.")
    else:
        typer.echo(f"{number} is opted in again." if changed else f"{number} had not opted out.")


def _import(options: Options, file: Path) -> None:
    rows = list(_read(file))

    def directly(ledger: Ledger, now: Moment) -> Json:
        return {"changed": opt_outs.import_all(ledger, rows, now)}

    body = {"add": [[row.address, row.at, row.source] for row in rows]}
    result = change(options, "/opt-out", body, directly, seconds=IMPORT_SECONDS)
    typer.echo(f"{len(rows)} lines read; {result['changed']} were not opted out before.")


def _export(options: Options) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.address, stamp(row.at), row.source) for row in _in_force(options))
    write_document(text.getvalue())


def _in_force(options: Options) -> list[OptedOut]:
    with reading(location_of(load_config(options))) as db:
        return opt_outs.list_opted_out(db)


def _read(path: Path) -> Iterator[OptedOut]:
    """The rows of a file; raises `RelayError` that names the first invalid line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RelayError(f"{path} can't be read: {error.strerror or error}.", permanent=True) from error
    except UnicodeDecodeError as error:
        raise RelayError(f"{path} can't be read: it is not UTF-8 (byte {error.start}).", permanent=True) from error
    now = time.time()
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not any(cell.strip() for cell in row) or (number == 1 and row[0].strip() == COLUMNS[0]):
            continue
        try:
            yield _opted_out(row, now)
        except ValueError as error:
            raise RelayError(
                f"line {number} of {path} is invalid: {error}. Nobody was imported.", permanent=True
            ) from None


def _opted_out(row: Sequence[str], now: Moment) -> OptedOut:
    """Reads one line; raises ValueError that says what is wrong with it."""
    address, at, source = (*(cell.strip() for cell in row[:3]), "", "")[:3]
    if not at:
        moment = now
    else:
        found = datetime.fromisoformat(at)
        if found.tzinfo is None:
            raise ValueError(f"{one_line(at)} has no time zone, as in 2026-11-22T15:04:05Z")
        moment = found.timestamp()
    return OptedOut(phones.parse(address.removeprefix("'")), moment, source[:40] or "cli")
