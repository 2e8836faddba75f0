"""The report: calls, their openings and what came of them, in a span of time and by groups.

Calls count by their end; what became of their openings follows them. Messages, turns, opt-outs
and failures count by their own time. SQL finds and counts, `group_names` names, `tally` adds up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from itertools import islice
from typing import Any, Literal

from wa_relay.ledger.engine import Queries, Rows
from wa_relay.reports.awaiting_operator import stopped_templates
from wa_relay.reports.figures import Group, Statistics
from wa_relay.reports.first_reply import FIRST_REPLY_AT
from wa_relay.reports.group_names import NAMED, QUARTER, DayNames, call_names
from wa_relay.reports.snapshot import snapshots
from wa_relay.reports.spans import Span
from wa_relay.reports.tally import Tally
from wa_relay.reports.turn_durations import RankedTurns, rank_turns

Grouping = Literal["day", "batch", "group", "agent", "conversation"]
BY_CALL = (*NAMED, "conversation")
CHUNK = 1_000

SELECT_CALLS = f"""
    select {{key}}, c.skipped, m.status, m.reason, m.error_code, m.accepted_at is not null,
        case when m.status in ('sent', 'delivered', 'read') then m.accepted_at - c.ended_at end,
        case when m.status in ('sent', 'delivered', 'read') then m.delivered_at - m.accepted_at end,
        case when m.status in ('sent', 'delivered', 'read') then m.read_at - m.delivered_at end,
        {FIRST_REPLY_AT} - m.accepted_at
    from calls c left join conversation_messages m on m.call_id = c.id and m.kind = 'opening'
    where {{ended}}"""

# An inbound message is accepted when it arrives.
COUNT_MESSAGES = """
    select {key}, count(*) filter (where m.direction = 'inbound'), count(*)
    from conversation_messages m
    where {accepted} {grouped}"""
ACCEPTED = """
    m.accepted_at >= :since and m.accepted_at < :until
        and floor(m.accepted_at / 900) >= floor(:since / 900) and floor(m.accepted_at / 900) <= floor(:until / 900)"""
"""The bounds in quarters are those that the index knows: without them a week is looked for in all messages."""
COUNT_MESSAGES_BY_CALL = """
    select m.call_id, count(*) filter (where m.direction = 'inbound'), count(*)
    from conversation_messages m
    where coalesce(m.accepted_at, :until) >= :since and coalesce(m.accepted_at, :until) < :until group by m.call_id"""
"""`coalesce` keeps the planner from the index by time, which lacks `call_id`: the index in the order of conversations
has all that is needed, in half the time. By way of the calls it would read a thread once for each of its calls."""

# An answer that Twilio has not accepted yet has no end: it counts as answered, and has no length.
SELECT_ANSWERED = """
    select {key},
        case when t.replied_at > t.last_at then t.replied_at - t.last_at when t.replied_at is not null then 0.0 end
    from turns t
    where t.finished_at >= :since and t.finished_at < :until and t.state = 'answered'"""
COUNT_FAILED_TURNS = """
    select {key}, count(*) from turns t
    where t.finished_at >= :since and t.finished_at < :until and t.state = 'failed' group by 1"""
# Few messages are templates, and an index holds only those.
COUNT_TEMPLATES = """
    select {key}, coalesce(m.notice, m.kind), count(*) from conversation_messages m
    where m.content_sid is not null and m.attempted_at is not null
        and m.accepted_at >= :since and m.accepted_at < :until group by 1, 2"""
COUNT_OPT_OUTS = """
    select {key}, count(*) from opt_outs o
    where o.opted_out_at >= :since and o.opted_out_at < :until group by 1"""
COUNT_FAILURES = """
    select {key}, coalesce(nullif(m.error_code, ''), m.reason), count(*) from conversation_messages m
    where m.failed_at >= :since and m.failed_at < :until group by 1, 2"""

LATEST_CALL_BEFORE = """(
    select k.id from addresses a join calls k on k.conversation_id = a.conversation_id
    where a.address = o.phone_number and k.recorded_at <= o.opted_out_at
    order by coalesce(k.ended_at, k.recorded_at) desc, k.id desc limit 1)"""


def stats(
    db: Queries,
    *,
    span: Span,
    by: Grouping | None,
    timezone: tzinfo,
    traffic: bool = True,
    beside: Queries | None = None,
) -> Statistics:
    """Counts a span of time; with `by` also each group of it. Days are those of `timezone`.

    Without `traffic`, messages and turns are left out: with 1,000,000 of them they cost half of the time.
    Calls whose end is unknown count only without a span. Groups come by day, else the one with
    the most calls first; what belongs to none has the key None and comes last. `beside` is another
    connection to the same file: what SQLite can count alone is counted there meanwhile, on another core.
    """
    with snapshots(db, beside) as second:
        tallies = _Tallies(db, by, timezone)
        _count(db, span, by, tallies, traffic=traffic, beside=second)
        stopped = stopped_templates(db)
    groups = [Group(key, tally.figures()) for key, tally in tallies.labelled.items()] if by else []
    total = Tally()
    for tally in tallies.labelled.values():
        total.add(tally)
    groups.sort(key=lambda group: (group.key is None, 0 if by == "day" else -group.figures.calls, group.key or ""))
    return Statistics(span.since, span.until, by, total.figures(), tuple(groups), templates=stopped)


class _Tallies:
    """The tally of each quarter of an hour or call: those that have the same label share one."""

    def __init__(self, db: Queries, by: Grouping | None, timezone: tzinfo) -> None:
        self.is_one = by is None
        self.labelled: defaultdict[str | None, Tally] = defaultdict(Tally)
        self._days = DayNames(timezone) if by == "day" else None
        self._calls = call_names(db, by) if by in BY_CALL else {}
        self.known: dict[float | None, Tally] = {}

    def of(self, group: float | None) -> Tally:
        """The tally in which a quarter or a call is counted."""
        tally = self.known.get(group)
        if tally is None:
            label = self._calls.get(group) if self._days is None else self._days(group)
            tally = self.known[group] = self.labelled[label]
        return tally


def _count(
    db: Queries, span: Span, by: Grouping | None, tallies: _Tallies, *, traffic: bool, beside: Queries | None
) -> None:
    """Runs the queries and counts each row in the tally of its group."""
    bounds = {
        "since": -math.inf if span.since is None else span.since,
        "until": math.inf if span.until is None else span.until,
    }
    ended = "true" if span.everything else "c.ended_at >= :since and c.ended_at < :until"
    # Compared with bounds, each of 5,000,000 messages costs twice as much.
    accepted = "m.accepted_at is not null" if span.everything else ACCEPTED

    def rows(query: str, moment: str, call: str, of: Queries = db) -> Rows:
        key = "null" if by is None else f"floor({moment} / {QUARTER})" if by == "day" else call
        # Grouped by a constant, SQLite sorts all rows: 1 s more for 5,000,000 messages.
        grouped = "" if by is None else "group by 1"
        return of.tuples(query.format(key=key, ended=ended, accepted=accepted, grouped=grouped), bounds)

    def sums(of: Queries) -> _Sums:
        """Counts what SQLite adds up itself: few rows, however many messages."""
        counted = COUNT_MESSAGES_BY_CALL if by in BY_CALL else COUNT_MESSAGES
        return _Sums(
            failed_turns=rows(COUNT_FAILED_TURNS, "t.finished_at", "t.call_id", of).fetchall(),
            messages=rows(counted, "m.accepted_at", "m.call_id", of).fetchall(),
            # Its two walks through all turns cost more than fetching them, if nothing else is done meanwhile.
            turns=rank_turns(of, bounds) if by is None and of is not db else None,
        )

    calls = partial(_count_calls, rows(SELECT_CALLS, "c.ended_at", "c.id"), tallies)
    if traffic:
        # By call there is a row for each: two threads that fetch rows wait for each other's turn of the interpreter.
        counted = _meanwhile(calls, partial(sums, beside)) if beside is not None and by not in BY_CALL else None
        if counted is None:
            calls()
            counted = sums(db)
        _add_sums(counted, tallies)
        if counted.turns is None:
            _count_answers(rows(SELECT_ANSWERED, "t.finished_at", "t.call_id"), tallies)
        for group, kind, number in rows(COUNT_TEMPLATES, "m.accepted_at", "m.call_id"):
            tallies.of(group).templates[kind] += number
    else:
        calls()
    for group, number in rows(COUNT_OPT_OUTS, "o.opted_out_at", LATEST_CALL_BEFORE):
        tallies.of(group).opted_out += number
    for group, cause, number in rows(COUNT_FAILURES, "m.failed_at", "m.call_id"):
        tallies.of(group).failures[cause] += number


@dataclass(frozen=True, slots=True)
class _Sums:
    """The rows of the queries that only count, and the ranks of the answered turns if SQLite found them."""

    failed_turns: list[Any]
    messages: list[Any]
    turns: RankedTurns | None


def _meanwhile(here: Callable[[], None], there: Callable[[], _Sums]) -> _Sums:
    """Runs both, the second in a thread; SQLite lets the interpreter go while it counts."""
    # Only a report over very many messages pays for the import.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(there)
        here()
        return running.result()


def _add_sums(sums: _Sums, tallies: _Tallies) -> None:
    for group, number in sums.failed_turns:
        tallies.of(group).failed_turns += number
    for group, inbound, messages in sums.messages:
        tallies.of(group).inbound += inbound
        tallies.of(group).outbound += messages - inbound
    if sums.turns is not None:
        tallies.of(None).answered += sums.turns.answered
        tallies.of(None).ranked_turns = sums.turns


def _count_calls(rows: Iterable[tuple[Any, ...]], tallies: _Tallies) -> None:
    for tally, calls in _shares(rows, tallies):
        tally.add_calls(calls)


def _count_answers(rows: Iterable[tuple[Any, ...]], tallies: _Tallies) -> None:
    for tally, answers in _shares(rows, tallies):
        tally.answered += len(answers)
        tally.turn_seconds += [seconds for _, seconds in answers if seconds is not None]


def _shares(rows: Iterable[tuple[Any, ...]], tallies: _Tallies) -> Iterator[tuple[Tally, list[tuple[Any, ...]]]]:
    """Each tally with its rows, a thousand at a time: there are as many rows as messages."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        if tallies.is_one:
            yield tallies.of(None), chunk
            continue
        shares: dict[int, tuple[Tally, list[tuple[Any, ...]]]] = {}
        for row in chunk:
            tally = tallies.known.get(row[0]) or tallies.of(row[0])
            share = shares.get(id(tally))
            if share is None:
                share = shares[id(tally)] = (tally, [])
            share[1].append(row)
        yield from shares.values()
