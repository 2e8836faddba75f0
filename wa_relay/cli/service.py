"""`wa-relay service`: systemd units for this installation and this configuration."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.options import Options
from wa_relay.cli.settings import load_config
from wa_relay.cli.units import Installation, serve_unit, stats_units
from wa_relay.config import discover
from wa_relay.model import RelayError


class Unit(StrEnum):
    """The units to print."""

    unit = "unit"
    timer = "timer"


class NoConfiguration(RelayError):
    """A unit needs a file to name."""

    exit_code = 78


def service(
    ctx: typer.Context,
    which: Annotated[Unit, typer.Argument(metavar="unit|timer", help="The daemon, or a report every morning.")],
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="The user to run as.", show_default="the database's owner"),
    ] = None,
) -> None:
    """Print systemd units for the daemon or for a daily report.

    They name this program and the configuration in use, and allow writing only to the database's folder.
    """
    installation = _installation(ctx.obj, user)
    texts = [serve_unit(installation)] if which is Unit.unit else stats_units(installation)
    typer.echo("\n".join(texts), nl=False)


def _installation(options: Options, user: str | None) -> Installation:
    path = discover(options.config_path, os.environ, Path.cwd())
    if path is None:
        message = "there is no configuration file to put into the unit. Name it: wa-relay --config FILE service unit"
        raise NoConfiguration(message, permanent=True)
    config = load_config(options)
    database = config.database.path.absolute()
    return Installation(
        program=_program(sys.argv[0]),
        python=Path(sys.base_prefix),
        config=path.absolute(),
        database=database,
        log_file=None if config.log.file is None else config.log.file.absolute(),
        user=user or _owner(database),
        timezone=str(config.timezone),
    )


def _program(started_as: str) -> Sequence[str]:
    """Returns the absolute command of this program: the `wa-relay` that was called, or Python with `-m`."""
    path = Path(started_as)
    if path.name == "__main__.py":
        return (sys.executable, "-m", "wa_relay")
    return (str(path.absolute()),)


def _owner(database: Path) -> str:
    """Returns the owner of the database, or of the nearest folder above it that exists."""
    there = next(path for path in (database, *database.parents) if path.exists())
    uid = there.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
