"""Changes of several operations, made by one statement each on a file.

Every statement has fixed costs: a message's row opens each index of its table, and the thread gives the interpreter
away and takes it back. Operations that stand next to each other in a group, and change nothing of each other
(`read_ahead`), leave their changes here until somebody reads them or the transaction ends. Those with the same changes
then share each statement: 32 operations take 0.75 of the time, 8 take 0.9. On PostgreSQL they share a round trip
instead (`prepared_statements`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from wa_relay.ledger.engine import Parameters

MOST_ROWS = 32
"""Rows of a statement at most. Each number of rows is another text to prepare, so only powers of two are used."""

_INSERT = re.compile(r"(?!.*\bon conflict\b)(\s*insert into \w+\s*\([^()]*\)\s*values\s*)(\(.*\))\s*\Z", re.DOTALL)
_UPDATE = re.compile(r"(\s*update \w+ set .*\S)\s+where id = :(\w+)\s*\Z", re.DOTALL)
_TOKENS = re.compile(r"'(?:[^']|'')*'|:([a-z_]\w*)")


class Change(NamedTuple):
    """A statement with its parameters. `rows` is the number of rows that it must change, None if any will do."""

    sql: str
    parameters: Parameters
    rows: int | None = None


class Several(NamedTuple):
    """A statement that makes several changes, with its parameters."""

    sql: str
    parameters: Parameters
    changes: int


class DeferredChanges:
    """The changes that wait, in the order of their operations."""

    def __init__(self) -> None:
        self._operations: list[list[Change]] = []

    def begin_operation(self) -> None:
        """Begins a further operation: what follows changes nothing of the earlier ones."""
        self._operations.append([])

    def add(self, change: Change) -> None:
        """Adds a change to the last operation."""
        self._operations[-1].append(change)

    @property
    def has_changes(self) -> bool:
        """True if the last operation has left a change."""
        return bool(self._operations and self._operations[-1])

    def clear(self) -> None:
        """Forgets all: their transaction is undone."""
        self._operations.clear()

    def take(self) -> list[list[Change]]:
        """Returns and forgets all changes, in lists that share one SQL text. The order within an operation stays.

        The last operation may go on.
        """
        operations, self._operations = self._operations, [[]]
        runs = groupby(operations, key=lambda changes: [(change.sql, change.rows) for change in changes])
        return [list(changes) for _, run in runs for changes in zip(*run, strict=True)]


def combined(changes: Sequence[Change]) -> list[Several] | None:
    """Combines changes that share one SQL text into few statements. Returns None if that might change their effect.

    It combines `insert … values` without a conflict clause, and updates by id, if each is of another row.
    """
    sql = changes[0].sql
    rows = [change.parameters for change in changes if isinstance(change.parameters, dict)]
    if len(rows) < len(changes):
        return None
    if not _INSERT.match(sql):
        update = _UPDATE.match(sql)
        if update is None or len({row[update[2]] for row in rows}) < len(rows):
            return None
    made = list[Several]()
    while rows:
        count = min(1 << len(rows).bit_length() - 1, MOST_ROWS)
        text, names = _text_for(sql, count)
        made.append(Several(text, [row[name] for row in rows[:count] for name in names], count))
        del rows[:count]
    return made


@lru_cache(maxsize=256)
def _text_for(sql: str, count: int) -> tuple[str, tuple[str, ...]]:
    """Returns the SQL for `count` changes, with positional marks, and the names of one change's parameters in order."""
    insert = _INSERT.match(sql)
    if insert is not None:
        names = list[str]()

        def mark(token: re.Match[str]) -> str:
            if token[1] is None:
                return token[0]
            names.append(token[1])
            return "?"

        row = _TOKENS.sub(mark, insert[2])
        return insert[1] + ", ".join([row] * count), tuple(names)
    update = _UPDATE.match(sql)
    assert update is not None
    places = dict[str, int]()

    def column(token: re.Match[str]) -> str:
        return token[0] if token[1] is None else f"given.column{places.setdefault(token[1], len(places) + 1)}"

    change = _TOKENS.sub(column, update[1])
    key = places.setdefault(update[2], len(places) + 1)
    given = ", ".join(["(" + ", ".join("?" * len(places)) + ")"] * count)
    return f"{change} from (values {given}) as given where id = given.column{key}", tuple(places)
