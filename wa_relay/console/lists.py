"""The inbox's rows, and a customer's name, initials and state as the pages show them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from wa_relay.console.messages import Messages
from wa_relay.console.threads import TICKS, Tick
from wa_relay.phone import mask
from wa_relay.reports.conversation import Overview
from wa_relay.reports.conversation_list import Listed
from wa_relay.text.escaping import one_line

PREVIEW = 140
TINTS = 6
"""Colours of the avatars, by the number of the conversation."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer in a list, with the handler: `badge` is empty while the agent has it and no person is requested."""

    name: str
    phone: str
    initials: str
    tint: int
    badge: str
    badge_kind: str
    handler_by: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the inbox."""

    id: int
    customer: Customer
    unread: int
    at: str
    preview: str
    author: str
    tick: Tick


def row(listed: Listed, t: Messages) -> Row:
    """Makes a row of a conversation and its newest message."""
    overview, last = listed.overview, listed.last_message
    author = "" if last is None or last.kind in ("customer", "human") else t.code("author", last.kind)
    if last is not None and last.kind == "human":
        author = user_name(last.author, t)
    return Row(
        id=overview.id,
        customer=customer(overview, t),
        unread=overview.unread,
        at=overview.last_message_at,
        preview="" if last is None else one_line(last.content)[:PREVIEW] or t("thread.attachment"),
        author=author,
        tick="" if last is None else TICKS.get(last.status, ""),
    )


def customer(overview: Overview, t: Messages) -> Customer:
    """Makes a customer of a conversation."""
    name = one_line(overview.client_name or "")[:80]
    letters = [word[0] for word in name.split() if word[0].isalnum()]
    kind, badge = _badge(overview, t)
    return Customer(
        name=name or shown_phone(overview.phone),
        phone=shown_phone(overview.phone),
        initials="".join(letters[:2]).upper() or "#",
        tint=zlib.crc32(str(overview.id).encode()) % TINTS,
        badge=badge,
        badge_kind=kind,
        handler_by=user_name(overview.handler_by, t),
    )


def user_name(name: str | None, t: Messages) -> str:
    """Returns the name of a user to show; `api` and `cli` are the team by another channel."""
    return t.code("author", name) if name in ("api", "cli") else one_line(name or "")


def shown_phone(phone: str) -> str:
    """A number in groups, as people read it; for a hidden number, its replacement."""
    if not phone.startswith("+"):
        return one_line(phone)[:40]
    code, _, _ = mask(phone).partition("•")
    rest = phone[len(code) :]
    groups = [rest[at : at + 3] for at in range(0, len(rest), 3)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = ["".join(groups[-2:])]
    return " ".join([code, *groups])


def _badge(overview: Overview, t: Messages) -> tuple[str, str]:
    """The kind of the badge, for its colour, and its text."""
    if overview.status == "opted_out":
        return "out", t("state.opted_out")
    if overview.waiting_since is not None:
        return "waiting", t("state.waiting")
    if overview.handler == "human":
        who = user_name(overview.handler_by, t)
        return "human", t("state.with", name=who) if who else t("state.human")
    if overview.handler == "muted":
        return "muted", t("state.muted")
    return "", ""
