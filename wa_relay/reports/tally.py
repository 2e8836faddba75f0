"""Adds the rows of the queries up into figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from wa_relay.channel.errors import meaning
from wa_relay.reports.figures import Failure, Figures, Loss, Openings
from wa_relay.reports.ranks import FEW, median, percentile
from wa_relay.reports.turn_durations import RankedTurns

REASONS = {
    "refused": "Twilio refused the message without a code. Check Twilio's log",
    "undelivered": "WhatsApp did not deliver the message and sent no code. Check Twilio's log",
    "expired": "it waited too long: the call was too old, or the 24-hour window had closed",
    "cancelled": "it was cancelled: by an opt-out, by an operator, or because the part before it failed",
    "handed_over": "a person took the conversation over before it was sent",
    "conversation_started": "the customer wrote while it waited for its delay or for quiet hours",
    "window_closed": "the 24-hour window was closed: WhatsApp had refused the message before it (63016)",
    "empty_variable": "a template variable was empty. Set opening.default_name, or provide the name",
}
"""The meaning of a failure without a Twilio code."""

SKIP_ORDER = (
    *("outcome_not_followed", "opted_out", "too_old", "recent_opening", "too_short", "condition", "handed_over"),
)

TEMPLATE_KINDS = ("opening", "reopen", "human")

CANCELLED = frozenset({"cancelled", "handed_over", "conversation_started", "restored"})
"""The reasons of openings that a rule, a customer or a person ended: they count as cancelled, not as failed."""


REACHED = ("sent", "delivered", "read")
STAGES = ("opening", *REACHED, "replied")
SKIPPED = {
    "outcome_not_followed": "this outcome is not followed up (opening.*)",
    "opted_out": "the customer had opted out",
    "too_old": "the call was too old when it was first reported (poll.max_call_age_hours)",
    "recent_opening": "the customer had got another opening shortly before (opening.min_gap_hours)",
    "too_short": "the call was too short (min_call_seconds)",
    "condition": "the values that the call collected don't match (when)",
    "handed_over": "a person had the conversation",
}
NOT_YET = {
    "uncertain": "nobody knows whether it was sent. Decide with: wa-relay resolve",
    "no_receipt": "Twilio accepted it, and no receipt says that it was delivered",
    "not_read": "it was delivered, and the customer has not read it, or hides that",
    "no_reply": "it was sent, and the customer has not answered",
}
"""The meaning of a step that was not reached although nothing failed."""


_KIND = itemgetter(1, 2, 3, 4, 5)
"""The criteria by which calls are counted."""


@dataclass(slots=True)
class Tally:
    """The counts of one group while they are gathered; `figures` closes them.

    `ranked_turns` stands for `turn_seconds` where SQLite ranked them: only in a report without groups.
    """

    calls: int = 0
    inbound: int = 0
    outbound: int = 0
    answered: int = 0
    failed_turns: int = 0
    opted_out: int = 0
    templates: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    openings: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    first_replies: list[float] = field(default_factory=list)
    turn_seconds: list[float] = field(default_factory=list)
    ranked_turns: RankedTurns | None = None
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)
    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in REACHED})

    def add_calls(self, calls: Sequence[tuple[Any, ...]]) -> None:
        """Counts calls, each with what became of its opening.

        A call is a tuple: its group, why it was skipped, the opening's status, reason and code, whether the opening was
        accepted, the seconds of the steps `sent`, `delivered` and `read`, and those until the first reply.
        """
        self.calls += len(calls)
        self.first_replies += [call[9] for call in calls if call[9] is not None]
        for place, step in enumerate(REACHED, 6):
            # A clock that was off makes no negative length.
            self.steps[step] += [max(0.0, call[place]) for call in calls if call[place] is not None]
        for (skipped, status, reason, code, accepted), count in Counter(map(_KIND, calls)).items():
            if skipped is not None:
                self.skipped[skipped] += count
            self._add_openings(status, reason, code, count, accepted=accepted)
        replied = sum(call[9] is not None for call in calls)
        self.losses["replied", "no_reply"] += sum(call[2] in REACHED for call in calls) - replied

    def _add_openings(
        self, status: str | None, reason: str | None, code: str | None, count: int, *, accepted: bool
    ) -> None:
        """Counts openings that had the same end, and the step that they did not reach. Waiting is not a loss."""
        if status is None:
            return
        self.openings["cancelled" if reason in CANCELLED else status] += count
        if status == "failed":
            self.losses["delivered" if accepted else "sent", code or reason or "refused"] += count
        elif status == "uncertain":
            self.losses["sent", "uncertain"] += count
        elif status == "sent":
            self.losses["delivered", "no_receipt"] += count
        elif status == "delivered":
            self.losses["read", "not_read"] += count

    def add(self, other: Tally) -> None:
        """Adds the counts of another group to these."""
        self.calls += other.calls
        self.inbound += other.inbound
        self.outbound += other.outbound
        self.answered += other.answered
        self.failed_turns += other.failed_turns
        self.opted_out += other.opted_out
        self.templates += other.templates
        self.skipped += other.skipped
        self.openings += other.openings
        self.failures += other.failures
        self.first_replies += other.first_replies
        self.turn_seconds += other.turn_seconds
        self.ranked_turns = self.ranked_turns or other.ranked_turns
        self.losses += other.losses
        for step, taken in other.steps.items():
            self.steps[step] += taken

    def figures(self) -> Figures:
        """The counts, with the medians."""
        ranked = self.ranked_turns
        if len(self.turn_seconds) <= FEW:
            # Two ranks are taken of it; sorted once, both cost nothing.
            self.turn_seconds.sort()
        return Figures(
            calls=self.calls,
            skipped={reason: self.skipped[reason] for reason in SKIP_ORDER if self.skipped[reason]},
            openings=_openings(self.openings),
            replied=len(self.first_replies),
            median_first_reply_seconds=median(self.first_replies),
            inbound=self.inbound,
            outbound=self.outbound,
            answered=self.answered,
            failed_turns=self.failed_turns,
            median_turn_seconds=ranked.median if ranked else median(self.turn_seconds),
            p95_turn_seconds=ranked.p95 if ranked else percentile(self.turn_seconds, 0.95),
            opted_out=self.opted_out,
            failures=_failures(self.failures.items()),
            templates={kind: self.templates[kind] for kind in TEMPLATE_KINDS if self.templates[kind]},
            losses=_losses(self.skipped, self.losses),
            median_seconds={step: median(taken) for step, taken in self.steps.items()},
        )


def _openings(statuses: Counter[str]) -> Openings:
    read = statuses["read"]
    delivered = read + statuses["delivered"]
    return Openings(
        queued=statuses["queued"] + statuses["sending"],
        sent=delivered + statuses["sent"],
        delivered=delivered,
        read=read,
        failed=statuses["failed"],
        uncertain=statuses["uncertain"],
        cancelled=statuses["cancelled"],
    )


def _failures(counts: Iterable[tuple[str, int]]) -> tuple[Failure, ...]:
    """The causes, the most frequent first."""
    ordered = sorted(counts, key=lambda cause: (-cause[1], cause[0]))
    if not ordered:
        return ()
    return tuple(Failure(code, meaning_of(code), count) for code, count in ordered)


def _losses(skipped: Counter[str], others: Counter[tuple[str, str]]) -> tuple[Loss, ...]:
    """Every step's losses, in the order of the steps, the most frequent first."""
    counts = [("opening", reason, count) for reason, count in skipped.items() if count]
    counts += [(stage, reason, count) for (stage, reason), count in others.items() if count]
    counts.sort(key=lambda each: (STAGES.index(each[0]), -each[2], each[1]))
    return tuple(Loss(stage, reason, count, meaning_of(reason, stage)) for stage, reason, count in counts)


def meaning_of(reason: str, stage: str = "") -> str:
    """Explains a reason or a Twilio code. The same reason may mean another thing for a call without opening."""
    known = SKIPPED.get(reason) if stage == "opening" else NOT_YET.get(reason) or REASONS.get(reason)
    if known:
        return known
    return meaning(reason)
