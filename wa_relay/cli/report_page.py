"""The report as a page, with the days and the groups of its charts."""

from __future__ import annotations

from wa_relay.basics import Moment
from wa_relay.cli.report_html import Page, as_html
from wa_relay.config import Config
from wa_relay.ledger.engine import Queries
from wa_relay.reports import stats_queries
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.reports.figures import Statistics
from wa_relay.reports.spans import Span
from wa_relay.reports.stats_queries import Grouping


def report_page(db: Queries, config: Config, report: Statistics, standing: Standing, now: Moment) -> str:
    """Counts what the charts need beside the report, and returns the page."""
    span = Span(report.since, report.until)

    def grouped(by: Grouping) -> Statistics:
        return report if report.by == by else stats_queries.stats(db, span=span, by=by, timezone=config.timezone)

    groups = report if report.by not in (None, "day") else grouped("batch")
    return as_html(Page(report, grouped("day"), groups, config.timezone, config.general.language), standing, now)
