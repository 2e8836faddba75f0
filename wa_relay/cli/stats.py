"""`wa-relay stats`: the report, as a table, JSON, CSV or a page."""

from __future__ import annotations

import io
import json
import time
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wa_relay import reports
from wa_relay.cli.options import Options
from wa_relay.cli.output import on_file, results, write_document, write_file
from wa_relay.cli.reading import reading
from wa_relay.cli.report_csv import as_csv
from wa_relay.cli.report_html import as_html
from wa_relay.cli.report_table import table
from wa_relay.cli.settings import load_config
from wa_relay.ledger.location import location_of
from wa_relay.reports import Standing, Statistics

FILE_WIDTH = 100
"""Columns of a table that goes into a file."""


class By(StrEnum):
    """How the figures are grouped."""

    day = "day"
    batch = "batch"
    group = "group"
    agent = "agent"
    conversation = "conversation"


class Format(StrEnum):
    """The format of the report."""

    table = "table"
    json = "json"
    csv = "csv"
    html = "html"


def stats(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Start at a date, a local time, or 7d, 24h, 30m ago.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="End with a date (included) or before a time.")
    ] = None,
    by: Annotated[By | None, typer.Option(help="Also count by day, batch, group, agent or customer.")] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="The format of the report.", show_default="table")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file.")] = None,
) -> None:
    """Report on calls, openings, replies and failures."""
    options: Options = ctx.obj
    if as_json and format_ not in {None, Format.json}:
        raise typer.BadParameter(f"--json and --format {format_} can't be combined", param_hint="--json")
    form = Format.json if as_json else format_ or Format.table
    config = load_config(options)
    try:
        span = reports.span(since, until, config.timezone, time.time())
    except reports.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    with reading(location_of(config)) as db:
        report = reports.stats(db, span=span, by=None if by is None else by.value, timezone=config.timezone)
        standing = reports.standing(db)
    if form is Format.table and output is None:
        _print_table(report, standing, config.timezone, no_color=options.no_color)
        return
    _write(_document(form, report, standing, config.timezone), output)


def _print_table(report: Statistics, standing: Standing, timezone: tzinfo, *, no_color: bool) -> None:
    paper = results(no_color=no_color)
    for part in table(report, standing, paper, timezone):
        paper.console.print(part)


def _document(form: Format, report: Statistics, standing: Standing, timezone: tzinfo) -> str:
    """The report as one text."""
    if form is Format.json:
        return json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n"
    if form is Format.csv:
        return as_csv(report)
    if form is Format.html:
        return as_html(report, standing, timezone, time.time())
    written = io.StringIO()
    paper = on_file(written, width=FILE_WIDTH)
    for part in table(report, standing, paper, timezone):
        paper.console.print(part)
    return written.getvalue()


def _write(document: str, output: Path | None) -> None:
    if output is None:
        write_document(document)
    else:
        write_file(output, document)
