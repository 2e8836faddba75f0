"""Full-text search over all messages, and for conversations; reads only.

All words must match, in one message or in one name. Case and accents don't matter (`text/search_terms.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wa_relay.ledger.engine import EngineName, Queries
from wa_relay.text.search_terms import Word, parse_query, snippet

MATCHING: Mapping[EngineName, tuple[str, ...]] = {
    "sqlite": (
        "select rowid as id from search_index where search_index match :query order by rowid desc limit :limit",
    ),
    "postgres": (
        """select message_id as id from search_index
        where message_id > :recent and words @@ cast(:query as tsquery) order by message_id desc limit :limit""",
        """select message_id as id from search_index
        where words @@ cast(:query as tsquery) order by message_id + 0 desc limit :limit""",
    ),
}
"""The ways to the newest matches; the next one is taken if one finds fewer than were asked for.

SQLite reads its index from the newest match on. PostgreSQL can read the messages from the newest on, which is fast for
frequent words, or all matches by its index (`+ 0` forbids the other way), which is fast for rare ones. Its statistics
don't know which word is rare, and it took the wrong way: 250 ms instead of 2 with a million messages.
"""

SELECT_NEWEST_INDEXED = "select indexed_to from search_progress"
SELECT_FOUND = """
    select m.id, m.direction, m.content, m.sent_at, s.id as conversation_id, s.phone_number, s.client_name
    from ({matching}) f
    join conversation_messages m on m.id = f.id join conversation_state s on s.id = m.conversation_id
    order by f.id desc"""
SELECT_CONVERSATIONS_OF_FOUND = """
    select m.conversation_id from ({matching}) f join conversation_messages m on m.id = f.id where m.id > :recent"""
"""The last condition repeats what the statements for recent messages say: PostgreSQL would read all messages."""

SELECT_NAMED: Mapping[EngineName, str] = {
    "sqlite": "select rowid from search_names where search_names match :query order by rowid desc limit :limit",
    "postgres": """
        select conversation_id from search_names where words @@ cast(:query as tsquery)
        order by conversation_id desc limit :limit""",
}
SELECT_WITH_DIGITS = """
    select distinct conversation_id from addresses where replace(address, :digits, '') <> address limit :limit"""
"""Walks through the index of addresses: 100,000 of them take 15 ms."""

MOST_CONSIDERED = 10_000
"""The newest messages that a search for conversations looks at, and the conversations that it returns at most."""

RECENT, RECENT_FACTOR = 50_000, 10
"""Messages that PostgreSQL reads from the newest on: the first figure at least, and this many for each match wanted."""

LEAST_DIGITS = 3
"""Shorter runs of digits occur in almost every number."""

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
    """Returns the newest messages that match, newest first. Empty if `text` contains no word."""
    words = parse_query(text)
    if not words:
        return []
    rows = _newest(db, SELECT_FOUND, words, limit)
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
    found |= {int(row[0]) for row in _newest(db, SELECT_CONVERSATIONS_OF_FOUND, words, MOST_CONSIDERED)}
    if customers:
        wanted = {"query": _query(db.name, words), "limit": MOST_CONSIDERED}
        found |= _ids(db.execute(SELECT_NAMED[db.name], wanted))
        digits = "".join(character for character in text if character not in PUNCTUATION)
        if digits.isascii() and digits.isdigit() and len(digits) >= LEAST_DIGITS:
            found |= _ids(db.execute(SELECT_WITH_DIGITS, {"digits": digits, "limit": MOST_CONSIDERED}))
    return found


def _newest(db: Queries, select: str, words: tuple[Word, ...], limit: int) -> list[Any]:
    """Runs a query on the newest messages that match, by the first way that finds `limit` of them, else by the last."""
    rows: list[Any] = []
    newest = db.execute(SELECT_NEWEST_INDEXED).fetchone()[0]
    for matching in MATCHING[db.name]:
        recent = newest - max(RECENT, RECENT_FACTOR * limit) if ":recent" in matching else 0
        wanted = {"query": _query(db.name, words), "limit": limit, "recent": recent}
        rows = db.execute(select.format(matching=matching), wanted).fetchall()
        if len(rows) >= limit:
            break
    return rows


def _query(name: EngineName, words: tuple[Word, ...]) -> str:
    """Writes words as the engine's query. They are letters and digits only, so none of them is an operator."""
    if name == "sqlite":
        return " AND ".join(f'"{word.text}"{"*" if word.is_prefix else ""}' for word in words)
    return " & ".join(f"'{word.text}'{':*' if word.is_prefix else ''}" for word in words)


def _ids(rows: Iterable[Any]) -> set[int]:
    return {int(row[0]) for row in rows}
