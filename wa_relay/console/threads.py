"""A thread as WhatsApp would show it: days, bubbles, ticks, and what was decided about the customer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup, escape

from wa_relay.channel.errors import meaning
from wa_relay.channel.errors_es import meaning_in_spanish
from wa_relay.console.messages import Messages
from wa_relay.console.render import Clock
from wa_relay.ledger.journal import Recorded
from wa_relay.model import Moment
from wa_relay.reports.conversation import MessageEntry
from wa_relay.text.escaping import one_line, printable

Tick = Literal["", "waiting", "sent", "delivered", "read", "failed", "uncertain"]
TICKS: Mapping[str, Tick] = {
    "received": "",
    "queued": "waiting",
    "sending": "waiting",
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "failed": "failed",
    "uncertain": "uncertain",
}
MARKS = tuple(
    (re.compile(pattern, re.DOTALL), tag)
    for pattern, tag in (
        (r"```(.+?)```", "code"),
        (r"(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])", "strong"),
        (r"(?<![\w_])_(?=[^\s_])([^_\n]*?[^\s_])_(?![\w_])", "em"),
        (r"(?<![\w~])~(?=[^\s~])([^~\n]*?[^\s~])~(?![\w~])", "s"),
    )
)
QUOTED = 160
"""Characters of an earlier message that a quote shows."""


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment of a message. `media_id` is None if the file is not kept."""

    type: str
    media_id: str | None
    transcript: str | None
    name: str | None
    seconds: int | None
    place: str | None


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message for display. `day` is set on the first message of a day."""

    id: int
    day: str | None
    inbound: bool
    kind: str
    author: str
    text: str
    html: Markup
    status: str
    tick: Tick
    at: Moment
    problem: str
    attached: Attached | None
    quote: str | None
    referral: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of the journal, as text."""

    at: Moment
    title: str
    reason: str
    detail: str


def bubbles(messages: Iterable[MessageEntry], t: Messages, clock: Clock) -> list[Bubble]:
    """The messages of a thread, oldest first, with the days between them."""
    shown: list[Bubble] = []
    texts: dict[int, str] = {}
    day = ""
    for entry in messages:
        facts = entry.to_json()
        text = printable(entry.content)
        texts[entry.id] = text
        today = clock.day(entry.at)
        reply_to = facts.get("reply_to")
        shown.append(
            Bubble(
                id=entry.id,
                day=today if today != day else None,
                inbound=entry.direction == "inbound",
                kind=entry.kind,
                author=_author(entry.kind, facts.get("author"), t),
                text=text,
                html=whatsapp_marks(text),
                status=entry.status,
                tick=TICKS.get(entry.status, ""),
                at=entry.at,
                problem=problem(entry, t),
                attached=attached(facts.get("attachment")),
                quote=texts.get(reply_to, t("thread.earlier"))[:QUOTED] if isinstance(reply_to, int) else None,
                referral=_referral(facts.get("referral")),
            )
        )
        day = today
    return shown


def whatsapp_marks(text: str) -> Markup:
    """Shows WhatsApp's marks (`*bold*`, `_italic_`, `~struck~`, three backticks) as WhatsApp does.

    The text is escaped first: only the tags that are put in here are markup.
    """
    html = str(escape(text))
    for pattern, tag in MARKS:
        html = pattern.sub(rf"<{tag}>\1</{tag}>", html)
    return Markup(html)  # noqa: S704 - escaped above


def problem(entry: MessageEntry, t: Messages) -> str:
    """Why a message failed, or why its outcome is unknown, and what to do; empty if there is nothing to say."""
    if entry.status == "uncertain":
        return t("thread.uncertain")
    if entry.status != "failed":
        return ""
    if entry.error_code:
        return code_meaning(entry.error_code, t)
    return t.code("reason", entry.reason)


def code_meaning(code: str, t: Messages) -> str:
    """Explains Twilio's code and what to do, with the code."""
    explanation = meaning_in_spanish(code) if t.language == "es" else meaning(code)
    return f"{one_line(explanation)} ({one_line(code)})"


def attached(given: object) -> Attached | None:
    """Reads the attachment of a message."""
    if isinstance(given, str):
        given = json.loads(given) if given.startswith("{") else {"type": given}
    if not isinstance(given, Mapping):
        return None
    latitude, longitude = given.get("latitude"), given.get("longitude")
    return Attached(
        type=str(given.get("type") or "file"),
        media_id=_text(given.get("media_id")),
        transcript=_text(given.get("transcript")),
        name=_text(given.get("name")),
        seconds=round(seconds) if isinstance(seconds := given.get("seconds"), int | float) else None,
        place=f"{latitude}, {longitude}" if latitude is not None and longitude is not None else None,
    )


def decisions(entries: Sequence[Recorded], t: Messages, most: int = 60) -> list[Decision]:
    """The newest entries of the journal about one customer, newest first."""
    shown = []
    for recorded in reversed(entries[-most:]):
        entry = recorded.entry
        title = t.code("event", entry.event)
        if recorded.to_status and recorded.from_status:
            title = f"{title}: {t.code('status', recorded.to_status)}"
        reason = t.code("reason", entry.reason)
        # The sentence is English, for the command line. Only a failure needs it here: it is the cause.
        explained = recorded.to_status or (reason != (entry.reason or "") and entry.reason != "failed")
        detail = "" if explained else one_line(entry.detail or "")
        if entry.actor:
            detail = f"{detail} · {one_line(entry.actor)}" if detail else one_line(entry.actor)
        shown.append(Decision(recorded.at, title, "" if reason == detail else reason, detail))
    return shown


def _author(kind: str, author: object, t: Messages) -> str:
    if kind == "human" and isinstance(author, str):
        return t("author.api") if author == "api" else t("author.cli") if author == "cli" else one_line(author)
    return t.code("author", kind)


def _referral(given: object) -> str | None:
    if not isinstance(given, Mapping):
        return None
    parts: list[Any] = [given.get("headline"), given.get("body"), given.get("source_url") or given.get("source")]
    return " · ".join(one_line(str(part)) for part in parts if part) or None


def _text(value: object) -> str | None:
    return printable(value) if isinstance(value, str) and value else None
