"""The charts: harmless whatever a name holds, without scripts and inline styles, and true to their numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from wa_relay.reports.charts import MOST_COLUMNS, Bar, Column, columns, rows

HOSTILE = '<script>alert(1)</script>" onload="x\n=1+1\u202e'


def widths(html: str) -> list[float]:
    return [float(width) for width in re.findall(r'<rect class="chart-\d" width="([0-9.]+)%"', html)]


def test_a_bar_is_as_long_as_its_share() -> None:
    assert widths(rows([Bar("calls", 1.0, "400"), Bar("sent", 0.25, "100"), Bar("none", 0.0, "0")])) == [
        100.0,
        25.0,
        0.0,
    ]


def test_the_smallest_share_is_still_seen() -> None:
    assert widths(rows([Bar("one in a million", 1e-6, "1")])) == [0.5]


def test_a_name_is_text_whatever_it_holds() -> None:
    for html in (
        rows([Bar(HOSTILE, 0.5, "1", HOSTILE)]),
        columns(HOSTILE, [HOSTILE], [Column(HOSTILE, (3,))]),
    ):
        tree = ET.fromstring(f"<div>{html}</div>")  # noqa: S314 - our own text
        assert not [node for node in tree.iter() if node.tag == "script"]
        assert not [name for node in tree.iter() for name in node.attrib if name.startswith("on") or name == "style"]
        assert "\u202e" not in html


def test_the_tallest_column_fills_the_chart_and_the_others_follow() -> None:
    html = columns("calls by day", ["calls", "replies"], [Column("mon", (10, 5)), Column("tue", (0, 0))])
    heights = re.findall(r' height="([0-9.]+)%" rx', html)
    assert [float(height) for height in heights] == [100.0, 50.0, 0.0, 0.0]
    assert "<title>mon: calls 10, replies 5</title>" in html


def test_a_long_time_shows_its_end() -> None:
    html = columns("days", ["calls"], [Column(f"day {number}", (number,)) for number in range(500)])
    assert html.count("<title>") == MOST_COLUMNS
    assert "day 499:" in html


def test_nothing_makes_no_chart() -> None:
    assert columns("days", ["calls"], []) == columns("days", ["calls"], [Column("mon", (0,))]) == ""
