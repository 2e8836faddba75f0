"""The checks of a PostgreSQL server for `doctor`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from wa_relay.ledger.engine import Queries
from wa_relay.ledger.postgres import PostgresEngine

SELECT_SERVER = "select current_setting('server_version') as version, pg_backend_pid() as pid"
SELECT_STANDBYS = "select application_name, sync_state from pg_stat_replication order by application_name"
SELECT_OWNER = "select account_sid from relay"
SELECT_LIVE_SETTINGS = """
    select host, pid, settings from runs
    where ended_at is null and lease_until > extract(epoch from clock_timestamp()) order by id"""


@dataclass(frozen=True, slots=True)
class Standby:
    """A server that follows. `sync_state` is PostgreSQL's word, None where this role may not see it."""

    name: str
    sync_state: str | None


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """The shared settings (JSON) with which a daemon runs."""

    host: str
    pid: int
    settings: str


def version_of(db: Queries) -> str:
    """The server's version."""
    return str(db.execute(SELECT_SERVER, {}).fetchone()["version"])


def owner_of(db: Queries) -> str:
    """The Twilio account whose messages the database holds; empty before the first start."""
    return str(db.execute(SELECT_OWNER, {}).fetchone()["account_sid"] or "")


def list_standbys(db: Queries) -> list[Standby]:
    """The servers that follow this one."""
    rows = db.execute(SELECT_STANDBYS, {}).fetchall()
    return [Standby(str(row["application_name"] or "a standby"), row["sync_state"]) for row in rows]


def live_settings(db: Queries) -> list[LiveSettings]:
    """Returns the settings of each daemon."""
    rows = db.execute(SELECT_LIVE_SETTINGS, {}).fetchall()
    return [LiveSettings(str(row["host"]), int(row["pid"]), str(row["settings"])) for row in rows if row["settings"]]


def shares_sessions(url: str) -> bool:
    """True behind a pooler that gives one session of the server to several clients (pgbouncer's transaction mode).

    Two connections that are open at once have separate sessions everywhere else.
    """
    with closing(PostgresEngine(url)) as one, closing(PostgresEngine(url)) as other:
        pids = {int(each.execute(SELECT_SERVER, {}).fetchone()["pid"]) for each in (one, other)}
    return len(pids) == 1
