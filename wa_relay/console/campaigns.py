"""The campaigns' page: the funnel, a chart of days or groups, and the figures of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wa_relay.channel.errors_es import meaning_in_spanish
from wa_relay.console.messages import Messages
from wa_relay.reports.charts import Bar, Column, columns, rows
from wa_relay.reports.figures import Figures, Group, Statistics
from wa_relay.reports.funnel import funnel_of
from wa_relay.text.escaping import one_line

MOST_GROUPS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one group."""

    name: str
    figures: Figures
    failed: int


@dataclass(frozen=True, slots=True)
class Campaigns:
    """The data of the page. `funnel` and `chart` are markup that we made."""

    total: Figures
    funnel: str
    chart: str
    rows: tuple[Row, ...]
    skipped: tuple[tuple[str, int], ...]
    failures: tuple[tuple[str, str, int], ...]


def campaigns(report: Statistics, t: Messages) -> Campaigns:
    """Makes the page's figures of a report."""
    total = report.total
    groups = report.groups[:MOST_GROUPS]
    return Campaigns(
        total=total,
        funnel=rows(_funnel(total, t)),
        chart=_days(report.groups, t) if report.by == "day" else _groups(groups, report.by, t),
        rows=tuple(
            Row(_name(group.key, report.by, t), group.figures, sum(each.count for each in group.figures.failures))
            for group in groups
        ),
        skipped=tuple((t.code("reason", reason), count) for reason, count in total.skipped.items() if count),
        failures=tuple(
            (one_line(each.code), _meaning(each.code, each.meaning, t), each.count) for each in total.failures
        ),
    )


def _funnel(figures: Figures, t: Messages) -> list[Bar]:
    return [
        Bar(
            t(f"funnel.{step.name}"),
            step.share,
            f"{step.count:,}",
            "" if step.part is None else t(f"funnel.of_{step.whole}", percent=_percent(step.part)),
            series=step.series,
        )
        for step in funnel_of(figures)
    ]


def _days(groups: Sequence[Group], t: Messages) -> str:
    series = [t("funnel.calls"), t("funnel.sent"), t("funnel.replied")]
    points = [
        Column(group.key, (group.figures.calls, group.figures.openings.sent, group.figures.replied))
        for group in groups
        if group.key is not None
    ]
    return columns(t("campaigns.by_day"), series, points)


def _groups(groups: Sequence[Group], by: str | None, t: Messages) -> str:
    rated = [group for group in groups[:12] if group.figures.openings.sent]
    return rows(
        [
            Bar(
                _name(group.key, by, t),
                group.figures.reply_rate or 0.0,
                _percent(group.figures.reply_rate or 0.0),
                t("funnel.replies", n=f"{group.figures.replied:,}", of=f"{group.figures.openings.sent:,}"),
                series=3,
            )
            for group in rated
        ]
    )


def _name(key: str | None, by: str | None, t: Messages) -> str:
    return one_line(key) if key is not None else t(f"campaigns.no_{by or 'batch'}")


def _meaning(code: str, known: str, t: Messages) -> str:
    reason = t.code("reason", code)
    if reason != code:
        return reason
    return one_line(meaning_in_spanish(code) if t.language == "es" else known)


def _percent(part: float) -> str:
    return f"{part * 100:.0f} %" if part in (0.0, 1.0) else f"{part * 100:.1f} %"
