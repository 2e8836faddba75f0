"""Decides when openings may go out: quiet hours, separate hours for some days, and holidays.

Hours are wall-clock hours in one zone. A day is walked through in stretches in which the clock is
not changed, so that an hour that comes twice, or never, is read as the wall shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, tzinfo
from functools import lru_cache
from math import ceil, floor
from zoneinfo import ZoneInfo

from wa_relay.model import Moment
from wa_relay.phone import zone_name
from wa_relay.policy.rules import Rules

DAY = 86400
SUNDAY = 6
LOOK_AHEAD = 400 * DAY
"""Seconds of search for a permitted hour; only hours that are closed on every day find none."""

_STRETCH = 6 * 3600
_EPOCH = date(1970, 1, 1).toordinal()

Seconds = tuple[float, float]
"""Part of a day, in seconds since midnight; the end is exclusive."""


def opens_at(moment: Moment, rules: Rules, phone: str = "") -> Moment:
    """Returns the first moment, from `moment` on, at which an opening to `phone` may go out."""
    if not _restricted(rules):
        return moment
    for begins, ends in _permitted(moment, moment + LOOK_AHEAD, rules, phone):
        if ends > moment:
            return max(begins, moment)
    # Hours that never open: the opening expires before, and is reported as expired instead of looping.
    return moment + LOOK_AHEAD


def closes_at(moment: Moment, rules: Rules, phone: str = "") -> Moment | None:
    """Returns when the permitted hours around `moment` end, None if they last for a day or longer.

    Outside of permitted hours that is `moment` itself.
    """
    if not _restricted(rules):
        return None
    closes = moment
    for begins, ends in _permitted(moment, moment + DAY, rules, phone):
        # Pieces that touch are one span: 22:00 to 24:00 and 0:00 to 6:00 are a night.
        if begins > closes:
            break
        closes = max(closes, ends)
    return closes if closes < moment + DAY else None


def _restricted(rules: Rules) -> bool:
    return rules.quiet is not None or bool(rules.hours) or bool(rules.holidays)


def _permitted(since: Moment, until: Moment, rules: Rules, phone: str) -> Iterator[tuple[Moment, Moment]]:
    """Yields the permitted spans between two moments, in order; one span may come in several pieces."""
    for begins, ends, offset in _split_by_offset(since, until, _zone(rules, phone)):
        first, last = floor((begins + offset) / DAY), floor((ends + offset) / DAY)
        for day in range(first, last + 1):
            midnight = day * DAY - offset
            for opens, closes in _hours_of(date.fromordinal(_EPOCH + day), rules):
                span = max(begins, midnight + opens), min(ends, midnight + closes)
                if span[0] < span[1]:
                    yield span


def _split_by_offset(since: Moment, until: Moment, zone: tzinfo) -> Iterator[tuple[Moment, Moment, float]]:
    """Cuts a span of time into pieces with one UTC offset each: (begin, end, offset in seconds)."""
    at = since
    while at < until:
        offset, ends = _offset(at, zone), min(at + _STRETCH, until)
        # A span of fixed wall-clock hours is longer or shorter on the day of a clock change.
        if _offset(ends, zone) != offset:
            ends = min(_clock_change(floor(at), ceil(ends), zone), until)
        yield at, ends, offset
        at = ends


def _clock_change(before: int, after: int, zone: tzinfo) -> float:
    """Finds the second at which the offset changes; there is one change between the two."""
    offset = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return float(after)


def _offset(moment: Moment, zone: tzinfo) -> float:
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def _hours_of(day: date, rules: Rules) -> tuple[Seconds, ...]:
    """Returns the permitted hours of a day. A holiday has those written for Sundays, or none."""
    if rules.holidays and day in _holidays(rules.holidays):
        return _in_seconds(rules.hours.get(SUNDAY, ()))
    written = rules.hours.get(day.weekday())
    if written is not None:
        return _in_seconds(written)
    return _hours_outside(rules.quiet)


@lru_cache(maxsize=64)
def _in_seconds(spans: tuple[tuple[int, int], ...]) -> tuple[Seconds, ...]:
    return tuple((start * 60.0, end * 60.0) for start, end in sorted(spans))


@lru_cache(maxsize=64)
def _hours_outside(quiet: tuple[time, time] | None) -> tuple[Seconds, ...]:
    """Returns what quiet hours leave of a day."""
    if quiet is None:
        return ((0.0, float(DAY)),)
    start, end = map(_since_midnight, quiet)
    return ((0.0, start), (end, float(DAY))) if start < end else ((end, start),)


def _since_midnight(clock: time) -> float:
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6


def _zone(rules: Rules, phone: str) -> tzinfo:
    name = zone_name(phone) if rules.zone == "number" else None
    return rules.timezone if name is None else _zone_called(name) or rules.timezone


@lru_cache(maxsize=512)
def _zone_called(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=8)
def _holidays(country: str) -> Mapping[date, str]:
    # 0.1 s and 5 MB: only a configuration with quiet_hours.holidays pays for it.
    import holidays

    return holidays.country_holidays(country)
