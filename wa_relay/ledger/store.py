"""The ledger itself: the open connection, the rules, and this run's epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wa_relay.basics import Moment
from wa_relay.ledger.engine import Engine, Parameters
from wa_relay.ledger.leases import LEASE

if TYPE_CHECKING:
    # Commands that only read find customers through this module; the policy's modules would slow their start.
    from wa_relay.policy import Rules

COUNT_RUN = "update relay set epoch = epoch + 1, clean_stop = false returning epoch, fence"
END_EARLIER_RUNS = "update runs set ended_at = :at where ended_at is null and lease_until <= :by"
SELECT_ALIVE_RUN = "select 1 from runs where ended_at is null limit 1"
INSERT_RUN = """
    insert into runs (id, started_at, seen_at, lease_until) values (:epoch, :at, :at, :until)"""
BEGIN_WATCH = "update relay set started_at = :now, watching = true, openings_begun = 0, watch_epoch = :epoch"
END_RUN = "update runs set ended_at = seen_at where id = :epoch and ended_at is null"
MARK_CLEAN_STOP = "update relay set clean_stop = true"
SELECT_RELAY = """
    select fence, epoch, account_sid, started_at, watching, openings_begun, watch_epoch, last_push_at, swept_to,
        clean_stop, probed_at
    from relay"""
NOTHING: Parameters = {}


@dataclass(slots=True)
class Ledger:
    """The argument of every operation on the database. `epoch` counts the daemon's starts.

    `runs` is true for a daemon's: a command works beside the run that `epoch` names. `forgotten` is the file with the
    key of forgotten customers' hashes.

    Nothing here changes while the daemon runs: what an operation changes is in the database, where a savepoint that
    is rolled back takes it along.
    """

    db: Engine
    rules: Rules
    fence: Moment = 0.0
    epoch: int = 0
    runs: bool = False
    forgotten: Path | None = None

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

    def write(self, sql: str, parameters: Parameters = NOTHING) -> None:
        """Executes a change whose result nobody reads: on a server it travels with the next statement."""
        self.db.write(sql, parameters)

    def write_one(self, sql: str, parameters: Parameters) -> None:
        """The same for a change of exactly one row. With any other number nothing is committed (`LookupError`)."""
        self.db.write(sql, parameters, rows=1)

    def insert(self, sql: str, parameters: Parameters = NOTHING) -> int:
        """Inserts a row, and returns its id."""
        return self.db.insert(sql, parameters)


def begin_run(ledger: Ledger, now: Moment) -> str:
    """Begins a run and returns the database's mark. Until `end_run`, a stop counts as unclean.

    The breaker's watch begins with the first daemon on the database.
    """
    row = ledger.need_one(COUNT_RUN)
    ledger.epoch = row["epoch"]
    ledger.fence = float(row["fence"])
    at = ledger.db.now(now)
    # A file has one daemon: what an earlier one left behind is over, whatever its lease says.
    by = at if ledger.db.is_shared else math.inf
    ledger.run(END_EARLIER_RUNS, {"at": at, "by": by})
    if ledger.one(SELECT_ALIVE_RUN) is None:
        ledger.run(BEGIN_WATCH, {"now": at, "epoch": ledger.epoch})
    ledger.run(INSERT_RUN, {"epoch": ledger.epoch, "at": at, "until": at + LEASE})
    ledger.db.hold_lease(ledger.epoch)
    ledger.runs = True
    return ledger.mark


def end_run(ledger: Ledger, *, is_checked: bool = True) -> None:
    """Ends the run. The stop is clean unless the file is still to be checked: then the next start checks it.

    The end of a command ends no run, and says nothing about the last daemon's stop.
    """
    if not ledger.runs:
        return
    ledger.run(END_RUN, {"epoch": ledger.epoch})
    if is_checked:
        ledger.run(MARK_CLEAN_STOP)
