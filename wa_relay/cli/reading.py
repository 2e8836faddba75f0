"""The one way in which commands open the database for reading."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from wa_relay.ledger.engine import Queries
from wa_relay.ledger.file import fault_of, open_for_reading


@contextmanager
def reading(path: Path) -> Iterator[Queries]:
    """Opens the database read-only and closes it; raises a `DatabaseFault` for any error of SQLite meanwhile."""
    with closing(open_for_reading(path)) as db:
        try:
            yield db
        except sqlite3.Error as error:
            raise fault_of(error, path) from error
