"""The settings that decide, as the policy needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, tzinfo
from typing import Literal

WINDOW = 24 * 3600.0
"""Seconds in which free text may follow a customer's message (Twilio, error 63016)."""

WINDOW_MARGIN = 300.0
"""An opening takes the template in the window's last minutes: Meta's clock is the judge, not ours."""


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
