"""The ledger itself: the open connection, the rules it decides by, and this run's epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wa_relay.ledger.engine import Engine, Parameters
from wa_relay.model import Moment

if TYPE_CHECKING:
    # Commands that only read come here to find a customer; the policy's modules would slow their start.
    from wa_relay.policy import Rules

BEGIN_RUN = """
    update relay set epoch = epoch + 1, clean_stop = false, started_at = :now, watching = true, openings_begun = 0
    returning epoch, fence"""
END_RUN = "update relay set clean_stop = true"
SELECT_RELAY = """
    select fence, epoch, account_sid, started_at, watching, openings_begun, last_push_at, swept_to, clean_stop,
        probed_at
    from relay"""
NOTHING: Parameters = {}


@dataclass(slots=True)
class Ledger:
    """What every operation on the database is given. `epoch` counts the daemon's starts.

    Nothing here changes while the daemon runs: what an operation changes is in the database, where a savepoint that
    is rolled back takes it along.
    """

    db: Engine
    rules: Rules
    fence: Moment = 0.0
    epoch: int = 0

    @property
    def mark(self) -> str:
        """Distinguishes this file from others, whose ids begin at 1 too: the millisecond in which it was made."""
        return format(int(self.fence * 1000.0), "x")

    def one(self, sql: str, parameters: Parameters = NOTHING) -> Any:
        """The first row of a query, None without one."""
        return self.db.execute(sql, parameters).fetchone()

    def need_one(self, sql: str, parameters: Parameters = NOTHING) -> Any:
        """The first row of a query that always has one; raises `LookupError` without one."""
        row = self.one(sql, parameters)
        if row is None:
            raise LookupError(f"no row: {' '.join(sql.split())[:120]}")
        return row

    def all(self, sql: str, parameters: Parameters = NOTHING) -> list[Any]:
        """Every row of a query."""
        return self.db.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Parameters = NOTHING) -> int:
        """Executes a change and returns how many rows it changed."""
        return self.db.execute(sql, parameters).rowcount

    def insert(self, sql: str, parameters: Parameters = NOTHING) -> int:
        """Inserts a row, and returns its id."""
        return self.db.insert(sql, parameters)


def begin_run(ledger: Ledger, now: Moment) -> str:
    """Begins a new epoch and returns the file's mark. Until `end_run`, a stop counts as unclean."""
    row = ledger.need_one(BEGIN_RUN, {"now": now})
    ledger.epoch = row["epoch"]
    ledger.fence = float(row["fence"])
    return ledger.mark


def end_run(ledger: Ledger) -> None:
    """Marks the stop as clean, and brings the log into the main file."""
    ledger.run(END_RUN)
