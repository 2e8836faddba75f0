"""Decides when a customer's text is put to the agent, and how often."""

from __future__ import annotations

from collections.abc import Sequence

from wa_relay.model import Moment
from wa_relay.policy.rules import Rules

DEBOUNCE_LIMIT = 15.0
TURN_TRIES = 5
"""Times a turn may begin, restarts included, before it counts as failed: a poison turn blocks no other."""

LOOP_TEXT, LOOP_TIMES, LOOP_SPAN = 15, 3, 600.0
"""The shortest text that counts, how often, and within how many seconds: then it is a loop."""

TURNS_SPAN = 3600.0
"""Seconds in which `max_turns_per_hour` counts."""


def turn_due(first_at: Moment, now: Moment, rules: Rules) -> Moment:
    """Returns when a burst that began at `first_at` and continues at `now` is put to the agent."""
    return min(now + rules.debounce, max(now, first_at + DEBOUNCE_LIMIT))


def is_loop(earlier: Sequence[str | None]) -> bool:
    """True if a text that came before, in turns with these states (None: in none), makes a loop now."""
    return len(earlier) >= LOOP_TIMES - 1 and all(state == "answered" for state in earlier)
