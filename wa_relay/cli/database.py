"""`wa-relay database`: what is in the database, and a copy of it on the other engine."""

from __future__ import annotations

import json
import time
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.options import Options
from wa_relay.cli.settings import load_config
from wa_relay.ledger import copying
from wa_relay.ledger.file import SCHEMA_VERSION
from wa_relay.ledger.location import Location, location_of


class Action(StrEnum):
    """The actions on the database."""

    info = "info"
    copy = "copy"


def database(
    ctx: typer.Context,
    action: Annotated[Action, typer.Argument(metavar="info|copy", help="Describe the database, or copy it.")],
    source: Annotated[
        str | None, typer.Argument(metavar="[FROM]", help="A file, a postgresql:// URL, or - for the configured one.")
    ] = None,
    target: Annotated[
        str | None, typer.Argument(metavar="[TO]", help="The same; must be empty or absent.", show_default=False)
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Mark FROM, so that no daemon serves it any more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe the database, or copy it to the other engine.

    `copy` keeps ids, times and the fence, checks counts and references, and leaves FROM untouched. No daemon may run on
    either side.
    """
    options: Options = ctx.obj
    if action is Action.info:
        if source is not None or move:
            raise typer.BadParameter("info takes no places and no --move")
        _show(location_of(load_config(options)), as_json=as_json)
        return
    if source is None or target is None:
        raise typer.BadParameter("copy needs both places: FROM TO")
    _copy(_place(options, source), _place(options, target), move=move, as_json=as_json)


def _place(options: Options, written: str) -> Location:
    if written == "-":
        return location_of(load_config(options))
    if written.startswith(("postgresql://", "postgres://")):
        return Location(Path(), written)
    return Location(Path(written).absolute())


def _copy(source: Location, target: Location, *, move: bool, as_json: bool) -> None:

    def on_table(table: str, rows: int) -> None:
        if rows:
            typer.echo(f"{table}: {rows:,} rows", err=True)

    counts = copying.copy(source, target, on_table)
    if move:
        copying.mark_moved(source, target, time.time())
        left = f"{source.shown} is marked as moved: `serve` refuses it."
    else:
        left = "Two databases can write to the same customers now: serve one of them only, or use --move."
    if as_json:
        typer.echo(json.dumps({"rows": counts, "moved": move}))
        return
    typer.echo(f"copied {sum(counts.values()):,} rows to {target.shown}. {left}")


def _show(place: Location, *, as_json: bool) -> None:
    with closing(place.open_for_reading()) as db:
        engine = {"sqlite": "sqlite", "postgres": "postgresql"}[db.name]
        described = copying.describe(db, place.path)
        counts = copying.count_rows(db)
        daemons = copying.list_daemons(db, place)
    if as_json:
        shown = {
            "engine": engine,
            "version": described.version,
            "schema": SCHEMA_VERSION,
            "size_bytes": described.size_bytes,
            "rows": counts,
            "daemons": [daemon.to_json() for daemon in daemons],
        }
        typer.echo(json.dumps(shown))
        return
    typer.echo(f"{place.shown}: {engine} {described.version}, schema {SCHEMA_VERSION}")
    typer.echo(f"{described.size_bytes:,} bytes, daemons: {len(daemons)}")
    for table, rows in counts.items():
        typer.echo(f"{rows:>12,}  {table}")
