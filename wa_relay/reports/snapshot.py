"""One moment of the database for all the queries of a report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wa_relay.ledger.engine import Queries


@contextmanager
def snapshot(db: Queries) -> Iterator[None]:
    """Holds the database as it is: a message that comes between two queries is in none of them."""
    db.begin_snapshot()
    try:
        yield
    finally:
        db.rollback()
