"""Several sets of parameters as one table of a statement on a file: `given`, with the place of a set in `column1`.

Each number of sets is another text to prepare, so a table has a multiple of `SETS`. Those behind the last one are
nulls, and their places must be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

SETS = 8
"""The number of sets of a table is a multiple of this."""

MOST_SETS = 32
"""Sets of a statement at most."""


def rounded(sets: int) -> int:
    """The number of sets that a table has for this many."""
    return -(-sets // SETS) * SETS


def column_of(name: str, names: dict[str, int]) -> str:
    """The column of a parameter; `names` gets a name that it does not have yet."""
    return f"given.column{names.setdefault(name, len(names) + 2)}"


def table(names: Collection[str], sets: int) -> str:
    """The table in SQL, with a positional mark for each value."""
    marks = ", ?" * len(names)
    return f"(values {', '.join(f'({place}{marks})' for place in range(sets))}) as given"


def values(names: Collection[str], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The values of the table's marks, in order."""
    found = [row[name] for row in rows for name in names]
    return found + [None] * (len(names) * (rounded(len(rows)) - len(rows)))
