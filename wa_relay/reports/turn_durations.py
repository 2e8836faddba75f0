"""The durations of very many answered turns, ranked by SQLite: their rows stay where they are.

A sample of the durations says between which two a rank lies. SQLite counts those below, sorts those between and
returns the one or two that are asked for. The ranks are exact.

All of it comes in few rows: a thread that fetches many waits at each for the one that fetches the calls.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger.engine import Queries
from wa_relay.reports.ranks import SAMPLE, around

FEW = 100_000
"""With fewer turns, fetching all lengths is quick enough."""

ROUNDED = 1e-9
"""Seconds by which JSON, which keeps 15 digits, may have moved a length. Moments are 200 times as coarse."""

NEWEST_TURN = "select max(id) from turns"
SELECT_ENDS = """
    select min(id), max(id) from (
        select * from (
            select id from turns where finished_at >= :since and finished_at < :until order by finished_at limit 1)
        union all
        select * from (
            select id from turns where finished_at >= :since and finished_at < :until
            order by finished_at desc limit 1))"""
"""The first and the last turn of a span: most of those between them belong to it too."""
SAMPLE_DURATIONS = """
    with recursive chosen(id) as (select :first union all select id + :step from chosen where id + :step <= :last)
    select json_group_array(t.replied_at - t.last_at) from chosen c join turns t on t.id = c.id
    where t.finished_at >= :since and t.finished_at < :until and t.state = 'answered' and t.replied_at is not null"""
COUNT_DURATIONS = """
    select count(*), count(t.replied_at), count(*) filter (where t.replied_at - t.last_at < :middle),
        count(*) filter (where t.replied_at - t.last_at < :late)
    from turns t
    where t.finished_at >= :since and t.finished_at < :until and t.state = 'answered'"""
SELECT_RANKED = """
    with near as (
        select t.replied_at - t.last_at as seconds from turns t
        where t.finished_at >= :since and t.finished_at < :until and t.state = 'answered'
            and (t.replied_at - t.last_at between :middle and :after_middle
                or t.replied_at - t.last_at between :late and :after_late))
    select * from (select seconds from near where seconds >= :middle order by 1 limit 2 offset :middle_place)
    union all
    select * from (select seconds from near where seconds >= :late order by 1 limit 1 offset :late_place)"""


@dataclass(frozen=True, slots=True)
class RankedTurns:
    """The number of answered turns, and the median and the 95th percentile of their lengths in seconds."""

    answered: int
    median: float
    p95: float


def has_many_turns(db: Queries) -> bool:
    """True if the database holds enough turns for ranking in SQL to save time."""
    newest = db.tuples(NEWEST_TURN, {}).fetchall()[0][0]
    return newest is not None and newest > FEW


def rank_turns(db: Queries, bounds: dict[str, Any]) -> RankedTurns | None:
    """Ranks the turns answered between two moments; None if they are few, or too unlike the sample."""
    first, last = db.tuples(SELECT_ENDS, bounds).fetchall()[0]
    if first is None:
        return None
    chosen = {**bounds, "first": first, "last": last, "step": max(1, (last - first) // SAMPLE)}
    sample = sorted(json.loads(db.tuples(SAMPLE_DURATIONS, chosen).fetchall()[0][0]))
    if len(sample) < SAMPLE // 2:
        return None
    (middle, after_middle), (late, after_late) = around(sample, 0.5), around(sample, 0.95)
    given = {**bounds, "middle": middle - ROUNDED, "late": late - ROUNDED}
    answered, timed, below_middle, below_late = db.tuples(COUNT_DURATIONS, given).fetchall()[0]
    middle_place, late_place = (timed - 1) // 2 - below_middle, math.ceil(0.95 * timed) - 1 - below_late
    if middle_place < 0 or late_place < 0:
        return None
    given |= {"after_middle": after_middle + ROUNDED, "after_late": after_late + ROUNDED}
    given |= {"middle_place": middle_place, "late_place": late_place}
    ranked = [row[0] for row in db.tuples(SELECT_RANKED, given).fetchall()]
    medians, lates = ranked[: 2 - timed % 2], ranked[2:]
    if len(ranked) < 3 or medians[-1] > given["after_middle"] or lates[0] > given["after_late"]:
        return None
    # A clock that was off makes no negative length.
    medians = [max(0.0, seconds) for seconds in medians]
    return RankedTurns(answered, round(sum(medians) / len(medians), 3), round(max(0.0, lates[0]), 3))
