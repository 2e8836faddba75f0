"""The time that a report is about: dates, moments and lengths as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from wa_relay.basics import Moment

WANTED = "a date (2026-11-22), a time (2026-11-22T15:00) or a time ago (7d, 24h, 30m)"
FIRST_YEAR, LAST_YEAR = 1970, 9998

_BACK = re.compile(r"([0-9]+)([dhm])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r"(Z|z|[+-][0-9]{2}:?[0-9]{2})?"
)


class SpanError(ValueError):
    """A span that can't be. `path` is `since` or `until`, `message` says what is wanted there."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` on, before `until`; None leaves that side open."""

    since: Moment | None = None
    until: Moment | None = None

    @property
    def everything(self) -> bool:
        """True when both sides are open."""
        return self.since is None and self.until is None


def span_before(span: Span, now: Moment) -> Span:
    """The span of the same length that ends where this one begins; raises `SpanError` without a beginning."""
    if span.since is None:
        raise SpanError("compare", "needs --since: without a beginning nothing is before")
    until = now if span.until is None else span.until
    return Span(span.since - max(0.0, until - span.since), span.since)


def span(since: str | None, until: str | None, timezone: tzinfo, now: Moment) -> Span:
    """Reads both ends of a span; raises `SpanError` for an invalid one.

    A date is the whole day in `timezone`: `until` includes it. A time without an offset is local;
    one that a change of clocks skips counts as that much later, one that comes twice as its first.
    """
    first = None if since is None else _moment("since", since, timezone, now)
    end = None if until is None else _moment("until", until, timezone, now)
    # A date as the end is the beginning of the next day: what begins there is after it.
    whole_day = until is not None and _DATE.fullmatch(until.strip())
    if first is not None and end is not None and (first >= end if whole_day else first > end):
        raise SpanError("since", f"{since} is after until, {until}. Swap them")
    return Span(first, end)


def _moment(path: str, text: str, timezone: tzinfo, now: Moment) -> Moment:
    wanted = text.strip()
    if back := _BACK.fullmatch(wanted):
        return _back(path, wanted, float(back[1]) if len(back[1]) < 12 else float("inf"), _SECONDS[back[2]], now)
    try:
        if _DATE.fullmatch(wanted):
            day = date.fromisoformat(wanted)
            _year(path, wanted, day.year)
            # The end is the next day's beginning, which a change of clocks may put 23 or 25 hours away.
            return _start_of(day + timedelta(days=1) if path == "until" else day, timezone)
        if time := _TIME.fullmatch(wanted):
            _year(path, wanted, int(time[1][:4]))
            zone = (time[3] or "").upper().replace("Z", "+00:00")
            read = datetime.fromisoformat(f"{time[1]}T{time[2]}{zone}")
            return (read if zone else read.replace(tzinfo=timezone)).astimezone(UTC).timestamp()
    except SpanError:
        raise
    except ValueError:
        raise SpanError(path, f"{wanted} does not exist. Use {WANTED}") from None
    shown = wanted if len(wanted) <= 40 else wanted[:40] + "…"
    raise SpanError(path, f"{shown!r} is not a time. Use {WANTED}")


def _back(path: str, text: str, count: float, unit: float, now: Moment) -> Moment:
    if not count:
        raise SpanError(path, f"{text} is too short. Use at least 1{text[-1]}")
    start = now - count * unit
    if start < 0:
        shown = text if len(text) <= 20 else text[:20] + "…"
        raise SpanError(path, f"{shown} goes back before {FIRST_YEAR}. Use a shorter time")
    # Whole seconds: the report shows its bounds in them.
    return float(int(start))


def _year(path: str, text: str, year: int) -> None:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise SpanError(path, f"{text} is out of range. Use a year from {FIRST_YEAR} to {LAST_YEAR}")


def _start_of(day: date, timezone: tzinfo) -> Moment:
    return datetime(day.year, day.month, day.day, tzinfo=timezone).astimezone(UTC).timestamp()
