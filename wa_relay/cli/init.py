"""`wa-relay init`: a commented configuration file to begin with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.settings import Settings
from wa_relay.config import example_text
from wa_relay.model import RelayError


def init(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Where to write it; ./config.toml if not said.")] = None,
) -> None:
    """Write a commented configuration file that only you can read."""
    settings: Settings = ctx.obj
    path = file or settings.config_path or Path("config.toml")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RelayError(f"{path} is there already and stays as it is. Name another file.", permanent=True) from None
    except OSError as error:
        raise RelayError(f"{path} can't be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.write(example_text())
    typer.echo(f"Wrote {path}. Fill it in, then: wa-relay --config {path} doctor")
