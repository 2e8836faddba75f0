"""`wa-relay stats`: the report, as a table, JSON, CSV or a page."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wa_relay.cli.settings import Settings

if TYPE_CHECKING:
    from datetime import tzinfo

    from wa_relay.reports import Standing, Statistics

FILE_WIDTH = 100
"""Columns of a table that goes into a file."""


class By(StrEnum):
    """What the groups are."""

    day = "day"
    batch = "batch"
    group = "group"
    agent = "agent"


class Format(StrEnum):
    """How the report is written."""

    table = "table"
    json = "json"
    csv = "csv"
    html = "html"


def stats(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="From then on: a date, a local time, or 7d, 24h, 30m back.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Until then: a date counts whole, a time is excluded.")
    ] = None,
    by: Annotated[By | None, typer.Option(help="Also count each group.")] = None,
    format_: Annotated[Format | None, typer.Option("--format", help="How to write it.", show_default="table")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to a file.")] = None,
) -> None:
    """Report on calls, openings, answers and failures."""
    settings: Settings = ctx.obj
    if as_json and format_ not in {None, Format.json}:
        raise typer.BadParameter(f"--json and --format {format_} exclude each other", param_hint="--json")
    form = Format.json if as_json else format_ or Format.table
    config = settings.config()

    from wa_relay import reports
    from wa_relay.cli.reading import reading

    try:
        span = reports.span(since, until, config.timezone, time.time())
    except reports.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    with reading(config.database.path) as db:
        report = reports.stats(db, span=span, by=None if by is None else by.value, timezone=config.timezone)
        standing = reports.standing(db)
    if form is Format.table and output is None:
        _print_table(report, standing, config.timezone, no_color=settings.no_color)
        return
    _write(_document(form, report, standing, config.timezone), output)


def _print_table(report: Statistics, standing: Standing, timezone: tzinfo, *, no_color: bool) -> None:
    from wa_relay.cli.output import results
    from wa_relay.cli.report_table import table

    paper = results(no_color=no_color)
    for part in table(report, standing, paper, timezone):
        paper.console.print(part)


def _document(form: Format, report: Statistics, standing: Standing, timezone: tzinfo) -> str:
    """The report as one text."""
    if form is Format.json:
        import json

        return json.dumps(report.to_json(), ensure_ascii=False, indent=2) + "\n"
    if form is Format.csv:
        from wa_relay.cli.report_csv import as_csv

        return as_csv(report)
    if form is Format.html:
        from wa_relay.cli.report_html import as_html

        return as_html(report, standing, timezone, time.time())
    import io

    from wa_relay.cli.output import on_file
    from wa_relay.cli.report_table import table

    written = io.StringIO()
    paper = on_file(written, width=FILE_WIDTH)
    for part in table(report, standing, paper, timezone):
        paper.console.print(part)
    return written.getvalue()


def _write(document: str, output: Path | None) -> None:
    from wa_relay.cli.output import write_document, write_file

    if output is None:
        write_document(document)
    else:
        write_file(output, document)
