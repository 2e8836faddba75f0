"""The names of groups: the local day of a moment, or the batch, group or agent of a call."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, tzinfo

from wa_relay.ledger.engine import Queries

QUARTER = 900
"""Seconds. Every time zone of today is a whole number of quarters from UTC, so that no quarter spans two days."""

NAMED = {
    "batch": ("batch_id", "batch_name"),
    "group": ("group_id", "group_name"),
    "agent": ("agent_id", "agent_name"),
}


SELECT_CUSTOMER_OF_CALLS = """
    select c.id, s.phone_number from calls c join conversation_state s on s.id = c.conversation_id"""


class DayNames:
    """The local day, as 2026-11-22, of a quarter of an hour counted from the epoch."""

    def __init__(self, timezone: tzinfo) -> None:
        self._timezone = timezone
        self._days: dict[float, str] = {}

    def __call__(self, quarter: float | None) -> str | None:
        """Names the day; None for a call whose end is not known."""
        if quarter is None:
            return None
        day = self._days.get(quarter)
        if day is None:
            day = datetime.fromtimestamp(quarter * QUARTER, self._timezone).date().isoformat()
            self._days[quarter] = day
        return day


def call_names(db: Queries, by: str) -> dict[float | None, str | None]:
    """The name of each call's batch, group or agent, its id where no report named it; or the customer's number.

    A name that belongs to several ids is shown with them: two campaigns stay two.
    """
    if by == "conversation":
        return dict(db.tuples(SELECT_CUSTOMER_OF_CALLS, {}).fetchall())
    id_column, name = NAMED[by]
    calls = db.tuples(f"select id, {id_column}, {name} from calls", {}).fetchall()
    pairs = {(key, named) for _, key, named in calls}
    names = {key: named for key, named in pairs if key and named}
    shared = {named for named, count in Counter(names.values()).items() if count > 1}

    def text(key: str | None, named: str | None) -> str | None:
        label = names.get(key, named) if key else named
        return f"{label} ({key})" if key and label in shared else label or key or None

    texts = {pair: text(*pair) for pair in pairs}
    return {call: texts[key, named] for call, key, named in calls}
