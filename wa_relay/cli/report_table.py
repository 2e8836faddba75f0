"""The report for the terminal: the funnel with its bars, the other figures, failures, groups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wa_relay.cli.output import Paper
from wa_relay.cli.report_text import alerts, compared, duration, facts, group_name, percent, span_text, step_text
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.reports.figures import Figures, Statistics
from wa_relay.reports.funnel import funnel_of
from wa_relay.text.escaping import one_line

LONGEST_BAR, NARROW = 30, 60
COLUMNS = ("calls", "opened", "deliv.", "read", "replied", "rate", "failed", "answer")
STYLES = ("cyan", "green", "green", "bright_blue", "magenta")


def table(report: Statistics, standing: Standing, paper: Paper, timezone: tzinfo) -> Iterator[RenderableType]:
    """The parts of the report, from top to bottom."""
    yield Text.assemble(("WhatsApp after the call", "bold"), "  ", (span_text(report, timezone), "dim"))
    for line in alerts(standing):
        yield Text(f"! {paper.clean(one_line(line))}", style="bold yellow")
    yield Text("")
    yield _funnel(report.total, paper)
    yield Text("")
    yield _facts(report.total)
    if report.previous is not None:
        yield Text("")
        yield _compared(report.total, report.previous, timezone)
    if report.total.losses:
        yield Text("")
        yield _losses(report.total, paper)
    if report.total.failures:
        yield Text("")
        yield _failures(report.total, paper)
    if report.groups:
        yield Text("")
        yield _groups(report, paper)


def _funnel(figures: Figures, paper: Paper) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    grid.add_column(style="dim")
    longest = max(1, min(LONGEST_BAR, paper.console.width - 44))
    for step, style in zip(funnel_of(figures), STYLES, strict=True):
        name, part = step_text(step)
        # Every share above zero is visible, however small.
        length = max(round(step.share * longest), 1 if step.count else 0)
        bar = Text(paper.mark("█", "#") * length, style=style, no_wrap=True)
        grid.add_row(Text(name, style="bold"), f"{step.count:,}", bar, part)
    return grid


def _facts(figures: Figures) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, text in facts(figures):
        grid.add_row(name, text)
    return grid


def _losses(figures: Figures, paper: Paper) -> RenderableType:
    rows = [(f"{loss.stage}: {loss.reason}", loss.count, loss.meaning) for loss in figures.losses]
    return _explained("Where openings are lost", "lost before: reason", rows, "yellow", paper)


def _failures(figures: Figures, paper: Paper) -> RenderableType:
    rows = [(failure.code, failure.count, failure.meaning) for failure in figures.failures]
    return _explained("Failures", "code", rows, "red", paper)


def _explained(title: str, heading: str, rows: list[tuple[str, int, str]], style: str, paper: Paper) -> RenderableType:
    """A table of codes with their counts and meanings; below each other on a narrow terminal."""
    cleaned = [
        (paper.clean(one_line(code)), f"{count:,}", paper.clean(one_line(meaning))) for code, count, meaning in rows
    ]
    if paper.console.width < NARROW:
        parts: list[RenderableType] = [Text(title, style="bold")]
        for code, count, meaning in cleaned:
            parts += [Text.assemble((code, style), f": {count}"), Padding(Text(meaning), (0, 0, 0, 2))]
        return Group(*parts)
    grid = _framed(title)
    grid.add_column(heading, overflow="fold")
    grid.add_column("count", justify="right")
    grid.add_column("meaning", overflow="fold", ratio=1)
    for code, count, meaning in cleaned:
        grid.add_row(Text(code, style=style), count, Text(meaning))
    return grid


def _compared(figures: Figures, before: Statistics, timezone: tzinfo) -> RenderableType:
    grid = _framed("Compared with the span before")
    grid.expand = False
    grid.caption, grid.caption_justify = f"before: {span_text(before, timezone)}", "left"
    grid.add_column("")
    grid.add_column("now", justify="right", no_wrap=True)
    grid.add_column("before", justify="right", no_wrap=True)
    for row in compared(figures, before.total):
        grid.add_row(*row)
    return grid


def _groups(report: Statistics, paper: Paper) -> RenderableType:
    rows = [
        (
            Text(paper.clean(one_line(group_name(group.key, report.by))), style="" if group.key else "dim"),
            _counts(group.figures),
        )
        for group in report.groups
    ]
    if paper.console.width < NARROW:
        parts: list[RenderableType] = [Text(f"By {report.by}", style="bold")]
        for key, counts in rows:
            text = ", ".join(f"{name} {count}" for name, count in zip(COLUMNS, counts, strict=True))
            parts += [key, Padding(Text(text, style="dim"), (0, 0, 0, 2))]
        return Group(*parts)
    grid = _framed(f"By {report.by}")
    grid.add_column(str(report.by), overflow="fold", ratio=1)
    for name in COLUMNS:
        grid.add_column(name, justify="right", no_wrap=True)
    for key, counts in rows:
        grid.add_row(key, *counts)
    return grid


def _counts(figures: Figures) -> tuple[str, ...]:
    openings = figures.openings
    counts = (figures.calls, openings.sent, openings.delivered, openings.read, figures.replied)
    return (
        *(f"{count:,}" for count in counts),
        percent(figures.reply_rate),
        f"{sum(failure.count for failure in figures.failures):,}",
        duration(figures.median_turn_seconds),
    )


def _framed(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        expand=True,
    )
