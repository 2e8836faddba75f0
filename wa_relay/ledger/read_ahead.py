"""What several operations in a row read first, read for all of them: in one round trip to a server, and on a file so
that their changes can be made together (`deferred_changes`).

An operation names the query that it begins with (`reads_ahead`). The writer's thread reads for those of a kind that
stand next to each other in a group (`read_ahead`). An operation changes only what belongs to its customer, so what was
read for the others stays true: it serves until the same customer comes again, one who is not known yet, or an
operation of another kind. What may reach another customer in spite of that drops it (`merging.learn_address`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from wa_relay.ledger.engine import Query
from wa_relay.ledger.store import Ledger

Operation = TypeVar("Operation", bound=Callable[..., Any])


class First(NamedTuple):
    """The first query of an operation, by its arguments; None if it begins otherwise.

    It has no aggregate function of its own: those of several operations may be asked as one (`combined_queries`).
    No two operations that are read ahead together share the conversation, which is in column `customer` ("" for a query
    without one), or one of their `names`.
    """

    query: Callable[..., Query | None]
    customer: str
    names: Callable[..., Collection[str]]


_FIRST: dict[Callable[..., Any], First] = {}


def _no_names(*_arguments: Any) -> Collection[str]:
    return ()


def reads_ahead(
    query: Callable[..., Query | None],
    customer: str = "conversation_id",
    names: Callable[..., Collection[str]] = _no_names,
) -> Callable[[Operation], Operation]:
    """Names the query that an operation begins with; its column `customer` has the conversation.

    `names` returns what else shows that two operations depend on each other: an address, a key, a SID.
    """

    def note(operation: Operation) -> Operation:
        _FIRST[operation] = First(query, customer, names)
        return operation

    return note


def begins_with_query(operation: Callable[..., Any]) -> bool:
    """True for an operation for which can be read ahead."""
    return operation in _FIRST


def read_ahead(ledger: Ledger, operation: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> int:
    """Reads for several calls of an operation. Returns for how many of them that holds, at least one."""
    first, queries, seen = _FIRST[operation], list[Query](), set[Any]()
    for each in arguments:
        names = first.names(*each)
        if (query := first.query(*each)) is None or not seen.isdisjoint(names):
            break
        seen.update(names)
        queries.append(query)
    if len(queries) < 2:
        return 1
    for number, rows in enumerate(ledger.db.read_ahead(queries, independent=True)):
        if not rows:
            return number + 1
        if not first.customer:
            continue
        if rows[0][first.customer] in seen:
            return number
        seen.add(rows[0][first.customer])
    return len(queries)
