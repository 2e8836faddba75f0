"""The charts of the console and of report pages: inline SVG without scripts or inline styles, and one style sheet.

Lengths are percentages, so that a chart fills whatever holds it; text stays HTML, so that it keeps its size on a
phone, is read aloud and can be searched. The numbers are beside the bars: the reader need not estimate a length or
colours apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from wa_relay.text.escaping import one_line

CHART_CSS = """
.chart-rows { display: grid; grid-template-columns: minmax(5rem, auto) 1fr auto; gap: .6rem .9rem; align-items: center;
  margin: 0; padding: 0; list-style: none; }
.chart-rows li { display: contents; }
.chart-name { overflow-wrap: anywhere; }
.chart-value { text-align: right; font-variant-numeric: tabular-nums; }
.chart-value small { display: block; font-size: .8em; }
.chart-bar { display: block; width: 100%; height: 1.1rem; border-radius: 6px; background: var(--chart-track, #e6ece9); }
.chart-1 { fill: var(--chart-1, #b9c9c1); } .chart-2 { fill: var(--chart-2, #4fae8c); }
.chart-3 { fill: var(--chart-3, #0b6b53); }
.chart-columns { display: block; width: 100%; height: 11rem; overflow: visible; }
.chart-line { stroke: var(--chart-grid, #d5ddd9); stroke-width: 1; }
.chart-axis { display: flex; justify-content: space-between; font-size: .8rem; margin-top: .3rem; }
.chart-legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0 0 .8rem; padding: 0; list-style: none;
  font-size: .85rem; }
.chart-legend svg { width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 3px; vertical-align: -1px; }
@media (max-width: 34rem) { .chart-rows { display: block; }
  .chart-rows li { display: grid; grid-template-columns: 1fr auto; gap: .2rem .9rem; margin-bottom: .8rem; }
  .chart-bar { grid-column: 1 / -1; order: 1; } }
@media print { .chart-bar, .chart-columns, .chart-legend svg { print-color-adjust: exact;
  -webkit-print-color-adjust: exact; } .chart-bar { border: 1px solid #999; } }
"""
MOST_COLUMNS = 92
"""The most columns that can still be distinguished; a longer row shows its last ones."""

LEAST_WIDTH = 0.5
"""Percent: every share above zero is visible, however small."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: `share` is 0 to 1; `value` and `note` are what stands beside the bar."""

    name: str
    share: float
    value: str
    note: str = ""
    series: int = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `values` are drawn over each other, the largest first, and listed in the tooltip."""

    name: str
    values: tuple[int, ...]


def rows(bars: Sequence[Bar]) -> str:
    """Horizontal bars, each with its name and its value."""
    return f'<ul class="chart-rows">{"".join(_row(bar) for bar in bars)}</ul>'


def columns(title: str, series: Sequence[str], points: Sequence[Column]) -> str:
    """Columns in the order of time, with a legend; `title` is read aloud in their place."""
    shown = points[-MOST_COLUMNS:]
    most = max((value for point in shown for value in point.values), default=0)
    if not shown or most == 0:
        return ""
    step = 100.0 / len(shown)
    bars = "".join(_column(point, series, at * step, step, most) for at, point in enumerate(shown))
    lines = "".join(f'<line class="chart-line" x1="0" x2="100%" y1="{y}%" y2="{y}%"></line>' for y in (0, 50, 100))
    legend = "".join(
        f'<li><svg aria-hidden="true"><rect class="chart-{number}" width="100%" height="100%"></rect></svg>'
        f"{_text(name)}</li>"
        for number, name in enumerate(series, 1)
    )
    return (
        f'<ul class="chart-legend">{legend}</ul>'
        f'<svg class="chart-columns" role="img" aria-label="{_text(title)}">{lines}{bars}</svg>'
        f'<p class="chart-axis"><span>{_text(shown[0].name)}</span><span>{most:,}</span>'
        f"<span>{_text(shown[-1].name)}</span></p>"
    )


def _row(bar: Bar) -> str:
    width = _percent(bar.share)
    note = f"<small>{_text(bar.note)}</small>" if bar.note else ""
    return (
        f'<li><span class="chart-name">{_text(bar.name)}</span>'
        f'<svg class="chart-bar" aria-hidden="true">'
        f'<rect class="chart-{bar.series}" width="{width}%" height="100%" rx="6"></rect></svg>'
        f'<span class="chart-value">{_text(bar.value)}{note}</span></li>'
    )


def _column(point: Column, series: Sequence[str], x: float, step: float, most: int) -> str:
    gap = min(step * 0.2, 1.5)
    drawn = []
    for number, value in enumerate(point.values, 1):
        height = max(100.0 * value / most, LEAST_WIDTH if value else 0.0)
        drawn.append(
            f'<rect class="chart-{number}" x="{x + gap / 2:.2f}%" y="{100.0 - height:.2f}%" '
            f'width="{step - gap:.2f}%" height="{height:.2f}%" rx="2"></rect>'
        )
    values = ", ".join(f"{name} {value:,}" for name, value in zip(series, point.values, strict=True))
    return f"<g><title>{_text(point.name)}: {_text(values)}</title>{''.join(drawn)}</g>"


def _percent(share: float) -> str:
    return f"{min(max(share * 100.0, LEAST_WIDTH if share > 0 else 0.0), 100.0):.1f}"


def _text(text: str) -> str:
    return escape(one_line(text))
