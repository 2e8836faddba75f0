"""Checks the database file, its folder, the daemon that holds it, and what in it waits for an operator."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

from wa_relay.doctor.check import Check, skipped, split_message
from wa_relay.ledger import store
from wa_relay.ledger.faults import DatabaseFault, DatabaseMissing
from wa_relay.ledger.file import SCHEMA_VERSION, fault_of, open_for_reading
from wa_relay.ledger.location import Location
from wa_relay.policy import disk_is_low
from wa_relay.reports import awaiting_operator
from wa_relay.reports.awaiting_operator import Standing

DATABASE, FOLDER, SPACE = "database", "database folder", "disk space"
SENDS, PAUSES = "uncertain sends", "pauses"
NAMES = ("SQLite", FOLDER, SPACE, DATABASE)
WAITING = (SENDS, PAUSES)
GIGABYTE = 1_000_000_000
FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""Versions with the repair of WAL mode, the newest first; the older ones repair their own line only.

Source: sqlite.org/wal.html, on the WAL-reset bug.
"""

_STEPS = 10_000
"""SQLite's own steps between two looks at the clock."""


def examine(path: Path, account_sid: str, end: float) -> list[Check]:
    """Examines the file without changing it; the search for damage stops at the monotonic time `end`."""
    checks = [sqlite_version(sqlite3.sqlite_version_info[:3])]
    try:
        folder = _check_folder(path)
        checks.append(folder)
        if folder.status == "fail":
            return [*checks, *skipped((SPACE, DATABASE), "the folder can't be used")]
        checks.append(check_space(path))
        with closing(open_for_reading(path)) as db:
            return [*checks, _check_file(db, path, account_sid, end)]
    except DatabaseMissing:
        fix = "start `wa-relay serve`, which creates it"
        return [*checks, Check(DATABASE, "ok", f"there is no database at {path} yet: {fix}")]
    except (DatabaseFault, sqlite3.Error, OSError) as error:
        fault = error if isinstance(error, DatabaseFault) else _as_fault(error, path)
        what, then = split_message(fault.message)
        return [*checks, Check(DATABASE, "fail", what, then or "see docs/operations.md, Backup and restore")]


def standing_of(place: Location) -> Standing | None:
    """Returns what is held and undecided; None if the database can't be read."""
    try:
        with closing(place.open_for_reading()) as db:
            try:
                return awaiting_operator.standing(db)
            except db.Error:
                return None
    except (DatabaseFault, OSError):
        return None


def sqlite_version(version: tuple[int, ...]) -> Check:
    """Shows the version, and what an old one means for a database in WAL mode that two programs write to."""
    written = ".".join(map(str, version))
    if version >= FIXED[0] or any(version[:2] == fixed[:2] and version >= fixed for fixed in FIXED[1:]):
        return Check("SQLite", "ok", written)
    note = "let no other program write to the database (a bug that SQLite mended in 3.51.3, 3.50.7 and 3.44.6)"
    return Check("SQLite", "ok", f"{written}; {note}")


def check_space(path: Path) -> Check:
    """Checks if the file system of the database has room."""
    usage = shutil.disk_usage(path.parent)
    shown = f"{usage.free / GIGABYTE:,.2f} GB of {usage.total / GIGABYTE:,.2f} GB free"
    if not disk_is_low(usage.free, usage.total):
        return Check(SPACE, "ok", shown)
    message = f"the file system of {path.parent} has only {shown}: without room no message can be stored"
    return Check(SPACE, "warn", message, "free at least 1 GB and 5 %, or move the database (database.path)")


def _check_folder(path: Path) -> Check:
    folder = path.parent
    if not folder.is_dir():
        return Check(FOLDER, "fail", f"{folder} does not exist", f"create it (mkdir -p {folder}), or set database.path")
    if not os.access(folder, os.W_OK | os.X_OK):
        fix = "give it to the user that runs wa-relay, or set database.path"
        return Check(FOLDER, "fail", f"this user may not write to {folder}", fix)
    mode = folder.stat().st_mode
    # Others may see the file's name, but only its owner can open it.
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Check(FOLDER, "ok", f"no other user can write to {folder}")
    own = folder.stat().st_uid == os.geteuid() and not mode & stat.S_ISVTX
    fix = f"chmod 700 {folder}" if own else "give the database its own folder, mode 0700 (database.path)"
    return Check(FOLDER, "warn", f"other users may write to {folder} (mode {stat.S_IMODE(mode):04o})", fix)


def _check_file(db: sqlite3.Connection, path: Path, account_sid: str, end: float) -> Check:
    owner = db.execute(store.SELECT_RELAY).fetchone()["account_sid"]
    if owner and account_sid and owner != account_sid:
        message = f"{path} holds the messages of Twilio account {owner}, and the configuration names {account_sid}"
        fix = "put the first account back, or give the new one its own database (database.path)"
        return Check(DATABASE, "fail", message, fix)
    if not os.access(path, os.W_OK):
        fix = "give it to the user that runs wa-relay, or check whether the disk is mounted read-only"
        return Check(DATABASE, "fail", f"this user may not write to {path}", fix)
    if not _is_undamaged(db, end):
        fix = f"stop wa-relay, keep a copy of the file, then restore a backup or try: sqlite3 {path} .recover"
        return Check(DATABASE, "fail", f"{path} is damaged", fix)
    version = db.execute("pragma user_version").fetchone()[0]
    if version < SCHEMA_VERSION:
        message = f"{path} was made by an older version of wa-relay (schema {version})"
        return Check(DATABASE, "warn", message, "back it up; `wa-relay serve` migrates it at its next start")
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"other users may read or change {path} (mode {stat.S_IMODE(mode):04o})"
        return Check(DATABASE, "warn", message, f"chmod 600 {path}")
    return Check(DATABASE, "ok", str(path))


def _is_undamaged(db: sqlite3.Connection, end: float) -> bool:
    """False if SQLite finds damage within the time limit."""
    db.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        return bool(db.execute("pragma quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return True
    finally:
        db.set_progress_handler(None, 0)


def waiting(standing: Standing | None) -> list[Check]:
    """The sends that need a decision, and what holds messages back."""
    if standing is None:
        return skipped(WAITING, "there is no database that can be read")
    return [_check_sends(standing.uncertain), _check_pauses(standing)]


def _check_sends(uncertain: int) -> Check:
    if not uncertain:
        return Check(SENDS, "ok", "none")
    what = "1 send has" if uncertain == 1 else f"{uncertain:,} sends have"
    message = f"{what} an unknown outcome and will not be sent again automatically"
    return Check(SENDS, "warn", message, "decide each: wa-relay resolve")


def _check_pauses(standing: Standing) -> Check:
    if standing.account_fault:
        message = f"all sending is held because Twilio refuses the account or the sender: {standing.account_fault}"
        fix = "correct that; sending continues as soon as Twilio accepts a message again"
        return Check(PAUSES, "warn", message, fix, cause="account_hold")
    if standing.paused_by_operator:
        return Check(PAUSES, "warn", "openings are paused", "release them: wa-relay resume")
    if standing.paused_by_burst:
        message = "the burst breaker holds openings: more than opening.burst_limit were due at a start"
        return Check(PAUSES, "warn", message, "find out why this many are due, then run: wa-relay resume")
    return Check(PAUSES, "ok", "none")


def _as_fault(error: sqlite3.Error | OSError, path: Path) -> DatabaseFault:
    if isinstance(error, sqlite3.Error):
        return fault_of(error, path)
    return DatabaseFault(f"the database {path} can't be read: {error.strerror}. Check the owner of file and folder.")
