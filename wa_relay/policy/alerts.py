"""Alerts to the team's own systems, and when an alert is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wa_relay.model import Moment, Scalar
from wa_relay.policy.rules import Rules

AlertType = Literal[
    "handover.wanted",
    "send.uncertain",
    "account.held",
    "burst.held",
    "template.stopped",
    "poller.failing",
    "agent.failing",
    "conversation.muted",
    "handover.unanswered",
    "webhook.failing",
    "sender.limited",
    "disk.low",
]

ALERT_SPACING = 600.0
"""Seconds in which at most one alert of a type about a subject is sent (contract 9.1); the schema refuses a second."""

UNANSWERED_SPACING = 3600.0
"""Seconds after which `handover.unanswered` is repeated for a customer without an answer."""

FIRST_PAUSE, LONGEST_PAUSE, TRIED_FOR = 5.0, 3600.0, 86400.0
"""Seconds: the pause after the first try, which doubles up to the second figure, and how long an alert is tried."""

FAILURES_IN_A_ROW = 3
"""Turns of one agent, or rounds of the poller, that fail in a row before an alert."""

LEAST_FREE_SHARE, LEAST_FREE_BYTES = 0.05, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Alert:
    """A matter that an operator should know of.

    `subject` is what it is about, for the spacing: a message, a template, an account, an agent, a handover. `data` is
    what the receiver gets: no texts and no names, and a number in `handover.…` and `conversation.muted` only.
    """

    type: AlertType
    subject: str
    data: Mapping[str, Scalar | None] = field(default_factory=dict)
    conversation_id: int | None = None


def next_alert_try(created_at: Moment, tries: int, rules: Rules, now: Moment) -> Moment | None:
    """Returns when an alert is tried again after this many tries without a 2xx; None when its day is over."""
    pause = min(FIRST_PAUSE * 2.0 ** (tries - 1), LONGEST_PAUSE)
    following = now + rules.scaled(pause)
    return following if following <= created_at + rules.scaled(TRIED_FOR) else None


def disk_is_low(free: int, total: int) -> bool:
    """True if a file system has under 5 % or 1 GB free."""
    return free < LEAST_FREE_BYTES or free < LEAST_FREE_SHARE * total
