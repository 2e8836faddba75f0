"""The conversations as a list: latest activity first, page by page; and those with a person or a request for one."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wa_relay.ledger import merging, search
from wa_relay.ledger.engine import Queries, Row
from wa_relay.model import Moment
from wa_relay.reports.attachments import ATTACHMENT_JOIN
from wa_relay.reports.conversation import (
    MESSAGE_COLUMNS,
    OVERVIEW_COLUMNS,
    SELECT_OVERVIEW,
    MessageEntry,
    Overview,
    message_entry,
    overview_of,
)
from wa_relay.reports.snapshot import snapshot

State = Literal["waiting", "human", "agent", "muted", "opted_out", "unread"]
STATES: tuple[State, ...] = get_args(State)

WHERE: dict[State | None, str] = {
    None: "true",
    "waiting": "waiting_since is not null",
    "human": "(handler = 'human' or waiting_since is not null)",
    "agent": "handler = 'agent'",
    "muted": "handler = 'muted'",
    "opted_out": "status = 'opted_out'",
    "unread": "unread > 0",
}
SELECT_PAGE = f"""
    select {OVERVIEW_COLUMNS} from conversation_state
    where id in (
        select id from conversation_state
        where {{where}} and (last_message_at < :at or (last_message_at = :at and id < :id)) and {{among}}
        order by last_message_at desc, id desc limit :limit)
    order by last_message_at desc, id desc"""
"""The page is found by ids alone, and only its rows are read whole: 20 ms instead of 53 with 100,000 conversations. An
index in this order would cost each message two changes of it."""
SELECT_AT_WORK = f"""
    select {OVERVIEW_COLUMNS} from conversation_state
    where (handler <> 'agent' or waiting_since is not null) and (handler <> 'muted' or waiting_since is not null)
    order by waiting_since nulls last, handed_at, id"""
SELECT_LAST_MESSAGE = f"""
    select {MESSAGE_COLUMNS} from conversation_messages m {ATTACHMENT_JOIN}
    where m.id = (select max(id) from conversation_messages where conversation_id = :id)"""
NEWEST = ("9999", 2**63 - 1)
"""Before every page: later than any time that is stored."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation in the list, with its newest message."""

    overview: Overview
    last_message: MessageEntry | None

    def to_json(self, now: Moment) -> dict[str, Any]:
        """The entry of `GET /api/conversations`."""
        last = None if self.last_message is None else self.last_message.to_json()
        return self.overview.to_json(now) | {"last_message": last}


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the list. `following` continues it, None at its end."""

    conversations: tuple[Listed, ...]
    following: str | None

    def to_json(self, now: Moment) -> dict[str, Any]:
        """The object of `GET /api/conversations`."""
        return {"conversations": [listed.to_json(now) for listed in self.conversations], "next": self.following}


class WrongPlace(ValueError):
    """A place in the list that no page has given."""


def page(
    db: Queries,
    *,
    state: State | None,
    limit: int,
    before: str | None,
    text: str | None = None,
    customers: bool = False,
) -> ListPage:
    """Reads one page. `before` is the `following` of another page; raises `WrongPlace` for any other text.

    `text` restricts the list to conversations with a message that matches; with `customers` also those whose customer's
    name or number does.
    """
    among = None if text is None else search.find_conversations(db, text, customers=customers)
    at, last_id = NEWEST if before is None else _place(before)
    chosen = "true" if among is None else f"id in ({', '.join(map(str, among)) or 'null'})"
    sql = SELECT_PAGE.format(where=WHERE[state], among=chosen)
    with snapshot(db):
        rows = db.execute(sql, {"at": at, "id": last_id, "limit": limit + 1}).fetchall()
        listed = tuple(_listed(db, row) for row in rows[:limit])
    last = listed[-1].overview if len(rows) > limit else None
    return ListPage(listed, None if last is None else _written(last.last_message_at, last.id))


def one(db: Queries, conversation_id: int) -> Listed:
    """Reads one conversation as the list shows it; raises `LookupError` for an unknown one.

    A merged one is found by its old id: it may be merged between an operator's change and this read.
    """
    with snapshot(db):
        row = db.execute(SELECT_OVERVIEW, {"id": conversation_id}).fetchone()
        older = merging.merged_into(db, conversation_id) if row is None else None
        if older is not None:
            row = db.execute(SELECT_OVERVIEW, {"id": older}).fetchone()
        if row is None:
            raise LookupError(f"no conversation {conversation_id}")
        return _listed(db, row)


def at_work(db: Queries) -> list[Listed]:
    """Lists the conversations in which a person is requested (the longest wait first), then those a person has."""
    with snapshot(db):
        return [_listed(db, row) for row in db.execute(SELECT_AT_WORK).fetchall()]


def _listed(db: Queries, row: Row) -> Listed:
    last = db.execute(SELECT_LAST_MESSAGE, {"id": row["id"]}).fetchone()
    return Listed(overview_of(db, row), None if last is None else message_entry(last))


def _written(at: str, conversation_id: int) -> str:
    return base64.urlsafe_b64encode(f"{at} {conversation_id}".encode()).decode().rstrip("=")


def _place(before: str) -> tuple[str, int]:
    try:
        padded = before.encode("ascii") + b"=" * (-len(before) % 4)
        at, _, number = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition(" ")
        if len(number) > 18 or not number.isdigit() or len(at) > 40:
            raise WrongPlace(before)
        return at, int(number)
    except (UnicodeError, binascii.Error, ValueError):
        raise WrongPlace(before) from None
