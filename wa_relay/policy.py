"""The decisions of the relay: who is written to, when, and what follows a failure.

Pure: facts, rules and `now` in, a decision out. The ledger asks inside its transactions, the
worker asks between its awaits; neither decides by itself.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Literal

from wa_relay import text
from wa_relay.model import NAME_VARIABLES, Call, Listed, Moment, Scalar

WINDOW = 24 * 3600.0
"""Seconds in which free text may follow a customer's message (Twilio, error 63016)."""

WINDOW_MARGIN = 300.0
"""An opening takes the template in the window's last minutes: Meta's clock is the judge, not ours."""

LOOKUPS = (0.0, 5.0, 15.0, 45.0, 120.0, 300.0, 600.0)
"""Seconds after the attempt at which an unclear send is looked up while it holds its conversation."""

LATE_LOOKUP, LATE_LOOKUPS_END = 3600.0, 86400.0
"""After that it is looked up hourly for a day."""

HOLD = 600.0
"""Seconds for which an unclear send holds back its conversation: longer than any late acceptance."""

CLOCK_TOLERANCE = 5.0
"""Seconds by which Twilio's clock may differ from ours when its list is compared with an attempt."""

RECEIPT_POLLS = (900.0, 3600.0, 43200.0)
"""Seconds after acceptance at which a receipt that did not come is asked for."""

PART_PAUSE = 5.0
"""Seconds after which the next part of an answer no longer waits for the receipt of the one before."""

DEBOUNCE_LIMIT = 15.0
BURST_WATCH = 60.0
PERSON_BUCKET, PERSON_REFILL = 10.0, 6.0
"""Messages that may go to one person at once, and the seconds in which one more is allowed (error 63018)."""

SEND_RETRY_BASE, SEND_RETRY_CAP = 2.0, 120.0
ACCOUNT_PROBES = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
TURN_TRIES = 5
"""Times a turn may be begun, restarts included, before it counts as failed: a poison turn blocks nobody."""

SkipReason = Literal["outcome_not_followed", "opted_out", "too_old", "recent_opening"]


@dataclass(frozen=True, slots=True)
class OpeningText:
    """What is said after a call of one outcome: free text, a template, or both."""

    body: str = ""
    content_sid: str = ""
    content_variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide. Durations are seconds; keywords are in `text.keyword` form."""

    timezone: tzinfo
    openings: Mapping[str, OpeningText]
    default_name: str = ""
    max_call_age: float = WINDOW
    min_gap: float = 0.0
    burst_limit: int = 200
    push_grace: float = 20.0
    quiet: tuple[time, time] | None = None
    debounce: float = 2.0
    max_length: int = 1500
    fallback: str = ""
    text_only: str = ""
    unknown_sender: Literal["ignore", "fallback", "agent"] = "ignore"
    unknown_agent_id: str = ""
    opt_out_keywords: frozenset[str] = frozenset()
    return_keywords: frozenset[str] = frozenset()
    confirmation: str = ""
    divisor: float = 1.0

    def scaled(self, seconds: float) -> float:
        """Shortens a reconciliation time; the divisor is 1 outside of tests."""
        return seconds / self.divisor


@dataclass(frozen=True, slots=True)
class Person:
    """What the ledger knows of somebody when a call of theirs is recorded."""

    opted_out: bool = False
    last_opening_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """The call is stored and nobody is written to."""

    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Write:
    """An opening is due at `due_at` and worthless after `not_after`."""

    due_at: Moment
    not_after: Moment


def plan_opening(
    call: Call, person: Person, rules: Rules, *, fence: Moment, backend_pushes: bool, now: Moment
) -> Skip | Write:
    """Decides if a call that has just become known is followed by an opening, and when.

    `fence` is the moment at which the database was made: what ended before it is history.
    A polled call without a name waits `push_grace` for the backend that knows it.
    """
    opening = rules.openings.get(call.outcome)
    if opening is None or not (opening.body or opening.content_sid):
        return Skip("outcome_not_followed")
    # Ends are told in whole seconds, cut off: one in the fence's own second is not before it.
    if call.ended_at is None or call.ended_at < math.floor(fence) or call.ended_at + rules.max_call_age <= now:
        return Skip("too_old")
    if person.opted_out:
        return Skip("opted_out")
    if rules.min_gap and person.last_opening_at is not None and now - person.last_opening_at < rules.min_gap:
        return Skip("recent_opening")
    waits = call.source == "poll" and backend_pushes and not client_name(call.client_name, call.variables)
    due = now + (rules.push_grace if waits else 0.0)
    return Write(due_at=after_quiet(due, rules), not_after=call.ended_at + rules.max_call_age)


def client_name(name: str | None, variables: Mapping[str, Scalar]) -> str:
    """The customer's name: the report's own, else that of the first variable that has one."""
    for candidate in (name, *(variables.get(key) for key in NAME_VARIABLES)):
        if isinstance(candidate, str) and text.visible(candidate):
            return " ".join(text.clean(candidate).split())
    return ""


def after_quiet(moment: Moment, rules: Rules) -> Moment:
    """The first moment from `moment` on that is outside quiet hours, in the rules' timezone."""
    if rules.quiet is None:
        return moment
    start, end = rules.quiet
    if not _is_quiet(moment, rules.timezone, start, end):
        return moment
    local = datetime.fromtimestamp(moment, rules.timezone)
    day = local.date() if local.time() < end else local.date() + timedelta(days=1)
    opens = datetime.combine(day, end, tzinfo=rules.timezone)
    # In a change of clocks the same wall time comes twice, or never: the first that is ahead and not quiet again.
    ends = sorted(opens.replace(fold=fold).astimezone(UTC).timestamp() for fold in (0, 1))
    return next((one for one in ends if one >= moment and not _is_quiet(one, rules.timezone, start, end)), moment)


def _is_quiet(moment: Moment, timezone: tzinfo, start: time, end: time) -> bool:
    clock = datetime.fromtimestamp(moment, timezone).time()
    return start <= clock < end if start < end else clock >= start or clock < end


@dataclass(frozen=True, slots=True)
class Rendered:
    """An opening as it will be sent. `content` is what history shows.

    `empty_variable` names a template variable that came out empty: such an opening is not sent,
    since Twilio would fill in the template's sample (errors 21656 and 63013).
    """

    content: str
    body: str | None = None
    content_sid: str | None = None
    content_variables: Mapping[str, str] | None = None
    empty_variable: str | None = None


def render_opening(opening: OpeningText, values: Mapping[str, Scalar], *, window_open: bool) -> Rendered:
    """Fills an opening in: the body inside the window, the template outside it or where there is no body."""
    body = text.clean(text.render(opening.body, values)) if opening.body else ""
    if not opening.content_sid or (body.strip() and window_open):
        return Rendered(content=body, body=body)
    variables = {key: text.render_variable(value, values) for key, value in opening.content_variables.items()}
    empty = next((key for key, value in variables.items() if not value), None)
    content = body or f"[{opening.content_sid}] {json.dumps(variables, ensure_ascii=False)}"
    return Rendered(content, None, opening.content_sid, variables, empty)


def opening_values(
    rules: Rules,
    variables: Mapping[str, Scalar],
    *,
    name: str | None,
    agent_name: str | None,
    batch_name: str | None,
    group_name: str | None,
) -> dict[str, Scalar]:
    """The values of an opening's placeholders; the call's own facts stand over its variables."""
    values: dict[str, Scalar] = dict(variables)
    values["client_name"] = client_name(name, variables) or rules.default_name
    for key, value in (("agent_name", agent_name), ("batch_name", batch_name), ("group_name", group_name)):
        values[key] = value or values.get(key, "")
    return values


def turn_due(first_at: Moment, now: Moment, rules: Rules) -> Moment:
    """When a burst that began at `first_at` and goes on at `now` is put to the agent."""
    return min(now + rules.debounce, max(now, first_at + DEBOUNCE_LIMIT))


def retry_delay(attempt: int, retry_after: float | None, *, base: float, cap: float) -> float:
    """Seconds until the next try: what the other side asked for, else full jitter over a doubling span."""
    if retry_after is not None:
        return min(max(retry_after, 1.0), 3600.0)
    # A ceiling on the exponent keeps a long outage from overflowing the float.
    span = min(cap, base * 2.0 ** min(attempt, 16))
    return random.uniform(0.0, span)  # noqa: S311 - spreads retries, guards nothing


def next_lookup(attempted_at: Moment, lookups: int, rules: Rules) -> Moment | None:
    """When an unclear send is looked up after `lookups` empty look-ups; None when it is left to a person."""
    if lookups < len(LOOKUPS):
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads look-ups
        return attempted_at + rules.scaled(LOOKUPS[lookups] * jitter)
    late = HOLD + LATE_LOOKUP * (lookups - len(LOOKUPS) + 1)
    return attempted_at + rules.scaled(late) if late <= LATE_LOOKUPS_END else None


def next_receipt_poll(accepted_at: Moment, polls: int, rules: Rules) -> Moment | None:
    """When Twilio is asked for a receipt that did not come; None after the last time."""
    return accepted_at + rules.scaled(RECEIPT_POLLS[polls]) if polls < len(RECEIPT_POLLS) else None


def account_probe(failures: int) -> float:
    """Seconds until a held account is tried again, after so many refusals in a row."""
    return ACCOUNT_PROBES[min(failures, len(ACCOUNT_PROBES)) - 1] if failures else 0.0


def refill(tokens: float, since: Moment, now: Moment) -> float:
    """What one person's bucket holds now."""
    return min(PERSON_BUCKET, tokens + max(0.0, now - since) / PERSON_REFILL)


def match_unclear(
    listed: Sequence[Listed], rules: Rules, *, phone: str, body: str | None, attempted_at: Moment
) -> list[Listed]:
    """Those messages of Twilio's list that may be an unclear send.

    Direction `outbound-api`, exactly this person, made at the time of the attempt, and the same
    text; a template's text in the list is not what was sent (`body` None), so there time decides.
    The list's times are whole seconds and of another clock, which may be behind ours.
    """
    # Whatever is sent after the hold is another message: the last seconds are left to the clocks' difference.
    latest = attempted_at + rules.scaled(HOLD - CLOCK_TOLERANCE) - 1.0
    return [
        message
        for message in listed
        if message.direction == "outbound-api"
        and message.to == phone
        and message.created_at is not None
        and attempted_at - CLOCK_TOLERANCE <= message.created_at <= latest
        and (body is None or message.body == body)
    ]


RANK = {"accepted": 0, "scheduled": 1, "queued": 2, "sending": 3, "sent": 4, "delivered": 6, "read": 7}
"""Twilio's statuses by how far a message got; `failed` and `undelivered` are ends of their own."""

FAILURES = frozenset({"failed", "undelivered", "canceled"})


def receipt_moves(status: str, known: str) -> str | None:
    """The outbox status that a receipt leads to from `known`, None when it changes nothing.

    Receipts come in any order and repeatedly: a message only moves up, and one that was
    delivered does not fail any more.
    """
    if status in FAILURES:
        return "failed" if known in ("sending", "uncertain", "sent", "queued") else None
    order = ("queued", "sending", "uncertain", "sent", "delivered", "read")
    target = {"delivered": "delivered", "read": "read"}.get(status, "sent" if status in RANK else None)
    if target is None or known not in order:
        return None
    return target if order.index(target) > order.index(known) else None


class Circuit:
    """One service's circuit: opens after five failures in a row, lets one try through every 30 s.

    Units: seconds of any monotonic or wall clock, as long as it is always the same.
    """

    def __init__(self, threshold: int = 5, pause: float = 30.0) -> None:
        self.failures = 0
        self._threshold, self._pause, self._retry_at = threshold, pause, 0.0

    def allows(self, now: float) -> bool:
        """True while closed, and once per pause while open."""
        # A clock that is set back does not make the pause longer.
        return self.failures < self._threshold or not 0.0 < self._retry_at - now <= self._pause

    def rest(self, now: float) -> float:
        """Seconds until the next try is let through; 0 when it is now."""
        return 0.0 if self.allows(now) else self._retry_at - now

    def succeeded(self) -> None:
        """Closes the circuit."""
        self.failures = 0

    def failed(self, now: float) -> None:
        """Counts a failure and, from the threshold on, opens the circuit for the pause."""
        self.failures += 1
        if self.failures >= self._threshold:
            self._retry_at = now + self._pause

    def tried(self, now: float) -> None:
        """Marks the one try that a half-open circuit lets through."""
        if self.failures >= self._threshold:
            self._retry_at = now + self._pause
