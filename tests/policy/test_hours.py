"""The hours of openings: tables over days, holidays, zones and changed clocks, and properties of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wa_relay.policy import OpeningText, Rules, closes_at, opens_at

BOGOTA, SANTIAGO, MADRID = (ZoneInfo(f"{place}") for place in ("America/Bogota", "America/Santiago", "Europe/Madrid"))
RULES = Rules(timezone=BOGOTA, openings={"completed": OpeningText(body="Hola")})
LAW: Mapping[int, tuple[tuple[int, int], ...]] = {
    **dict.fromkeys(range(5), ((7 * 60, 19 * 60),)),
    5: ((8 * 60, 15 * 60),),
    6: (),
}
LEY_2300 = replace(RULES, hours=LAW, holidays="CO")


def at(zone: ZoneInfo, clock: str, fold: int = 0) -> float:
    return datetime.fromisoformat(clock).replace(tzinfo=zone, fold=fold).timestamp()


def opens(rules: Rules, clock: str, zone: ZoneInfo = BOGOTA, phone: str = "") -> str:
    found = opens_at(at(zone, clock), rules, phone)
    return datetime.fromtimestamp(found, zone).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("asked", "opened"),
    [
        ("2026-11-25 06:59:59", "2026-11-25 07:00"),  # Wednesday
        ("2026-11-25 07:00", "2026-11-25 07:00"),
        ("2026-11-25 18:59", "2026-11-25 18:59"),
        ("2026-11-25 19:00", "2026-11-26 07:00"),
        ("2026-11-27 19:00", "2026-11-28 08:00"),  # Friday evening: Saturday
        ("2026-11-28 15:00", "2026-11-30 07:00"),  # Saturday afternoon: Monday
        ("2026-11-29 12:00", "2026-11-30 07:00"),  # Sunday
        ("2026-12-07 19:00", "2026-12-09 07:00"),  # 8 December is a holiday
        ("2026-12-24 20:00", "2026-12-26 08:00"),  # Christmas is a Friday
        ("2026-12-31 19:30", "2027-01-02 08:00"),
        ("2027-03-24 20:00", "2027-03-27 08:00"),  # Maundy Thursday and Good Friday
        ("2027-01-09 15:00", "2027-01-12 07:00"),  # Epiphany is kept on the Monday after
    ],
)
def test_the_hours_of_the_law_2300(asked: str, opened: str) -> None:
    assert opens(LEY_2300, asked) == opened


@pytest.mark.parametrize(
    ("asked", "opened"),
    [
        ("2026-11-28 07:00", "2026-11-28 08:00"),
        ("2026-11-28 12:00", "2026-11-28 14:00"),  # the end is exclusive
        ("2026-11-28 13:59:59", "2026-11-28 14:00"),
        ("2026-11-28 18:00", "2026-11-30 08:00"),  # Sunday is closed, Monday has the quiet hours
        ("2026-11-30 21:00", "2026-12-01 00:00"),  # Tuesday has hours from midnight to midnight
        ("2026-12-01 23:59:59", "2026-12-01 23:59"),
        ("2026-12-02 00:00", "2026-12-02 08:00"),
    ],
)
def test_a_day_of_its_own_overrides_start_and_end(asked: str, opened: str) -> None:
    days = {5: ((14 * 60, 18 * 60), (8 * 60, 12 * 60)), 6: (), 1: ((0, 24 * 60),)}
    assert opens(replace(RULES, quiet=(time(21), time(8)), hours=days), asked) == opened


@pytest.mark.parametrize(
    ("sunday", "opened"),
    [({}, "2026-12-09 08:00"), ({6: ()}, "2026-12-09 08:00"), ({6: ((600, 720),)}, "2026-12-08 10:00")],
    ids=["not_written", "closed", "has_hours"],
)
def test_a_holiday_has_the_hours_of_sunday_and_is_closed_without_them(sunday: Any, opened: str) -> None:
    rules = replace(RULES, quiet=(time(21), time(8)), hours=sunday, holidays="CO")
    assert opens(rules, "2026-12-08 00:10") == opened


@pytest.mark.parametrize(
    ("phone", "opened"),
    [
        ("+573001112233", "2026-11-25 08:00"),  # Bogotá, five hours behind UTC
        ("+5511987654321", "2026-11-25 06:00"),  # São Paulo is two hours ahead of it
        ("+34600111222", "2026-11-25 08:00"),  # several zones: the general one
        ("+56912345678", "2026-11-25 08:00"),  # none known
        ("CO.1A2b", "2026-11-25 08:00"),
    ],
)
def test_hours_may_be_those_of_the_numbers_own_zone(phone: str, opened: str) -> None:
    rules = replace(RULES, quiet=(time(21), time(8)), zone="number")
    assert opens(rules, "2026-11-25 03:00", phone=phone) == opened


def test_in_the_general_zone_the_number_does_not_matter() -> None:
    rules = replace(RULES, quiet=(time(21), time(8)))
    assert opens(rules, "2026-11-25 03:00", phone="+5511987654321") == "2026-11-25 08:00"


@pytest.mark.parametrize(
    ("zone", "span", "asked", "opened"),
    [
        # Madrid skips 02:00 to 03:00 on 29 March 2026: hours that begin in between begin with the new hour.
        (MADRID, (150, 300), "2026-03-29 01:59", "2026-03-29 01:00+00:00"),
        (MADRID, (120, 300), "2026-03-29 01:59", "2026-03-29 01:00+00:00"),
        (MADRID, (240, 300), "2026-03-29 01:59", "2026-03-29 02:00+00:00"),
        # It has 02:00 to 03:00 twice on 25 October 2026.
        (MADRID, (150, 170), "2026-10-25 01:59", "2026-10-25 00:30+00:00"),
        (MADRID, (180, 240), "2026-10-25 02:59", "2026-10-25 02:00+00:00"),
        # Santiago skips 00:00 to 01:00 on 6 September 2026: the day begins at 01:00.
        (SANTIAGO, (0, 120), "2026-09-05 23:59", "2026-09-06 04:00+00:00"),
        (SANTIAGO, (30, 120), "2026-09-05 23:59", "2026-09-06 04:00+00:00"),
        # It has 23:00 to 24:00 twice on 4 April 2026.
        (SANTIAGO, (0, 120), "2026-04-04 23:00", "2026-04-05 04:00+00:00"),
        (BOGOTA, (0, 120), "2026-09-05 23:59", "2026-09-06 05:00+00:00"),
    ],
)
def test_hours_are_those_that_the_clock_on_the_wall_shows(
    zone: ZoneInfo, span: tuple[int, int], asked: str, opened: str
) -> None:
    rules = replace(RULES, timezone=zone, hours=dict.fromkeys(range(7), (span,)))
    assert opens_at(at(zone, asked), rules) == datetime.fromisoformat(opened).timestamp()


def test_an_hour_that_comes_twice_is_permitted_both_times() -> None:
    rules = replace(RULES, timezone=MADRID, hours=dict.fromkeys(range(7), ((130, 160),)))
    between = at(MADRID, "2026-10-25 02:45")
    assert opens_at(between, rules) == at(MADRID, "2026-10-25 02:10", fold=1)


@pytest.mark.parametrize(
    ("asked", "closed"),
    [
        ("2026-11-25 18:00", "2026-11-25 19:00"),
        ("2026-11-25 07:00", "2026-11-25 19:00"),
        ("2026-11-28 14:59:30", "2026-11-28 15:00"),
        ("2026-11-25 19:00", "2026-11-25 19:00"),
    ],
)
def test_permitted_hours_end(asked: str, closed: str) -> None:
    assert closes_at(at(BOGOTA, asked), LEY_2300) == at(BOGOTA, closed)


def test_permitted_hours_may_reach_over_midnight() -> None:
    days = {2: ((8 * 60, 24 * 60),), 3: ((0, 60), (120, 180))}
    assert closes_at(at(BOGOTA, "2026-11-25 22:00"), replace(RULES, hours=days)) == at(BOGOTA, "2026-11-26 01:00")


@pytest.mark.parametrize("rules", [RULES, replace(RULES, hours=dict.fromkeys(range(7), ((0, 720), (720, 1440))))])
def test_hours_without_an_end_have_none(rules: Rules) -> None:
    assert closes_at(at(BOGOTA, "2026-11-25 22:00"), rules) is None
    assert opens(rules, "2026-11-25 22:00") == "2026-11-25 22:00"


def test_days_that_are_all_closed_never_open_and_are_found_out_quickly() -> None:
    rules = replace(RULES, hours=dict.fromkeys(range(7), ()))
    asked = at(BOGOTA, "2026-11-25 22:00")
    assert opens_at(asked, rules) > asked + 366 * 86400


@cache
def _holidays(country: str, year: int) -> Mapping[date, str]:
    return holidays.country_holidays(country, years=year)


def _is_open(moment: float, rules: Rules) -> bool:
    """The decision of the rules for one moment, by the wall clock."""
    local = datetime.fromtimestamp(moment, rules.timezone)
    seconds = local.hour * 3600 + local.minute * 60 + local.second + local.microsecond / 1e6
    day: date = local.date()
    if rules.holidays and day in _holidays(rules.holidays, day.year):
        spans = rules.hours.get(6, ())
    elif local.weekday() in rules.hours:
        spans = rules.hours[local.weekday()]
    elif rules.quiet is not None:
        start, end = rules.quiet
        clock = local.time()
        return not start <= clock < end if start < end else end <= clock < start
    else:
        return True
    return any(60 * begins <= seconds < 60 * ends for begins, ends in spans)


_minutes = st.integers(0, 1440)
_spans = st.lists(st.tuples(_minutes, _minutes).filter(lambda span: span[0] < span[1]), max_size=2).map(tuple)
_rules = st.builds(
    lambda zone, hours, quiet, holidays: replace(
        RULES, timezone=ZoneInfo(zone), hours=hours, quiet=quiet, holidays=holidays
    ),
    st.sampled_from(("America/Santiago", "Europe/Madrid", "America/Bogota", "America/St_Johns", "Pacific/Apia")),
    st.dictionaries(st.integers(0, 6), _spans, max_size=7),
    st.none() | st.tuples(st.times(), st.times()).filter(lambda ends: ends[0] != ends[1]),
    st.sampled_from(("", "CO", "ES")),
)
_days = st.sampled_from(
    tuple(
        datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
        for day in ("2026-03-29", "2026-04-04", "2026-09-05", "2026-10-25", "2026-12-24", "2026-11-28")
    )
)


@settings(max_examples=300, deadline=None)
@example(replace(RULES, timezone=SANTIAGO, hours={0: (), 1: (), 2: (), 5: ()}), 1774742400.0, -1.192092896e-07)
@given(_rules, _days, st.floats(-86400.0, 2 * 86400.0))
def test_an_opening_goes_out_at_the_first_permitted_moment(rules: Rules, day: float, seconds: float) -> None:
    asked = day + seconds
    opened = opens_at(asked, rules)
    assert opened >= asked
    if opened > asked + 366 * 86400:
        return
    assert _is_open(opened, rules)
    assert opens_at(opened, rules) == opened
    step = max(60.0, (opened - asked) / 500)
    # The wall clock shows microseconds: a moment that is closer to `opened` is rounded to it.
    between = (asked + step * count for count in range(500))
    assert not any(_is_open(moment, rules) for moment in between if moment < opened - 1e-6)


@settings(max_examples=200, deadline=None)
@given(_rules, _days, st.floats(-86400.0, 2 * 86400.0))
def test_permitted_hours_are_permitted_until_they_end(rules: Rules, day: float, seconds: float) -> None:
    asked = day + seconds
    closed = closes_at(asked, rules)
    ends = asked + 86400.0 if closed is None else closed
    assert closed is None or not _is_open(closed, rules)
    assert all(_is_open(moment, rules) for moment in (asked + 300.0 * count for count in range(288)) if moment < ends)
