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
