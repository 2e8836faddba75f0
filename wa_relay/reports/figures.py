"""The statistics as values: one set of figures for everything, and one for each group."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from wa_relay.basics import Moment
from wa_relay.moments import optional_stamp


@dataclass(frozen=True, slots=True)
class Failure:
    """Messages that ended without success for one cause: Twilio's code, or the reason where it gave none."""

    code: str
    meaning: str
    count: int

    def to_json(self) -> dict[str, Any]:
        """The entry of `failures`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Openings:
    """First messages by how far they got: `sent`, `delivered` and `read` include those that got further.

    `queued`, `sent`, `failed`, `uncertain` and `cancelled` add up to all of them. `cancelled` are those that a rule, a
    customer or a person ended.
    """

    queued: int = 0
    sent: int = 0
    delivered: int = 0
    read: int = 0
    failed: int = 0
    uncertain: int = 0
    cancelled: int = 0

    def to_json(self) -> dict[str, int]:
        """The object of `openings`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Loss:
    """Calls of one group that did not get to a `stage` (`opening`, `sent`, `delivered`, `read`, `replied`).

    `reason` is one of our codes or of Twilio's.
    """

    stage: str
    reason: str
    count: int
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """The entry of `losses`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StoppedTemplate:
    """A template that is held because of Twilio's `code`."""

    content_sid: str
    code: str
    meaning: str | None
    since: str

    def to_json(self) -> dict[str, str]:
        """The entry of `templates`."""
        return {"content_sid": self.content_sid, "error_code": self.code, "since": self.since}


@dataclass(frozen=True, slots=True)
class Figures:
    """The counts. Seconds are of a median (the mean of the middle two) or a 95th percentile (nearest rank).

    A figure that has nothing to count from is None. `templates` are those that Twilio accepted, by what they are for:
    `opening`, `reopen` or `human` (an operator sent it). `median_seconds` are those from the end of the call to `sent`,
    and from there to `delivered` and `read`.
    """

    calls: int
    skipped: dict[str, int]
    openings: Openings
    replied: int
    median_first_reply_seconds: float | None
    inbound: int
    outbound: int
    answered: int
    failed_turns: int
    median_turn_seconds: float | None
    p95_turn_seconds: float | None
    opted_out: int
    failures: tuple[Failure, ...]
    templates: dict[str, int] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()
    median_seconds: dict[str, float | None] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """The free texts that Twilio accepted: parts of replies, notices, and what operators wrote."""
        return self.outbound - sum(self.templates.values())

    @property
    def reply_rate(self) -> float | None:
        """The part of the openings that got away which the customer answered, 0 to 1."""
        return round(self.replied / self.openings.sent, 4) if self.openings.sent else None

    def to_json(self) -> dict[str, Any]:
        """The figures under the contract's names, in its order."""
        return {
            "calls": self.calls,
            "skipped": dict(self.skipped),
            "openings": self.openings.to_json(),
            "replied": self.replied,
            "reply_rate": self.reply_rate,
            "median_first_reply_seconds": self.median_first_reply_seconds,
            "messages": {"inbound": self.inbound, "outbound": self.outbound},
            "turns": {
                "answered": self.answered,
                "failed": self.failed_turns,
                "median_seconds": self.median_turn_seconds,
                "p95_seconds": self.p95_turn_seconds,
            },
            "opted_out": self.opted_out,
            "failures": [failure.to_json() for failure in self.failures],
            "losses": [loss.to_json() for loss in self.losses],
            "steps": {"median_seconds": dict(self.median_seconds)},
            "costs": {"turns": self.answered, "parts": self.parts, "templates": dict(self.templates)},
        }


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of one day, batch, group or agent; `key` is None for what belongs to none."""

    key: str | None
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """The entry of `groups`."""
        return {"key": self.key, **self.figures.to_json()}


@dataclass(frozen=True, slots=True)
class Statistics:
    """The report: the figures of a span of time, and of each group in it. `by` is None without groups.

    `templates` are those that are stopped, whatever the span.
    """

    since: Moment | None
    until: Moment | None
    by: str | None
    total: Figures
    groups: tuple[Group, ...]
    previous: Statistics | None = None
    templates: tuple[StoppedTemplate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object of `GET /api/stats` and of `stats --json`."""
        return {
            "since": optional_stamp(self.since),
            "until": optional_stamp(self.until),
            **self.total.to_json(),
            "templates": [template.to_json() for template in self.templates],
            "groups": [group.to_json() for group in self.groups],
            **({"previous": self.previous.to_json()} if self.previous else {}),
        }
