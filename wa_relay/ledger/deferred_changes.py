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
from wa_relay.ledger.parameter_sets import MOST_SETS, column_of, rounded, table, values

_FLAT = r"(?:'(?:[^']|'')*'|[^()'])"
_NESTED = rf"(?:{_FLAT}|\((?:{_FLAT}|\({_FLAT}*\))*\))*"
_INSERT = re.compile(
    rf"(?!.*\bon conflict\b)(\s*insert into \w+\s*\([^()]*\))\s*values\s*\(({_NESTED})\)\s*\Z", re.DOTALL
)
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
    kind = _kind_of(sql)
    if kind is None or len(rows) < len(changes):
        return None
    if kind.key and len({row[kind.key] for row in rows}) < len(rows):
        return None
    made = list[Several]()
    for first in range(0, len(rows), MOST_SETS):
        some = rows[first : first + MOST_SETS]
        text, names = _text_for(kind, rounded(len(some)))
        made.append(Several(text, [*values(names, some), len(some)], len(some)))
    return made


class _Kind(NamedTuple):
    """What a change does, without its values or its row. `key` is the parameter of an update with the row's id."""

    head: str
    body: str
    key: str = ""


@lru_cache(maxsize=256)
def _kind_of(sql: str) -> _Kind | None:
    """The kind of a change that can be combined with others."""
    if insert := _INSERT.match(sql):
        return _Kind(f"{insert[1]} select ", insert[2])
    update = _UPDATE.match(sql)
    return None if update is None else _Kind("", update[1], update[2])


@lru_cache(maxsize=256)
def _text_for(kind: _Kind, sets: int) -> tuple[str, tuple[str, ...]]:
    """Returns the SQL for several changes, and the names of one change's parameters in order.

    The last mark of the SQL is for the number of changes.
    """
    names = dict[str, int]()

    def put(token: re.Match[str]) -> str:
        return token[0] if token[1] is None else column_of(token[1], names)

    change = kind.head + _TOKENS.sub(put, kind.body)
    row = f"id = {column_of(kind.key, names)} and " if kind.key else ""
    return f"{change} from {table(names, sets)} where {row}given.column1 < ?", tuple(names)
