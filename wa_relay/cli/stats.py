"""`wa-relay stats`: the report, as a table, JSON, CSV or a page."""

from __future__ import annotations

import io
import json
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.lazy import load_function
from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import on_file, results, write_document, write_file
from wa_relay.cli.report_csv import as_csv
from wa_relay.cli.report_table import table
from wa_relay.cli.settings import load_config
from wa_relay.cli.times import Since, Until
from wa_relay.ledger.location import location_of
from wa_relay.reports import awaiting_operator, spans, stats_queries
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.reports.figures import Statistics
from wa_relay.reports.limits import Limit, LimitError, limits_of
from wa_relay.reports.stats_queries import Grouping
from wa_relay.reports.turn_durations import has_many_turns

FILE_WIDTH = 100
"""Columns of a table that goes into a file."""

PAGE = "wa_relay.cli.report_page:report_page"
"""Imported only for `--format html`: no other format needs its charts and labels."""


class By(StrEnum):
    """The grouping of the figures."""

    day = "day"
    batch = "batch"
    group = "group"
    agent = "agent"
    conversation = "conversation"


GROUPINGS: dict[By, Grouping] = {
    By.day: "day",
    By.batch: "batch",
    By.group: "group",
    By.agent: "agent",
    By.conversation: "conversation",
}


class Format(StrEnum):
    """The format of the report."""

    table = "table"
    json = "json"
    csv = "csv"
    html = "html"


def stats(
    ctx: typer.Context,
    since: Since = None,
    until: Until = None,
    by: Annotated[By | None, typer.Option(help="Also count by day, batch, group, agent or customer.")] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="The format of the report.", show_default="table")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Also count the span before. Requires --since.")] = False,
    fail_on: Annotated[
        str | None, typer.Option(metavar="LIMITS", help="Exit with 1 beyond limits: 'failed>5%,replied<10%'.")
    ] = None,
) -> None:
    """Report on calls, openings, replies and failures."""
    options: Options = ctx.obj
    if as_json and format_ not in {None, Format.json}:
        raise typer.BadParameter(f"--json and --format {format_} can't be combined", param_hint="--json")
    form = Format.json if as_json else format_ or Format.table
    config = load_config(options)
    now = time.time()
    try:
        span = spans.span(since, until, config.timezone, now)
        before = spans.span_before(span, now) if compare else None
    except spans.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    limits = _limits(fail_on)
    group: Grouping | None = None if by is None else GROUPINGS[by]
    place = location_of(config)
    with reading(place) as db, ExitStack() as more:
        # PostgreSQL shares a snapshot in another way, and counts on several cores by itself.
        second = more.enter_context(reading(place)) if db.name == "sqlite" and has_many_turns(db) else None
        report = stats_queries.stats(db, span=span, by=group, timezone=config.timezone, beside=second)
        if before is not None:
            previous = stats_queries.stats(db, span=before, by=group, timezone=config.timezone, beside=second)
            report = replace(report, previous=previous)
        standing = awaiting_operator.standing(db)
        page = load_function(PAGE)(db, config, report, standing, now) if form is Format.html else None
    if form is Format.table and output is None:
        _print_table(report, standing, config.timezone, no_color=options.no_color)
    else:
        _write(page or _document(form, report, standing, config.timezone), output)
    _enforce(limits, report)


def _limits(text: str | None) -> tuple[Limit, ...]:
    try:
        return limits_of(text) if text is not None else ()
    except LimitError as error:
        raise typer.BadParameter(error.message, param_hint="--fail-on") from None


def _enforce(limits: tuple[Limit, ...], report: Statistics) -> None:
    """Names the limits that are broken, and exits with 1 if there are any."""
    broken = [text for limit in limits if (text := limit.broken_by(report.total))]
    for text in broken:
        typer.echo(text, err=True)
    if broken:
        raise typer.Exit(1)


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
