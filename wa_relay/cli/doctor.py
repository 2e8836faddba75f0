"""`wa-relay doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from wa_relay.cli.options import Options
from wa_relay.cli.output import Paper, results, write_document
from wa_relay.config import discover
from wa_relay.config.loader import read
from wa_relay.doctor import Check, Report, examine

MESSAGE_COLUMN, NARROW_COLUMN = 25, 4
NARROW = 60
"""Terminal width in columns below which a message begins on the line under its name."""

MARKS = {
    # status: sign, in ASCII, style
    "ok": ("✓", "+", "green"),
    "warn": ("!", "!", "yellow"),
    "fail": ("✗", "x", "bold red"),
    "skipped": ("–", "-", "dim"),
}


def doctor(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not contact Twilio, ElevenLabs or the public URL.")
    ] = False,
) -> None:
    """Check configuration, database, both accounts and the webhook."""
    options: Options = ctx.obj
    cwd = Path.cwd()
    loaded = read(discover(options.config_path, os.environ, cwd), os.environ, cwd=cwd, serving=True)
    report = asyncio.run(examine(loaded, time.time, offline=offline))
    if as_json:
        write_document(json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        _print(report, no_color=options.no_color)
    if not report.ok:
        raise typer.Exit(1)


def _print(report: Report, *, no_color: bool) -> None:
    paper = results(no_color=no_color)
    for check in report.checks:
        _print_check(check, paper)
    counts = {status: sum(check.status == status for check in report.checks) for status in MARKS}
    names = (("fail", "broken"), ("warn", "to check"), ("skipped", "skipped"), ("ok", "in order"))
    paper.console.print("\n" + ", ".join(f"{counts[status]} {name}" for status, name in names if counts[status]) + ".")


def _print_check(check: Check, paper: Paper) -> None:
    console = paper.console
    sign, plain, style = MARKS[check.status]
    quiet = "dim" if check.status == "skipped" else ""
    column = MESSAGE_COLUMN if console.width >= NARROW else NARROW_COLUMN
    message, *addresses = paper.clean(check.message).split("\n")
    lines = list(Text(message, quiet).wrap(console, console.width - column))
    if check.fix:
        lines += Text(f"{paper.mark('→', '->')} {paper.clean(check.fix)}", style).wrap(console, console.width - column)
    head = Text.assemble((paper.mark(sign, plain), style), " ", (paper.clean(check.name), quiet))
    if head.cell_len < column:
        head.pad_right(column - head.cell_len)
        head.append_text(lines.pop(0))
    head.rstrip()
    console.print(head)
    for line in lines:
        line.rstrip()
        line.pad_left(column)
        console.print(line)
    for address in addresses:
        # It is meant to be copied, so it is never wrapped.
        console.print(Text(f"  {address}"), soft_wrap=True)
