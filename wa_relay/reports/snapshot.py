"""One moment of the database for all the queries of a report."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Holds the database as it is: a message that comes between two queries is in none of them."""
    db.execute("begin")
    try:
        yield
    finally:
        db.execute("rollback")
