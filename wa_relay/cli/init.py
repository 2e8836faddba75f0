"""`wa-relay init`: a commented configuration file to start from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.options import Options
from wa_relay.config import example_text
from wa_relay.model import RelayError


def init(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The file to write.", show_default="./config.toml")
    ] = None,
) -> None:
    """Write a commented configuration file that only you can read."""
    options: Options = ctx.obj
    path = file or options.config_path or Path("config.toml")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RelayError(f"{path} already exists and is left unchanged. Name another file.", permanent=True) from None
    except OSError as error:
        raise RelayError(f"{path} can't be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.write(example_text())
    typer.echo(f"Wrote {path}. Fill it in, then run: wa-relay --config {path} doctor")
