"""Full-text search over all messages, and for conversations; reads only.

All words must match, in one message or in one name. Case and accents don't matter (`text/searching.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger.engine import EngineName, Queries
from wa_relay.text.searching import Word, parse_query, snippet

MATCHING: Mapping[EngineName, str] = {
    "sqlite": """
        select rowid as id from search_index where search_index match :query order by rowid desc limit :limit""",
    "postgres": """
        select message_id as id from search_index where words @@ cast(:query as tsquery)
        order by message_id desc limit :limit""",
}
SELECT_FOUND = """
    select m.id, m.direction, m.content, m.sent_at, s.id as conversation_id, s.phone_number, s.client_name
    from ({matching}) f
    join conversation_messages m on m.id = f.id join conversation_state s on s.id = m.conversation_id
    order by f.id desc"""
SELECT_CONVERSATIONS_OF_FOUND = """
    select distinct m.conversation_id from ({matching}) f join conversation_messages m on m.id = f.id"""
SELECT_NAMED: Mapping[EngineName, str] = {
    "sqlite": "select rowid from search_names where search_names match :query order by rowid desc limit :limit",
    "postgres": """
        select conversation_id from search_names where words @@ cast(:query as tsquery)
        order by conversation_id desc limit :limit""",
}
SELECT_WITH_DIGITS = """
    select distinct conversation_id from addresses where replace(address, :digits, '') <> address limit :limit"""
"""Walks through the index of addresses: 100,000 of them take 15 ms."""

MOST_CONSIDERED = 20_000
"""The newest messages that a search for conversations looks at, and the conversations that it returns at most."""

LEAST_DIGITS = 3
"""Fewer digits are in almost every number."""

PUNCTUATION = frozenset(" +()-.")


@dataclass(frozen=True, slots=True)
class Found:
    """A message that matches. `sent_at` is RFC 3339, None for one that has not gone out."""

    message_id: int
    conversation_id: int
    phone: str
    client_name: str | None
    direction: str
    sent_at: str | None
    snippet: str

    def to_json(self) -> dict[str, Any]:
        """The entry of `wa-relay search --json`."""
        return {
            "phone_number": self.phone,
            "client_name": self.client_name,
            "message_id": self.message_id,
            "direction": self.direction,
            "sent_at": self.sent_at,
            "snippet": self.snippet,
        }


def find(db: Queries, text: str, limit: int) -> list[Found]:
    """The newest messages that match, newest first. Nothing if there is no word in `text`."""
    words = parse_query(text)
    if not words:
        return []
    sql = SELECT_FOUND.format(matching=MATCHING[db.name])
    rows = db.execute(sql, {"query": _query(db.name, words), "limit": limit}).fetchall()
    return [
        Found(
            row["id"],
            row["conversation_id"],
            row["phone_number"],
            row["client_name"],
            row["direction"],
            row["sent_at"],
            snippet(row["content"], words),
        )
        for row in rows
    ]


def find_conversations(db: Queries, text: str, *, customers: bool = False) -> set[int]:
    """The conversations with a message that matches, among the newest `MOST_CONSIDERED` that do.

    With `customers` also those whose customer has that name, or those digits in the number.
    """
    words, found = parse_query(text), set[int]()
    if not words:
        return found
    wanted = {"query": _query(db.name, words), "limit": MOST_CONSIDERED}
    found |= _ids(db.execute(SELECT_CONVERSATIONS_OF_FOUND.format(matching=MATCHING[db.name]), wanted))
    if customers:
        found |= _ids(db.execute(SELECT_NAMED[db.name], wanted))
        digits = "".join(character for character in text if character not in PUNCTUATION)
        if digits.isascii() and digits.isdigit() and len(digits) >= LEAST_DIGITS:
            found |= _ids(db.execute(SELECT_WITH_DIGITS, {"digits": digits, "limit": MOST_CONSIDERED}))
    return found


def _query(name: EngineName, words: tuple[Word, ...]) -> str:
    """Writes words for the engine. They are letters and digits only, so nothing in them is an operator."""
    if name == "sqlite":
        return " AND ".join(f'"{word.text}"{"*" if word.is_prefix else ""}' for word in words)
    return " & ".join(f"'{word.text}'{':*' if word.is_prefix else ''}" for word in words)


def _ids(rows: Iterable[Any]) -> set[int]:
    return {int(row[0]) for row in rows}
