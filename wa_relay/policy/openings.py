"""Decides which customers get an opening after a call, when, and with which text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from wa_relay.model import NAME_VARIABLES, Call, Moment, Scalar
from wa_relay.policy.hours import opens_at
from wa_relay.policy.rules import OpeningText, Rules
from wa_relay.text.cleaning import clean, visible
from wa_relay.text.templates import placeholders, render, render_variable

SkipReason = Literal[
    "outcome_not_followed", "opted_out", "too_old", "recent_opening", "too_short", "condition", "handed_over"
]

DETAILS_WITHIN = 600.0
"""Seconds after its report for which a call waits for its length and its collected values (contract 8.1)."""

PUSHES_RECENTLY = 86400.0
"""Seconds after a push in which the backend counts as one that reports calls itself."""


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """The facts about a customer when a call is recorded."""

    opted_out: bool = False
    last_opening_at: Moment | None = None
    handed_over: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """The call is stored and no message is sent."""

    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Write:
    """An opening is due at `due_at` and must not go out after `not_after`."""

    due_at: Moment
    not_after: Moment


@dataclass(frozen=True, slots=True)
class Wait:
    """The call's length or collected values must be known first; it is decided at `until` at the latest."""

    until: Moment


def backend_reports(last_push_at: Moment | None, now: Moment) -> bool:
    """True if the backend reports calls itself: a polled call without a name then waits for its report."""
    return last_push_at is not None and now - last_push_at < PUSHES_RECENTLY


def plan_opening(
    call: Call,
    customer: CustomerFacts,
    rules: Rules,
    *,
    fence: Moment,
    backend_pushes: bool,
    now: Moment,
    reported_at: Moment | None = None,
) -> Skip | Write | Wait:
    """Decides if a call is followed by an opening, and when.

    `fence` is the moment at which the database was made: calls that ended before it are history.
    `reported_at` is when the call became known, by default now. A polled call without a name waits
    `push_grace` for the backend that knows it.
    """
    opening = rules.openings.get(call.outcome)
    if opening is None or not (opening.body or opening.content_sid):
        return Skip("outcome_not_followed")
    # Ends come in whole seconds, cut off: one in the fence's own second is not before it.
    if call.ended_at is None or call.ended_at < math.floor(fence):
        return Skip("too_old")
    # A backend's clock may be ahead of ours: that delays nothing.
    ended_at = min(call.ended_at, now)
    # From the first permitted moment: a call at 20:55 with quiet hours from 21:00 must not expire during the night.
    not_after = worthless_at(ended_at, opening, rules, call.phone)
    if not_after <= now:
        return Skip("too_old")
    # The age is checked before it, so that a replayed old campaign is reported as too old, not as opted out.
    if customer.opted_out:
        return Skip("opted_out")
    if customer.handed_over:
        return Skip("handed_over")
    if rules.min_gap and customer.last_opening_at is not None and now - customer.last_opening_at < rules.min_gap:
        return Skip("recent_opening")
    until = (now if reported_at is None else reported_at) + DETAILS_WITHIN
    unmet = unmet_condition(opening, call.seconds, call.collected, final=until <= now)
    if unmet is not None:
        return Wait(until) if unmet == "unknown" else Skip(unmet)
    # "Hola," instead of "Hola Ana,": the poller often finds a call seconds before the backend pushes its name.
    waits = call.source == "poll" and backend_pushes and not client_name(call.client_name, call.variables)
    due = now + (rules.push_grace if waits else 0.0)
    return Write(allowed_at(ended_at, opening, rules, call.phone, due), not_after)


def allowed_at(ended_at: Moment, opening: OpeningText, rules: Rules, phone: str, now: Moment) -> Moment:
    """Returns the first moment from `now` on at which delay and quiet hours allow an opening."""
    return opens_at(max(now, ended_at + opening.delay), rules, phone)


def worthless_at(ended_at: Moment, opening: OpeningText, rules: Rules, phone: str) -> Moment:
    """Returns when an opening expires, counted from the first moment at which it was allowed."""
    return allowed_at(ended_at, opening, rules, phone, ended_at) + rules.max_call_age


def unmet_condition(
    opening: OpeningText, seconds: float | None, collected: Mapping[str, Scalar] | None, *, final: bool
) -> Literal["too_short", "condition", "unknown"] | None:
    """Returns what keeps a call of that length and with those collected values from its opening, None if nothing does.

    None for `seconds` or `collected` means that they are not known yet. If they won't be known
    (`final`), the length lets the call pass and the values don't.
    """
    if opening.min_call and seconds is not None and seconds < opening.min_call:
        return "too_short"
    if opening.when and collected is not None and not _all_match(opening.when, collected):
        return "condition"
    unknown = bool(opening.min_call and seconds is None), bool(opening.when and collected is None)
    if not final:
        return "unknown" if any(unknown) else None
    # Contract 8.1: an unknown length counts as long enough; a condition that can't be checked does not count as met.
    return "condition" if unknown[1] else None


def _all_match(when: Mapping[str, tuple[Scalar, ...]], collected: Mapping[str, Scalar]) -> bool:
    return all(any(_equals(collected.get(name), value) for value in values) for name, values in when.items())


def _equals(collected: Scalar | None, wanted: Scalar) -> bool:
    """Compares texts without their case; a number is never a text, and a boolean never a number."""
    if isinstance(collected, str) and isinstance(wanted, str):
        return collected.strip().casefold() == wanted.strip().casefold()
    # In Python True == 1: a customer's 1 would match `true`.
    if isinstance(collected, bool) or isinstance(wanted, bool):
        return collected is wanted
    return isinstance(collected, int | float) and isinstance(wanted, int | float) and collected == wanted


def client_name(name: str | None, variables: Mapping[str, Scalar]) -> str:
    """The customer's name: the report's own, else that of the first variable that has one."""
    for candidate in chain((name,), map(variables.get, NAME_VARIABLES)):
        if isinstance(candidate, str) and visible(candidate):
            return " ".join(clean(candidate).split())
    return ""


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
    """Fills an opening in: the body inside the window, the template outside it or without a body."""
    body = clean(render(opening.body, values)) if opening.body else ""
    if not opening.content_sid or (body.strip() and window_open):
        return Rendered(content=body, body=body)
    variables = {key: render_variable(value, values) for key, value in opening.content_variables.items()}
    empty = next((key for key, value in variables.items() if not value), None)
    content = body or f"[{opening.content_sid}] {json.dumps(variables, ensure_ascii=False)}"
    return Rendered(content, None, opening.content_sid, variables, empty)


def lacks_value(call: Call, opening: OpeningText) -> bool:
    """True if the opening of a call has a placeholder for which the call's report brought no value."""
    known: dict[str, Scalar | None] = dict(call.variables)
    known["client_name"] = client_name(call.client_name, call.variables)
    own = {"agent_name": call.agent_name, "batch_name": call.batch_name, "group_name": call.group_name}
    known |= {name: value for name, value in own.items() if value}
    texts = (opening.body, *opening.content_variables.values())
    return any(known.get(name) in (None, "") for text in texts for name in placeholders(text))


def opening_values(
    rules: Rules,
    variables: Mapping[str, Scalar],
    *,
    name: str | None,
    agent_name: str | None,
    batch_name: str | None,
    group_name: str | None,
) -> dict[str, Scalar]:
    """The values of an opening's placeholders; the call's own facts take precedence over its variables."""
    values: dict[str, Scalar] = dict(variables)
    # Before a variable of the same name: the report knows the customer, the variable is what the agent was given.
    values["client_name"] = client_name(name, variables) or rules.default_name
    for key, value in (("agent_name", agent_name), ("batch_name", batch_name), ("group_name", group_name)):
        values[key] = value or values.get(key, "")
    return values
