"""Spans of time as people write them."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from wa_relay.moments import stamp
from wa_relay.reports.spans import Span, SpanError, span

NOW = 1_795_000_000.7  # 2026-11-18T11:06:40.7Z
BOGOTA = ZoneInfo("America/Bogota")
MADRID = ZoneInfo("Europe/Madrid")


def test_without_bounds_it_is_everything() -> None:
    assert span(None, None, BOGOTA, NOW) == Span(None, None)
    assert span(None, None, BOGOTA, NOW).everything


def test_a_date_is_the_whole_day_in_the_timezone_and_until_includes_it() -> None:
    found = span("2026-11-22", "2026-11-22", BOGOTA, NOW)
    assert found.since is not None
    assert found.until is not None
    assert (stamp(found.since), stamp(found.until)) == ("2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z")


def test_a_day_on_which_the_clocks_change_has_its_own_length() -> None:
    short, long = span("2026-03-29", "2026-03-29", MADRID, NOW), span("2026-10-25", "2026-10-25", MADRID, NOW)
    assert (short.until or 0) - (short.since or 0) == 23 * 3600
    assert (long.until or 0) - (long.since or 0) == 25 * 3600


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-22T15:00", "2026-11-22T20:00:00Z"),
        ("2026-11-22 15:00:07", "2026-11-22T20:00:07Z"),
        ("2026-11-22T15:00Z", "2026-11-22T15:00:00Z"),
        ("2026-11-22T15:00:00+02:00", "2026-11-22T13:00:00Z"),
        ("2026-11-22T15:00-0530", "2026-11-22T20:30:00Z"),
        ("7d", "2026-11-11T11:06:40Z"),
        ("24h", "2026-11-17T11:06:40Z"),
        ("30m", "2026-11-18T10:36:40Z"),
        (" 30m ", "2026-11-18T10:36:40Z"),
    ],
)
def test_a_time_is_local_unless_it_names_its_offset(text: str, wanted: str) -> None:
    first, end = span(text, None, BOGOTA, NOW).since, span(None, text, BOGOTA, NOW).until
    assert first is not None
    assert stamp(first) == wanted
    assert end == first


def test_a_time_that_the_change_of_clocks_skips_counts_as_that_much_later() -> None:
    found = span("2026-03-29T02:30", None, MADRID, NOW).since
    assert found is not None
    assert datetime.fromtimestamp(found, MADRID).strftime("%H:%M") == "03:30"


def test_a_time_that_comes_twice_counts_as_its_first() -> None:
    found = span("2026-10-25T02:30", None, MADRID, NOW).since
    assert found is not None
    assert stamp(found) == "2026-10-25T00:30:00Z"


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "yesterday", "0d", "00h", "7w", "-7d", "7 d", "٧d", "9" * 5000 + "d", "99999999d", "nan", "1e9"),
        *("2026-02-30", "2026-13-01", "2026-11-22T25:00", "2026-11-22T15", "2026-11-22T15:00+99:00", "20261122"),
        *("0001-01-01", "9999-12-31", "2026-11-22; drop"),
    ],
)
@pytest.mark.parametrize("path", ["since", "until"])
def test_an_invalid_time_is_refused_with_what_is_allowed(text: str, path: str) -> None:
    since, until = (text, None) if path == "since" else (None, text)
    with pytest.raises(SpanError) as caught:
        span(since, until, BOGOTA, NOW)
    assert caught.value.path == path
    assert re.search("Use (a|at least) ", caught.value.message)
    assert len(caught.value.message) < 250


def test_since_after_until_is_refused_and_the_same_moment_is_an_empty_span() -> None:
    with pytest.raises(SpanError, match="after"):
        span("2026-11-23", "2026-11-20", BOGOTA, NOW)
    same = span("2026-11-20T10:00", "2026-11-20T10:00", BOGOTA, NOW)
    assert same.since == same.until


@pytest.mark.parametrize("since", ["2026-02-02", "2026-02-02T00:00", "2026-02-03"])
def test_a_since_on_the_day_after_until_is_refused(since: str) -> None:
    with pytest.raises(SpanError, match="after"):
        span(since, "2026-02-01", BOGOTA, NOW)
