"""Copies of the database file: made beside a running daemon, checked, and put in place in one step."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from wa_relay.ledger import file
from wa_relay.ledger.faults import DatabaseUnusable
from wa_relay.model import RelayError

COPY_INTO = "vacuum into ?"
TARGET_ERRORS = frozenset({"SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC"})
"""SQLite's errors when the copy can't be written. The database itself is only read."""

INTEGRITY = "pragma integrity_check(1)"


def back_up(database: Path, target: Path) -> int:
    """Writes a checked copy with mode 0600, which replaces an older one in one step. Returns its size in bytes.

    The copy is one moment of the database, without its free space. Raises a `DatabaseFault`, and `RelayError` if the
    target can't be written.
    """
    copy = _path_beside(target, ".new")
    old_umask = os.umask(0o077)
    try:
        with closing(file.open_for_reading(database)) as db:
            # Created here, so that a failure to write it is reported by the system's own error.
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            db.execute(COPY_INTO, (str(copy),))
        check(copy)
        _sync(copy)
        os.replace(copy, target)
        _sync(target.parent)
        return target.stat().st_size
    except sqlite3.Error as error:
        if error.sqlite_errorname in TARGET_ERRORS:
            raise RelayError(f"{target} can't be written: {error}.", permanent=True) from error
        raise file.fault_of(error, database) from error
    except OSError as error:
        raise RelayError(f"{target} can't be written: {error.strerror}.", permanent=True) from error
    finally:
        os.umask(old_umask)
        with suppress(OSError):
            copy.unlink()


def check(path: Path) -> None:
    """Raises `DatabaseForeign` for a file that is something else, `DatabaseUnusable` for a missing or damaged one."""
    if not path.exists():
        raise DatabaseUnusable(f"there is no backup {path}.", permanent=True)
    with closing(file.open_for_reading(path)) as db:
        try:
            sound = db.execute(INTEGRITY).fetchone()[0] == "ok"
        except sqlite3.Error as error:
            raise file.fault_of(error, path) from error
    if not sound:
        raise DatabaseUnusable(f"the backup {path} is damaged. Use another one.", permanent=True)


def stage(backup: Path, database: Path) -> Path:
    """Copies a backup that was checked beside the database; `replace` puts it in place."""
    copy = _path_beside(database, ".restoring")
    old_umask = os.umask(0o077)
    try:
        shutil.copyfile(backup, copy)
        return copy
    except OSError as error:
        raise DatabaseUnusable(f"{copy} can't be written: {error.strerror}.") from error
    finally:
        os.umask(old_umask)


def replace(copy: Path, database: Path) -> None:
    """Puts a staged copy in the place of the database, whose log belongs to the old one."""
    _sync(copy)
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
        copy.with_name(copy.name + name).unlink(missing_ok=True)
    os.replace(copy, database)
    _sync(database.parent)


def drop(copy: Path) -> None:
    """Removes a staged copy that was not put in place."""
    for name in ("", "-wal", "-shm"):
        copy.with_name(copy.name + name).unlink(missing_ok=True)


def _path_beside(path: Path, ending: str) -> Path:
    copy = path.with_name(f".{path.name}{ending}")
    # Left by an earlier try that was interrupted.
    with suppress(OSError):
        drop(copy)
    return copy


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
