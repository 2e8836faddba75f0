"""The durations of very many answered turns, ranked by SQLite: their rows stay where they are.

A sample of the durations says between which two a rank lies; SQLite counts those below, and only those between are
fetched. The ranks are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger.engine import Queries
from wa_relay.reports.ranks import SAMPLE, around

FEW = 100_000
"""With fewer turns, fetching all lengths is quick enough."""

NEWEST_TURN = "select max(id) from turns"
SELECT_DURATION = """
    select t.replied_at - t.last_at from turns t
    where t.id = :id and t.finished_at >= :since and t.finished_at < :until and t.state = 'answered'
        and t.replied_at is not null"""
COUNT_DURATIONS = """
    select count(*), count(t.replied_at), count(*) filter (where t.replied_at - t.last_at < :middle),
        count(*) filter (where t.replied_at - t.last_at < :late)
    from turns t
    where t.finished_at >= :since and t.finished_at < :until and t.state = 'answered'"""
SELECT_DURATIONS_BETWEEN = """
    select t.replied_at - t.last_at from turns t
    where t.finished_at >= :since and t.finished_at < :until and t.state = 'answered'
        and (t.replied_at - t.last_at between :middle and :after_middle
            or t.replied_at - t.last_at between :late and :after_late)"""


@dataclass(frozen=True, slots=True)
class RankedTurns:
    """The number of answered turns, and the median and the 95th percentile of their lengths in seconds."""

    answered: int
    median: float
    p95: float


def has_many_turns(db: Queries) -> bool:
    """True if the database holds enough turns for ranking in SQL to save time."""
    return _newest(db) > FEW


def rank_turns(db: Queries, bounds: dict[str, Any]) -> RankedTurns | None:
    """Ranks the turns answered between two moments; None if they are few, or too unlike the sample."""
    newest = _newest(db)
    sample = sorted(
        row[0]
        for turn in range(1, newest + 1, max(1, newest // SAMPLE))
        for row in db.tuples(SELECT_DURATION, {**bounds, "id": turn}).fetchall()
    )
    if len(sample) < SAMPLE // 2:
        return None
    (middle, after_middle), (late, after_late) = around(sample, 0.5), around(sample, 0.95)
    given = {**bounds, "middle": middle, "late": late}
    answered, timed, below_middle, below_late = db.tuples(COUNT_DURATIONS, given).fetchall()[0]
    given |= {"after_middle": after_middle, "after_late": after_late}
    near = sorted(row[0] for row in db.tuples(SELECT_DURATIONS_BETWEEN, given).fetchall())
    lower = [length for length in near if middle <= length <= after_middle]
    upper = [length for length in near if late <= length <= after_late]
    medians = _taken(lower, (timed - 1) // 2 - below_middle, timed // 2 - below_middle)
    late_place = math.ceil(0.95 * timed) - 1 - below_late
    lates = _taken(upper, late_place, late_place)
    if medians is None or lates is None:
        return None
    return RankedTurns(answered, round(sum(medians) / len(medians), 3), round(lates[0], 3))


def _newest(db: Queries) -> int:
    return db.tuples(NEWEST_TURN, {}).fetchall()[0][0] or 0


def _taken(near: Sequence[float], first: int, last: int) -> list[float] | None:
    """Returns the lengths at two neighbouring places; a clock that was off makes no negative length."""
    if first < 0 or last >= len(near):
        return None
    return [max(0.0, length) for length in near[first : last + 1]]
