"""The settings that decide, as the policy needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, tzinfo
from typing import Literal

from wa_relay.model import Scalar, Span

WINDOW = 24 * 3600.0
"""Seconds in which free text may follow a customer's message (Twilio, error 63016)."""

WINDOW_MARGIN = 300.0
"""An opening takes the template in the window's last minutes: Meta's clock is the judge, not ours."""


@dataclass(frozen=True, slots=True)
class OpeningText:
    """The message after a call of one outcome: free text, a template, or both; and when it is sent.

    `delay` counts from the end of the call. A call shorter than `min_call` gets none, nor one whose collected
    values don't match `when`: for every name one of the values listed.
    """

    body: str = ""
    content_sid: str = ""
    content_variables: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    min_call: float = 0.0
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide. Durations are seconds; keywords are in `request_form`.

    `hours` holds the days of the week (0 is Monday) on which openings have separate hours: no spans mean that
    none goes out that day. On the other days `quiet` counts. `holidays` is a country code: its holidays have the
    hours of Sunday, and none if Sunday has no hours here. `zone` is whose clock counts: `general` is `timezone`.
    `senders` maps agents to the number at which their conversations begin (`+57…`); for the others it is
    `default_sender`, "" with a messaging service. `transcribes` and `files_to_agent` say what becomes of recordings,
    and of images and PDFs; files are kept for `media_kept` seconds.
    `alerts` are the types that are reported; none without a receiver.
    `own_numbers` are ours (`+57…`); empty where any number may be (with a messaging service).
    """

    timezone: tzinfo
    openings: Mapping[str, OpeningText]
    default_name: str = ""
    max_call_age: float = WINDOW
    min_gap: float = 0.0
    burst_limit: int = 200
    daily_limit: int = 0
    push_grace: float = 20.0
    quiet: tuple[time, time] | None = None
    hours: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)
    holidays: str = ""
    zone: Literal["general", "number"] = "general"
    default_sender: str = ""
    senders: Mapping[str, str] = field(default_factory=dict)
    own_numbers: frozenset[str] = frozenset()
    debounce: float = 2.0
    max_length: int = 1500
    fallback: str = ""
    text_only: str = ""
    typing: bool = True
    ask_again: int = 2
    max_turns_per_hour: int = 60
    reopen: OpeningText = OpeningText()
    unknown_sender: Literal["ignore", "fallback", "agent"] = "ignore"
    unknown_agent_id: str = ""
    opt_out_keywords: frozenset[str] = frozenset()
    return_keywords: frozenset[str] = frozenset()
    opt_out_phrases: frozenset[str] = frozenset()
    confirmation: str = ""
    handover_keywords: frozenset[str] = frozenset()
    handover_tool: str = ""
    handover_on_failure: bool = False
    handover_notice: str = ""
    handover_return_after: float = 12 * 3600.0
    handover_wait: float = 30 * 60.0
    handover_unanswered: float = 15 * 60.0
    alerts: frozenset[str] = frozenset()
    transcribes: bool = True
    files_to_agent: bool = True
    media_kept: float = 7 * 86400.0
    divisor: float = 1.0

    @property
    def horizon(self) -> float:
        """Seconds after its end for which a call may still be followed by an opening, quiet hours aside."""
        return self.max_call_age + max((opening.delay for opening in self.openings.values()), default=0.0)

    def scaled(self, seconds: float) -> float:
        """Shortens a reconciliation time; the divisor is 1 outside of tests."""
        return seconds / self.divisor
