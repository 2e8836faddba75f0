"""The report for a spreadsheet: one flat row for everything, or one for each group (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from wa_relay.moments import optional_stamp
from wa_relay.reports.figures import Figures, Statistics
from wa_relay.text.escaping import csv_cell, one_line

SKIP_REASONS = (
    "outcome_not_followed",
    "opted_out",
    "too_old",
    "recent_opening",
    "too_short",
    "condition",
    "handed_over",
)
OPENINGS = ("queued", "sent", "delivered", "read", "failed", "uncertain", "cancelled")
COLUMNS = (
    "since",
    "until",
    "by",
    "key",
    "calls",
    *(f"skipped_{reason}" for reason in SKIP_REASONS),
    *(f"openings_{status}" for status in OPENINGS),
    "replied",
    "reply_rate",
    "median_first_reply_seconds",
    "messages_inbound",
    "messages_outbound",
    "turns_answered",
    "turns_failed",
    "turns_median_seconds",
    "turns_p95_seconds",
    "opted_out",
    "failures",
    "failure_codes",
    "losses",
    "texts",
    "templates",
)
"""The header. `since` and `until` are UTC; `key` is empty for the row of everything and for a group
without a name; `failures` counts messages, `failure_codes` lists `code=count` with a semicolon between,
`losses` likewise `stage/reason=count`. With `--compare`, the rows of the span before follow, with its times.
A cell is empty if there is nothing to count."""

Cell = str | int | float | None


def as_csv(report: Statistics) -> str:
    """The rows of the report: the groups' where it has any grouping, else the one of everything."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for span in (report, report.previous):
        if span is not None:
            writer.writerows(_rows(span))
    return written.getvalue()


def _rows(report: Statistics) -> Iterator[list[Cell]]:
    rows = [(group.key, group.figures) for group in report.groups] if report.by else [(None, report.total)]
    for key, figures in rows:
        bounds = (optional_stamp(report.since), optional_stamp(report.until))
        yield [_cell(each) for each in (*bounds, report.by, key, *_counts(figures))]


def _counts(figures: Figures) -> list[Cell]:
    openings = figures.openings.to_json()
    return [
        figures.calls,
        *(figures.skipped.get(reason, 0) for reason in SKIP_REASONS),
        *(openings[status] for status in OPENINGS),
        figures.replied,
        figures.reply_rate,
        figures.median_first_reply_seconds,
        figures.inbound,
        figures.outbound,
        figures.answered,
        figures.failed_turns,
        figures.median_turn_seconds,
        figures.p95_turn_seconds,
        figures.opted_out,
        sum(failure.count for failure in figures.failures),
        ";".join(f"{failure.code}={failure.count}" for failure in figures.failures),
        ";".join(f"{loss.stage}/{loss.reason}={loss.count}" for loss in figures.losses),
        figures.parts,
        sum(figures.templates.values()),
    ]


def _cell(value: Cell) -> Cell:
    return csv_cell(one_line(value)) if isinstance(value, str) else value
