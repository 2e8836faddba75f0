"""Ids that a writer knows before their rows are stored: such an insert waits for no answer of a server, and may be made
together with others on a file.

The writer reads which ids come next, at the beginning of a transaction on a server and for each row of operations on a
file (`read_ahead`). It holds the lock of all writers, so no other transaction takes an id before this one ends. It
gives the next ones itself, in the order of the inserts. On a server it brings the sequence up to date with the last of
them. If something else took one after all, the primary key refuses the insert, the group is undone, and it runs again
with ids that the database gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from wa_relay.ledger.engine import EngineName

TABLES = ("turns", "conversation_messages", "calls", "conversation_state")
"""What a customer's message, its answer and a reported call insert. Their children name the new id in the same
transaction."""

_NEXT: Mapping[EngineName, Mapping[str, str]] = {
    "sqlite": {table: f"coalesce(max(id), 0) + 1 from {table}" for table in TABLES}
    | {"conversation_state": "coalesce(max(seq), 0) + 1 from sqlite_sequence where name = 'conversation_state'"},
    "postgres": {table: f"last_value + case when is_called then 1 else 0 end from {table}_id_seq" for table in TABLES},
}
SELECT_NEXT_IDS: Mapping[EngineName, str] = {
    engine: "select " + ", ".join(f"(select {following[table]})" for table in TABLES)
    for engine, following in _NEXT.items()
}
NOTE_LAST_ID = {table: f"select setval('{table}_id_seq', cast(:last as bigint))" for table in TABLES}

_INSERT = re.compile(r"\s*insert into (\w+)\s*\((.*?)\)(\s*)(values\s*\(|select\b)", re.DOTALL)


class ForetoldIds:
    """The ids of one transaction."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._unnoted: set[str] = set()

    def begin(self, following: Sequence[int]) -> None:
        """Notes the next id of each of `TABLES`."""
        self._next = dict(zip(TABLES, following, strict=True))
        self._unnoted.clear()

    def forget(self) -> None:
        """Knows no id any more: the transaction is over."""
        self._next.clear()
        self._unnoted.clear()

    def take(self, table: str) -> int | None:
        """The id of the next row of a table; None if the server has to give it."""
        taken = self._next.get(table)
        if taken is not None:
            self._next[table] = taken + 1
            self._unnoted.add(table)
        return taken

    def notes(self) -> list[tuple[str, int]]:
        """The statements that bring the sequences up to date, each with the last id that was taken."""
        noted = [(NOTE_LAST_ID[table], self._next[table] - 1) for table in sorted(self._unnoted)]
        self._unnoted.clear()
        return noted

    def stop(self, table: str) -> None:
        """Takes no more ids of a table: the server gives one now, and may give none where a row conflicts."""
        self._next.pop(table, None)


@lru_cache(maxsize=1024)
def table_of_insert(sql: str) -> str | None:
    """The table of `TABLES` that a statement inserts into, None for every other statement."""
    found = _INSERT.match(sql)
    return found[1] if found and found[1] in TABLES else None


@lru_cache(maxsize=64)
def with_id(sql: str) -> str | None:
    """An insert that is given its row's id as `:foretold_id`; None for one that may insert no row."""
    found = _INSERT.match(sql)
    if found is None or "on conflict" in sql or "select" in found[4] or "returning" in sql:
        return None
    columns, space, values = found[2], found[3], found[4]
    head = f"insert into {found[1]} (id, {columns}){space}{values}cast(:foretold_id as bigint), "
    return head + sql[found.end() :]
