"""The report's figures as text, for the table and for the page."""

from __future__ import annotations

from datetime import datetime, tzinfo

from wa_relay.basics import Moment
from wa_relay.reports.awaiting_operator import Standing
from wa_relay.reports.figures import Figures, Statistics
from wa_relay.reports.funnel import Step, funnel_of

SKIPPED = {
    "outcome_not_followed": "outcome not followed up",
    "opted_out": "opted out before",
    "too_old": "too old",
    "recent_opening": "another opening shortly before",
    "too_short": "call too short",
    "condition": "collected values don't match",
    "handed_over": "taken over by a person",
}
NONE = {"day": "unknown end", "batch": "no batch", "group": "no group", "agent": "no agent", "conversation": "no call"}
"""The name of the group without a key."""


def step_text(step: Step) -> tuple[str, str]:
    """The name of a step of the funnel, and its part of the step that it is compared with."""
    name = "opened" if step.name == "sent" else step.name
    whole = "opened" if step.whole == "sent" else "calls"
    return name, "" if step.part is None else f"{percent(step.part)} of {whole}"


def facts(figures: Figures) -> list[tuple[str, str]]:
    """Returns the figures outside the funnel, as pairs of a name and a value."""
    openings = figures.openings
    others = [
        (openings.queued, "waiting"),
        (openings.failed, "failed"),
        (openings.cancelled, "cancelled"),
        (openings.uncertain, "uncertain"),
    ]
    pairs = [("other openings", ", ".join(f"{count:,} {name}" for count, name in others))]
    if figures.skipped:
        skipped = (f"{count:,} {SKIPPED.get(reason, reason)}" for reason, count in figures.skipped.items())
        pairs.append(("no opening", ", ".join(skipped)))
    if figures.median_first_reply_seconds is not None:
        pairs.append(("first reply after", f"{duration(figures.median_first_reply_seconds)} (median)"))
    pairs.append(("messages", f"{figures.inbound:,} in, {figures.outbound:,} out"))
    pairs.append(("turns", _turns(figures)))
    pairs.append(("billed", _billed(figures)))
    pairs.append(("opted out", f"{figures.opted_out:,}"))
    return pairs


def compared(figures: Figures, before: Figures) -> list[tuple[str, str, str]]:
    """The main figures of a span beside those of the span before: name, figure, figure before."""
    pairs = zip(funnel_of(figures), funnel_of(before), strict=True)
    rows = [(step_text(this)[0], f"{this.count:,}", f"{that.count:,}") for this, that in pairs]
    rows.append(("reply rate", percent(figures.reply_rate), percent(before.reply_rate)))
    rows.append(("failed openings", f"{figures.openings.failed:,}", f"{before.openings.failed:,}"))
    rows.append(("opted out", f"{figures.opted_out:,}", f"{before.opted_out:,}"))
    answer = duration(figures.median_turn_seconds), duration(before.median_turn_seconds)
    return [*rows, ("answer after", *answer)]


def _billed(figures: Figures) -> str:
    """The units that Twilio and Meta bill: texts and templates."""
    if not figures.templates:
        return f"{figures.parts:,} texts"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in figures.templates.items())
    return f"{figures.parts:,} texts, templates: {kinds}"


def alerts(standing: Standing) -> list[str]:
    """The matters that need an operator, whatever the span: holds and undecided sends."""
    lines = []
    if standing.account_fault:
        lines.append(f"Everything is held because Twilio refuses the account: {standing.account_fault}")
    if standing.paused_by_operator:
        lines.append("Openings are paused. To release them: wa-relay resume")
    if standing.paused_by_burst:
        lines.append("The burst breaker holds openings. Find out why this many are due, then run: wa-relay resume")
    for each in standing.templates:
        why = f": {each.meaning}" if each.meaning else ""
        lines.append(
            f"The template {each.content_sid} is stopped ({each.code}{why}). To try it now: "
            f"wa-relay resume --template {each.content_sid}"
        )
    if standing.uncertain:
        sends = "send needs" if standing.uncertain == 1 else "sends need"
        lines.append(f"{standing.uncertain:,} {sends} a decision: wa-relay resolve")
    return lines


def span_text(report: Statistics, timezone: tzinfo) -> str:
    """The span of the report in local time."""
    name = str(timezone)
    if report.since is None and report.until is None:
        return f"everything so far ({name})"
    since = "" if report.since is None else f"from {_local(report.since, timezone)} "
    until = "" if report.until is None else f"before {_local(report.until, timezone)} "
    return f"{since}{until}({name})"


def group_name(key: str | None, by: str | None) -> str:
    """The name of a group; a group without a key has one too."""
    return key if key is not None else NONE.get(by or "", "none")


def percent(part: float | None) -> str:
    """Returns a share of 0 to 1 as a percentage, a dash for None."""
    if part is None:
        return "-"
    return f"{part * 100:.0f} %" if part in {0.0, 1.0} else f"{part * 100:.1f} %"


def duration(seconds: float | None) -> str:
    """Returns a duration in seconds, minutes or hours, a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def _turns(figures: Figures) -> str:
    text = f"{figures.answered:,} answered, {figures.failed_turns:,} failed"
    if figures.median_turn_seconds is None:
        return text
    return f"{text}, {duration(figures.median_turn_seconds)} median, {duration(figures.p95_turn_seconds)} p95"


def _local(moment: Moment, timezone: tzinfo) -> str:
    local = datetime.fromtimestamp(moment, timezone)
    return f"{local:%a} {local.day} {local:%b %Y %H:%M}"
