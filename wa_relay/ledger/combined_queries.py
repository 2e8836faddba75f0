"""The queries of several operations, asked by one statement on a file.

A customer's message begins with a query that looks into eight tables. One statement for 32 messages takes 0.4 of the
time. On PostgreSQL the queries share a round trip instead (`prepared_statements`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from wa_relay.ledger.engine import Query
from wa_relay.ledger.parameter_sets import column_of, rounded, table, values

_TOKENS = re.compile(r"'(?:[^']|'')*'|[()]|:([a-z_]\w*)|\b(from|where|group|order|limit|union)\b")


def combine(queries: Sequence[Query]) -> Query | None:
    """Combines queries of one SQL text; the last column of a row is the place of its query, from 0 on.

    Places behind the last query are to be ignored. Returns None if it can't tell that the rows would be the same. A
    query must have no aggregate function of its own.
    """
    sql = queries[0][0]
    rows = [parameters for each, parameters in queries if isinstance(parameters, dict) and each == sql]
    text = _text_for(sql, rounded(len(queries)))
    if text is None or len(rows) < len(queries):
        return None
    combined, names = text
    return combined, values(names, rows)


@lru_cache(maxsize=64)
def _text_for(sql: str, sets: int) -> tuple[str, tuple[str, ...]] | None:
    """Returns the SQL for several sets of parameters, and the names of one set in order."""
    depth, words, names = 0, list[str](), dict[str, int]()

    def put(token: re.Match[str]) -> str:
        nonlocal depth
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[1] is not None:
            return column_of(token[1], names)
        if token[2] is not None and depth == 0:
            words.append(token[2])
            if words == ["from"]:
                # A cross join: SQLite takes the sets one by one and looks each up by the indexes.
                return ", given.column1 as place from {given} cross join"
        return token[0]

    text = _TOKENS.sub(put, sql)
    if words not in (["from"], ["from", "where"]):
        return None
    return text.replace("{given}", table(names, sets), 1), tuple(names)
