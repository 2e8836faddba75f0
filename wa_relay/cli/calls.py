"""`wa-relay calls`: one row a call, as a table, CSV or JSON."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from datetime import tzinfo
from enum import StrEnum
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from wa_relay.cli.open_reader import reading
from wa_relay.cli.options import Options
from wa_relay.cli.output import Paper, results, write_document
from wa_relay.cli.settings import load_config
from wa_relay.cli.times import Since, Until, local_minute
from wa_relay.ledger.location import location_of
from wa_relay.reports import call_list, spans
from wa_relay.reports.call_list import CallRow
from wa_relay.text.escaping import one_line

AT_ONCE = 500
"""Rows that are written together."""

HEADINGS = ("ended", "phone", "name", "batch", "group", "outcome", "opening", "replied", "messages", "handler")


class CallFormat(StrEnum):
    """The format of the list."""

    table = "table"
    csv = "csv"
    json = "json"


def calls(
    ctx: typer.Context,
    batch: Annotated[str | None, typer.Option(metavar="ID", help="Only the calls of this batch.")] = None,
    since: Since = None,
    until: Until = None,
    format_: Annotated[
        CallFormat | None, typer.Option("--format", help="The format of the list.", show_default="table")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """List the calls, with what became of each opening."""
    options: Options = ctx.obj
    if as_json and format_ not in {None, CallFormat.json}:
        raise typer.BadParameter(f"--json and --format {format_} can't be combined", param_hint="--json")
    form = CallFormat.json if as_json else format_ or CallFormat.table
    config = load_config(options)
    try:
        span = spans.span(since, until, config.timezone, time.time())
    except spans.SpanError as error:
        raise typer.BadParameter(error.message, param_hint=f"--{error.path}") from None
    with reading(location_of(config)) as db:
        rows = call_list.list_calls(db, span=span, batch=batch)
        if form is CallFormat.table:
            _print_table(rows, results(no_color=options.no_color), config.timezone)
            return
        lines = call_list.calls_csv(rows) if form is CallFormat.csv else _json_lines(rows)
        while part := "".join(itertools.islice(lines, AT_ONCE)):
            write_document(part)


def _json_lines(rows: Iterator[CallRow]) -> Iterator[str]:
    """Writes an array, one call a line."""
    separator = "[\n"
    for row in rows:
        yield f"{separator}  {json.dumps(row.to_json(), ensure_ascii=False)}"
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _print_table(rows: Iterator[CallRow], paper: Paper, timezone: tzinfo) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading == "messages" else "left", overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(paper.clean(cell)) for cell in _cells(row, timezone)))
        count += 1
    if count:
        paper.console.print(table)
    paper.console.print(f"{count:,} call{'' if count == 1 else 's'}", style="dim")


def _cells(row: CallRow, timezone: tzinfo) -> Iterator[str]:
    yield "" if row.ended_at is None else local_minute(row.ended_at, timezone)
    yield row.phone_number
    for text in (row.client_name, row.batch_name or row.batch_id, row.group_name or row.group_id):
        yield one_line(text or "")
    yield row.outcome
    yield ": ".join(part for part in (row.opening_status or "undecided", row.error_code or row.opening_reason) if part)
    yield "" if row.replied_at is None else local_minute(row.replied_at, timezone)
    yield str(row.messages)
    yield "opted out" if row.opted_out else row.handler
