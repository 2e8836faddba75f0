"""One moment of the database for all the queries of a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wa_relay.ledger.engine import Queries


@contextmanager
def snapshot(db: Queries) -> Iterator[None]:
    """Keeps one state of the database for several queries: a message that comes between two of them is in neither."""
    db.begin_snapshot()
    try:
        yield
    finally:
        db.rollback()


TRIES = 20
"""How often two connections try to begin at the same moment: a busy daemon may commit between them."""


@contextmanager
def snapshots(db: Queries, beside: Queries | None) -> Iterator[Queries | None]:
    """Keeps one state for two connections, so that they can share a report; yields the second one.

    Yields None if there is no second one, or if others commit so often that the two do not meet: then `db` alone
    has a state.
    """
    together = beside is not None and any(_begin_together(db, beside) for _ in range(TRIES))
    if not together:
        db.begin_snapshot()
    try:
        yield beside if together else None
    finally:
        db.rollback()
        if beside is not None and together:
            beside.rollback()


def _begin_together(db: Queries, beside: Queries) -> bool:
    """Begins both; true if nobody committed meanwhile, so that they see the same. Otherwise ends both."""
    before = beside.version()
    # Both begin with a read: `begin` alone takes no snapshot.
    db.begin_snapshot()
    db.version()
    beside.begin_snapshot()
    if beside.version() == before:
        return True
    beside.rollback()
    db.rollback()
    return False
