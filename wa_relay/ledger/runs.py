"""Runs: each start of a daemon is one. A lease says that its daemon lives.

On PostgreSQL several daemons run at once. Each renews its lease every 2 s, by the database's clock, and has lost it
10 s after the last renewal, whatever connections it still holds. Another daemon then ends the run and takes over what
was being sent and asked. A run that has ended changes nothing more: `PostgresEngine.begin` refuses it.

One run is the leader until it ends: it polls, sweeps, looks up and keeps the schedules.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from wa_relay import __version__
from wa_relay.ledger import media, send_results, turns
from wa_relay.ledger.engine import Queries, Row
from wa_relay.ledger.leases import LEASE, SEEN_WITHIN
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment
from wa_relay.moments import stamp

RENEW_RUN = "update runs set seen_at = :at, lease_until = :until where id = :epoch and ended_at is null"
END_LOST_RUNS = "update runs set ended_at = :at where ended_at is null and lease_until <= :at and id <> :epoch"
TAKE_LEAD = """
    update relay set leader = :epoch
    where not exists (select 1 from runs where runs.id = relay.leader and ended_at is null)"""
SELECT_DAEMONS = """
    select runs.id, host, pid, version, runs.started_at, seen_at, runs.id = relay.leader as leader
    from runs cross join relay where ended_at is null and seen_at > :since order by runs.id"""
DESCRIBE_RUN = "update runs set host = :host, pid = :pid, version = :version, settings = :settings where id = :epoch"
SELECT_OTHER_SETTINGS = """
    select settings from runs
    where ended_at is null and lease_until > :at and id <> :epoch and settings <> '{}' order by id limit 1"""


@dataclass(frozen=True, slots=True)
class Alive:
    """A daemon that runs on the database."""

    run: int
    host: str
    pid: int
    version: str
    since: Moment
    last_seen_at: Moment
    leader: bool

    def to_json(self) -> dict[str, Any]:
        """The entry of `daemons` in `/health` and in `wa-relay database info --json`."""
        return {
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "since": stamp(self.since),
            "last_seen_at": stamp(self.last_seen_at),
            "leader": self.leader,
        }


@dataclass(frozen=True, slots=True)
class Renewed:
    """The result of a renewal. `at` is the database's time; `sends` and `turns` were taken over from lost runs."""

    at: Moment
    leads: bool
    daemons: tuple[Alive, ...]
    lost: int = 0
    sends: int = 0
    turns: int = 0


def describe_run(ledger: Ledger, settings: str) -> str | None:
    """Notes who runs. Returns the settings (JSON) of a daemon that runs already, None without one."""
    described = {"host": os.uname().nodename, "pid": os.getpid(), "version": __version__, "settings": settings}
    ledger.run(DESCRIBE_RUN, described | {"epoch": ledger.epoch})
    row = ledger.one(SELECT_OTHER_SETTINGS, {"at": ledger.db.now(0.0), "epoch": ledger.epoch})
    return None if row is None else str(row["settings"])


def renew(ledger: Ledger, now: Moment) -> Renewed:
    """Renews the lease, takes over the work of lost runs, and takes the lead if it is free."""
    at = ledger.db.now(now)
    ledger.run(RENEW_RUN, {"at": at, "until": at + LEASE, "epoch": ledger.epoch})
    # Only runs whose lease is over: what a living daemon has in flight must never become uncertain here.
    lost = ledger.run(END_LOST_RUNS, {"at": at, "epoch": ledger.epoch})
    rescued = (send_results.rescue_sends(ledger, now), turns.rescue_turns(ledger, now)) if lost else (0, 0)
    if lost:
        media.rescue_media(ledger, now)
    # After the lost runs have ended, so that their lead is free in the same transaction.
    ledger.run(TAKE_LEAD, {"epoch": ledger.epoch})
    daemons = daemons_alive(ledger, now)
    leads = any(daemon.leader and daemon.run == ledger.epoch for daemon in daemons)
    return Renewed(at, leads, daemons, lost, *rescued)


def daemons_alive(ledger: Ledger, now: Moment) -> tuple[Alive, ...]:
    """The daemons that were seen in the last 15 s, by the database's clock."""
    return read_daemons(ledger.db, ledger.db.now(now) - SEEN_WITHIN)


def read_daemons(db: Queries, since: Moment) -> tuple[Alive, ...]:
    """The daemons that were seen since a moment; reads only."""
    return tuple(_alive(row) for row in db.execute(SELECT_DAEMONS, {"since": since}))


def is_anybody_alive(db: Queries, now: Moment) -> bool:
    """True if a daemon was seen in the last 15 s; reads only."""
    return db.execute(SELECT_DAEMONS, {"since": db.now(now) - SEEN_WITHIN}).fetchone() is not None


def _alive(row: Row) -> Alive:
    return Alive(
        run=row["id"],
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
        since=row["started_at"],
        last_seen_at=row["seen_at"],
        leader=bool(row["leader"]),
    )
