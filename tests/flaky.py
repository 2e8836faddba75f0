"""A database that fails when a test wants it to."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from wa_relay.ledger import file
from wa_relay.ledger.sqlite import SqliteEngine, add_functions


class Flaky(SqliteEngine):
    """A connection whose next statements of the named kinds fail once each."""

    failing: list[str]

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Runs a statement, or fails."""
        if sql in self.failing:
            self.failing.remove(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


def flaky(path: Path, *failing: str, now: float) -> Flaky:
    """Makes a database and opens it so."""
    file.open_for_writing(path, account_sid="AC1", now=now).connection.close()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Flaky)
    connection.row_factory, connection.failing = sqlite3.Row, list(failing)
    add_functions(connection)
    return connection
