"""When the customer's words are put to the agent, and how often."""

from __future__ import annotations

from wa_relay.model import Moment
from wa_relay.policy.rules import Rules

DEBOUNCE_LIMIT = 15.0
TURN_TRIES = 5
"""Times a turn may be begun, restarts included, before it counts as failed: a poison turn blocks nobody."""


def turn_due(first_at: Moment, now: Moment, rules: Rules) -> Moment:
    """When a burst that began at `first_at` and goes on at `now` is put to the agent."""
    return min(now + rules.debounce, max(now, first_at + DEBOUNCE_LIMIT))
