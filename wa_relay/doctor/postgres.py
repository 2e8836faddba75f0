"""The database on a PostgreSQL server: reachable, of this account, and run in a way that loses nothing."""

from __future__ import annotations

from contextlib import closing
from types import ModuleType

from wa_relay.config import Config
from wa_relay.doctor.check import Check, skipped, split_message
from wa_relay.doctor.database import DATABASE
from wa_relay.ledger.copying import list_daemons
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.faults import DatabaseFault, DatabaseMissing
from wa_relay.ledger.location import Location
from wa_relay.loops.lease import SettingsDiffer, compare_settings, settings_of
from wa_relay.text.escaping import one_line

POOLER, STANDBYS, SETTINGS = "PostgreSQL pooler", "PostgreSQL standbys", "settings of the daemons"
NAMES = (POOLER, STANDBYS, SETTINGS)
UNSUPPORTED = "unsupported startup parameter"
"""Pgbouncer's answer to a session's settings, unless it is configured to ignore them."""


def examine(place: Location, config: Config) -> list[Check]:
    """Asks the server, without changing anything."""
    try:
        with closing(place.open_for_reading()) as db:
            try:
                return _examine(db, place, config)
            except db.Error as error:
                raise place.fault_of(error) from error
    except DatabaseMissing as error:
        what, then = split_message(error.message)
        if not error.no_tables:
            return [Check(DATABASE, "fail", what, then or "create it"), *skipped(NAMES, "needs the database")]
        return [
            Check(DATABASE, "ok", f"{what}: `wa-relay serve` makes the tables"),
            *skipped(NAMES, "needs the tables"),
        ]
    except DatabaseFault as error:
        if UNSUPPORTED in error.message:
            return [*skipped((DATABASE,), "needs a connection without that pooler"), _report_pooler(), *_skip_rest()]
        what, then = split_message(error.message)
        fix = then or "correct database.url, or see docs/operations.md"
        return [Check(DATABASE, "fail", one_line(what), fix), *skipped(NAMES, "needs the database")]


def daemons_on(place: Location) -> list[str]:
    """Names the daemons on the database, for people; none if it can't be asked."""
    try:
        with closing(place.open_for_reading()) as db:
            try:
                return [f"pid {each.pid} on {one_line(each.host)}" for each in list_daemons(db, place)]
            except db.Error:
                return []
    except DatabaseFault:
        return []


def _skip_rest() -> list[Check]:
    return skipped((STANDBYS, SETTINGS), "needs the database")


def _examine(db: Queries, place: Location, config: Config) -> list[Check]:
    checks = _import_checks()
    owner, account_sid = checks.owner_of(db), config.twilio.account_sid
    found = Check(DATABASE, "ok", f"{place.shown} (PostgreSQL {checks.version_of(db)})")
    if owner and account_sid and owner != account_sid:
        message = (
            f"{place.shown} holds the messages of Twilio account {owner}, and the configuration names {account_sid}"
        )
        fix = "put the first account back, or give the new one its own database (database.url)"
        found = Check(DATABASE, "fail", message, fix)
    pooler = _report_pooler() if checks.shares_sessions(place.url) else Check(POOLER, "ok", "none that shares sessions")
    return [found, pooler, _check_standbys(db, checks), _check_settings(db, checks, config)]


def _report_pooler() -> Check:
    message = "database.url leads to a pooler in transaction mode, which wa-relay can't use: its locks need a session"
    return Check(POOLER, "fail", message, "let database.url lead to PostgreSQL itself, or to a pooler in session mode")


def _check_standbys(db: Queries, checks: ModuleType) -> Check:
    found = checks.list_standbys(db)
    if any(each.sync_state is None for each in found):
        return Check(STANDBYS, "skipped", "this role may not see them: select * from pg_stat_replication")
    late = [one_line(each.name) for each in found if each.sync_state == "async"]
    if late and len(late) == len(found):
        message = f"{', '.join(late)} follows asynchronously: a failover to it may lose commits"
        return Check(STANDBYS, "warn", message, "name it in synchronous_standby_names of PostgreSQL")
    return Check(STANDBYS, "ok", f"{len(found) - len(late)} of {len(found)} are synchronous" if found else "none")


def _check_settings(db: Queries, checks: ModuleType, config: Config) -> Check:
    own = settings_of(config)
    for daemon in checks.live_settings(db):
        try:
            keys = compare_settings(own, daemon.settings)
        except SettingsDiffer as error:
            what, then = split_message(error.message)
            return Check(SETTINGS, "fail", what, then or "give all daemons the same")
        if keys:
            message = (
                f"this configuration differs from that of the daemon on {one_line(daemon.host)} (pid {daemon.pid})"
            )
            fix = f"give all hosts the same values of: {', '.join(keys)}; then restart the daemons"
            return Check(SETTINGS, "warn", message, fix)
    return Check(SETTINGS, "ok", "the same everywhere")


def _import_checks() -> ModuleType:
    # psycopg is an extra.
    from wa_relay.ledger import server_checks

    return server_checks
