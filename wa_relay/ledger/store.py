"""The ledger itself: the open connection, the rules it decides by, and this run's epoch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wa_relay.model import Moment

if TYPE_CHECKING:
    # Commands that only read come here to find a customer; the policy's modules would slow their start.
    from wa_relay.policy import Rules

BEGIN_RUN = """
    update relay set epoch = epoch + 1, clean_stop = 0, started_at = :now, watching = 1, openings_begun = 0
    returning epoch, fence"""
END_RUN = "update relay set clean_stop = 1"
SELECT_RELAY = "select * from relay"


@dataclass(slots=True)
class Ledger:
    """What every operation on the database is given. `epoch` counts the daemon's starts.

    Nothing here changes while the daemon runs: what an operation changes is in the database, where a savepoint that
    is rolled back takes it along.
    """

    db: sqlite3.Connection
    rules: Rules
    fence: Moment = 0.0
    epoch: int = 0

    @property
    def mark(self) -> str:
        """Distinguishes this file from others, whose ids begin at 1 too: the millisecond in which it was made."""
        return format(int(self.fence * 1000.0), "x")

    def one(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, None without one."""
        row: sqlite3.Row | None = self.db.execute(sql, parameters).fetchone()  # type: ignore[arg-type]
        return row

    def need_one(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> sqlite3.Row:
        """The first row of a query that always has one; raises `LookupError` without one."""
        row = self.one(sql, parameters)
        if row is None:
            raise LookupError(f"no row: {' '.join(sql.split())[:120]}")
        return row

    def all(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> list[sqlite3.Row]:
        """Every row of a query."""
        return self.db.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def run(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> int:
        """Executes a change and returns how many rows it changed."""
        return self.db.execute(sql, parameters).rowcount  # type: ignore[arg-type]

    def insert(self, sql: str, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> int:
        """Inserts a row with `returning id`, and returns that id."""
        cursor = self.db.execute(sql, parameters)  # type: ignore[arg-type]
        row = cursor.fetchone()
        found = cursor.lastrowid if row is None else row[0]
        if found is None:
            raise LookupError(f"no row was inserted: {' '.join(sql.split())[:120]}")
        return int(found)


def begin_run(ledger: Ledger, now: Moment) -> str:
    """Begins a new epoch and returns the file's mark. Until `end_run`, a stop counts as unclean."""
    row = ledger.need_one(BEGIN_RUN, {"now": now})
    ledger.epoch = row["epoch"]
    ledger.fence = float(row["fence"])
    return ledger.mark


def end_run(ledger: Ledger) -> None:
    """Marks the stop as clean, and brings the log into the main file."""
    ledger.run(END_RUN)
