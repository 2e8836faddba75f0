"""The database file, its folder, the daemon that holds it, and what in it waits for a person."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from wa_relay import reports
from wa_relay.doctor.check import Check, sentences, skipped
from wa_relay.ledger import copying, store
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.faults import DatabaseFault, DatabaseMissing
from wa_relay.ledger.file import fault_of, open_for_reading
from wa_relay.ledger.location import Location
from wa_relay.ledger.lock import Holder

DATABASE, FOLDER, SENDS, PAUSES = "database", "database folder", "uncertain sends", "pauses"
NAMES = ("SQLite", FOLDER, DATABASE, SENDS, PAUSES)
FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""Versions with the repair of WAL mode, the newest first; the older ones repair their own line only.

Source: sqlite.org/wal.html, on the WAL-reset bug.
"""

_STEPS = 10_000
"""SQLite's own steps between two looks at the clock."""


def examine(path: Path, account_sid: str, end: float) -> list[Check]:
    """Looks at the file without changing it; the search for damage ends when the monotonic clock shows `end`."""
    checks = [sqlite_version(sqlite3.sqlite_version_info[:3])]
    try:
        folder = _folder(path)
        checks.append(folder)
        if folder.status == "fail":
            return [*checks, *skipped((DATABASE, SENDS, PAUSES), "the folder can't be used")]
        with closing(open_for_reading(path)) as db:
            return [*checks, _sound(db, path, account_sid, end), *_waiting(db)]
    except DatabaseMissing:
        found = Check(
            DATABASE, "warn", f"there is no database at {path} yet", "start `wa-relay serve`, which creates it"
        )
        return [*checks, found, *skipped((SENDS, PAUSES), "there is no database yet")]
    except (DatabaseFault, sqlite3.Error, OSError) as error:
        words = error if isinstance(error, DatabaseFault) else _in_words(error, path)
        found = Check(DATABASE, "fail", *sentences(words.message))
        return [*checks, found, *skipped((SENDS, PAUSES), "the database can't be used")]


def examine_shared(place: Location, account_sid: str) -> list[Check]:
    """Looks at a database on a PostgreSQL server without changing it."""
    fine = skipped(("SQLite", FOLDER), "the database is on a PostgreSQL server")
    try:
        with closing(place.open_for_reading()) as db:
            alive = _daemons(copying.list_daemons(db, place))
            return [*fine, _server(db, place, account_sid), *_waiting(db), alive]
    except DatabaseMissing as error:
        found = Check(DATABASE, "warn" if error.no_tables else "fail", *sentences(error.message))
        return [*fine, found, *skipped((SENDS, PAUSES, "daemon"), "there are no tables yet")]
    except DatabaseFault as error:
        found = Check(DATABASE, "fail", *sentences(error.message))
        return [*fine, found, *skipped((SENDS, PAUSES, "daemon"), "the database can't be used")]


def _server(db: Queries, place: Location, account_sid: str) -> Check:
    owner = db.execute(store.SELECT_RELAY).fetchone()["account_sid"]
    if owner and account_sid and owner != account_sid:
        message = f"it holds the messages of Twilio account {owner}, and the configuration names {account_sid}"
        fix = "put the first account back, or give the new one a database of its own (database.url)"
        return Check(DATABASE, "fail", message, fix)
    if store.is_asynchronous(db):
        message = "its standby is asynchronous: a failover may lose commits that were confirmed"
        return Check(DATABASE, "warn", message, "name the standby in PostgreSQL's synchronous_standby_names")
    return Check(DATABASE, "ok", place.shown)


def _daemons(alive: Sequence[Mapping[str, object]]) -> Check:
    if not alive:
        return Check("daemon", "warn", "no daemon runs on this database", "start it: wa-relay serve")
    shown = ", ".join(f"pid {each['pid']} on {each['host']}{' (leads)' if each['leader'] else ''}" for each in alive)
    return Check("daemon", "ok", f"runs: {shown}")


def sqlite_version(version: tuple[int, ...]) -> Check:
    """Says if this SQLite can damage a database in WAL mode that two processes write to at once."""
    written = ".".join(map(str, version))
    if version >= FIXED[0] or any(version[:2] == fixed[:2] and version >= fixed for fixed in FIXED[1:]):
        return Check("SQLite", "ok", written)
    return Check(
        "SQLite",
        "warn",
        f"{written} has a bug that can damage a database when two programs write to it at the same instant; "
        "wa-relay itself writes with one connection only",
        "let no other program write to the database; the bug is gone in SQLite 3.51.3, 3.50.7 and 3.44.6",
    )


def daemon(holder: Holder | None) -> Check:
    """Says whether a daemon runs."""
    if holder is None:
        return Check("daemon", "warn", "no daemon runs on this database", "start it: wa-relay serve")
    return Check("daemon", "ok", f"runs (pid {holder.pid} since {holder.since})")


def _folder(path: Path) -> Check:
    folder = path.parent
    if not folder.is_dir():
        return Check(FOLDER, "fail", f"{folder} does not exist", f"create it (mkdir -p {folder}), or set database.path")
    if not os.access(folder, os.W_OK | os.X_OK):
        fix = "give it to the user that runs wa-relay, or set database.path"
        return Check(FOLDER, "fail", f"this user may not write to {folder}", fix)
    mode = folder.stat().st_mode
    others_write = mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not others_write and not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Check(FOLDER, "ok", f"only this user can access {folder}")
    may = "write to" if others_write else "look into"
    own = folder.stat().st_uid == os.geteuid() and not mode & stat.S_ISVTX
    fix = f"chmod 700 {folder}" if own else "give the database a folder of its own, mode 0700 (database.path)"
    return Check(FOLDER, "warn", f"other users may {may} {folder} (mode {stat.S_IMODE(mode):04o})", fix)


def _sound(db: sqlite3.Connection, path: Path, account_sid: str, end: float) -> Check:
    owner = db.execute(store.SELECT_RELAY).fetchone()["account_sid"]
    if owner and account_sid and owner != account_sid:
        message = f"{path} holds the messages of Twilio account {owner}, and the configuration names {account_sid}"
        fix = "put the first account back, or give the new one a database of its own (database.path)"
        return Check(DATABASE, "fail", message, fix)
    if not os.access(path, os.W_OK):
        fix = "give it to the user that runs wa-relay, or check whether the disk is mounted read-only"
        return Check(DATABASE, "fail", f"this user may not write to {path}", fix)
    if not _undamaged(db, end):
        fix = f"stop wa-relay, keep a copy of the file, then restore a backup or try: sqlite3 {path} .recover"
        return Check(DATABASE, "fail", f"{path} is damaged", fix)
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"other users may read or change {path} (mode {stat.S_IMODE(mode):04o})"
        return Check(DATABASE, "warn", message, f"chmod 600 {path}")
    return Check(DATABASE, "ok", str(path))


def _undamaged(db: sqlite3.Connection, end: float) -> bool:
    """False if SQLite finds damage in the time that there is."""
    db.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        return bool(db.execute("pragma quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return True
    finally:
        db.set_progress_handler(None, 0)


def _waiting(db: Queries) -> Iterator[Check]:
    standing = reports.standing(db)
    if standing.uncertain:
        what = "1 send has" if standing.uncertain == 1 else f"{standing.uncertain:,} sends have"
        yield Check(
            SENDS,
            "warn",
            f"{what} an unknown outcome and will not be sent again automatically",
            "decide each: wa-relay resolve",
        )
    else:
        yield Check(SENDS, "ok", "none")
    held = False
    if standing.account_fault:
        held = True
        fix = "correct that; sending continues as soon as Twilio accepts a message again"
        yield Check(
            PAUSES, "warn", f"all sending is held because Twilio refuses the account: {standing.account_fault}", fix
        )
    if standing.paused_by_operator:
        held = True
        yield Check(PAUSES, "warn", "openings are paused", "release them: wa-relay resume")
    if standing.paused_by_burst:
        held = True
        message = "the burst breaker holds openings: more than opening.burst_limit were due at a start"
        yield Check(PAUSES, "warn", message, "find out why this many are due, then run: wa-relay resume")
    if not held:
        yield Check(PAUSES, "ok", "none")


def _in_words(error: sqlite3.Error | OSError, path: Path) -> DatabaseFault:
    if isinstance(error, sqlite3.Error):
        return fault_of(error, path)
    return DatabaseFault(f"the database {path} can't be read: {error.strerror}. Check the owner of file and folder.")
