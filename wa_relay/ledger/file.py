"""Opens the database file: for writing by the one daemon, for reading by everything else."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wa_relay.basics import Moment
from wa_relay.ledger.dialects import statements
from wa_relay.ledger.engine import Opened
from wa_relay.ledger.faults import (
    DatabaseFault,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseMoved,
    DatabaseUnusable,
    WrongAccount,
)
from wa_relay.ledger.lock import path_in_use
from wa_relay.ledger.sqlite import SqliteEngine, add_functions

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x77617231
"""SQLite's `application_id` of every wa-relay database."""

SCHEMA_VERSION = 3
"""The version that this program reads and writes, as SQLite's `user_version`.

Here and not in `schema`, so that a command that only reads does not import sqlite-utils.
"""

OLDEST_VERSION = 3
"""The first released version. Versions 1 and 2 were never released and kept their count in another table."""

BUSY_TIMEOUT_MS = 1200
"""Under the 2 s after which a webhook gets its 503, so that the refusal still comes in time."""

_HEADER = b"SQLite format 3\x00"


INTERRUPT_EVERY = 20_000
"""Steps of SQLite's virtual machine between two checks of `give_up`: less than a millisecond."""


def open_for_writing(
    path: Path, *, account_sid: str, now: Moment, give_up: Callable[[], bool] = lambda: False
) -> Opened[SqliteEngine]:
    """Opens, makes or migrates the database; the caller holds its lock.

    Raises a `DatabaseFault` that says what to do. Everything that changes the file's shape is
    one transaction, so that a kill leaves the old file or the new one. The migration of a large
    file takes seconds; it ends with a fault once `give_up` returns true. A file that is `unclean`
    has not been checked (see `page_check`).
    """
    _refuse_foreign_file(path)
    old_umask = os.umask(0o077)
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=SqliteEngine
        )
        connection.row_factory = sqlite3.Row
        connection.set_progress_handler(lambda: int(give_up()), INTERRUPT_EVERY)
        add_functions(connection)
        try:
            opened = _prepare(connection, path, account_sid, now)
            connection.set_progress_handler(None, 0)
            return opened
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise fault_of(error, path) from error
    finally:
        os.umask(old_umask)


def _prepare(connection: SqliteEngine, path: Path, account_sid: str, now: Moment) -> Opened[SqliteEngine]:
    connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    empty = _refuse_foreign_schema(connection, path)
    connection.execute("pragma journal_mode = wal")
    # A statement with triggers copies the pages that it changes: in memory 5 µs an operation, in a temporary file 12.
    temporary = "temp_store = memory"
    for setting in ("synchronous = full", "foreign_keys = on", "secure_delete = on", "cache_size = -8000", temporary):
        connection.execute(f"pragma {setting}")
    if empty or _version(connection) != SCHEMA_VERSION:
        # It imports sqlite-utils, which an up-to-date file does not need.
        from wa_relay.ledger import schema

        migrate(connection, path, now, create=schema.create, steps=schema.STEPS)
    row = connection.execute("select account_sid, clean_stop, moved_to from relay").fetchone()
    if row["moved_to"] and account_sid:
        raise DatabaseMoved(f"{path} was moved to {row['moved_to']}: serve that one (database.url).", permanent=True)
    if row["account_sid"] and account_sid and row["account_sid"] != account_sid:
        raise WrongAccount(
            f"{path} holds the messages of Twilio account {row['account_sid']}, and the configuration names "
            f"{account_sid}. Put the first account back, or give the new one its own database (database.path).",
            permanent=True,
        )
    if not row["account_sid"] and account_sid:
        connection.execute("update relay set account_sid = ?", (account_sid,))
    return Opened(connection, created=empty, unclean=not row["clean_stop"])


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    now: Moment,
    *,
    create: Callable[[Database], None],
    steps: Mapping[int, str],
    to: int = SCHEMA_VERSION,
) -> None:
    """Brings the file to version `to`, in one transaction: a kill leaves the old file or the new one.

    A file that holds something is copied beside itself before its shape changes, as `<name>.before-<to>`.
    """
    # Slow to import, and only a new or an older file needs it.
    from sqlite_utils import Database

    database = Database(connection, recursive_triggers=False, execute_plugins=False)
    version = _version(connection)
    if version:
        _keep_copy(connection, path.with_name(f"{path.name}.before-{to}"))
    connection.execute("begin immediate")
    try:
        if not version:
            create(database)
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
            # The fence: calls that ended before this moment are history, from any source.
            connection.execute("insert into relay (id, fence, swept_to) values (1, :now, :now)", {"now": now})
        for step in range(version or to, to):
            for statement in statements(steps[step], "sqlite"):
                database.execute(statement)
        connection.execute(f"pragma user_version = {to}")
        connection.execute("commit")
    except BaseException:
        # A full disk has ended the transaction already.
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def _keep_copy(connection: sqlite3.Connection, copy: Path) -> None:
    # An earlier try that was interrupted may have left half of one.
    copy.unlink(missing_ok=True)
    try:
        connection.execute("vacuum into ?", (str(copy),))
    except sqlite3.Error:
        # Half a copy is useless, and occupies space that the next try needs.
        copy.unlink(missing_ok=True)
        copy.with_name(copy.name + "-journal").unlink(missing_ok=True)
        raise


def open_for_reading(path: Path) -> SqliteEngine:
    """Opens the database read-only; raises `DatabaseMissing` and the other faults with what to do.

    The file is examined by SQLite alone: a descriptor of it that this process opened and closed besides would drop
    SQLite's own locks, those of the daemon's writer included (see `lock`).
    """
    missing = f"there is no database at {path}. `wa-relay serve` creates it."
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DatabaseMissing(missing, permanent=True) from None
    except OSError as error:
        raise DatabaseUnusable(f"the database {path} can't be read: {error.strerror}.") from error
    if size == 0:
        raise DatabaseMissing(f"the database at {path} is empty. `wa-relay serve` creates its tables.", permanent=True)
    # By the path of the daemon, if one runs: SQLite's log lies beside that one.
    path = path_in_use(path) or path
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteEngine,
        )
        connection.row_factory = sqlite3.Row
        add_functions(connection)
        connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
        if _refuse_foreign_schema(connection, path):
            raise DatabaseMissing(
                f"the database at {path} is empty. `wa-relay serve` creates its tables.", permanent=True
            )
        return connection
    except sqlite3.Error as error:
        raise fault_of(error, path) from error


def fault_of(error: sqlite3.Error, path: Path) -> DatabaseFault:
    """Turns SQLite's error into what happened and what to do."""
    message = str(error)
    # A file that begins with SQLite's mark was a database once, and is truncated or damaged.
    if "not a database" in message and _head(path) != _HEADER:
        return DatabaseForeign(
            f"{path} is not a wa-relay database. Set database.path to another file.",
            permanent=True,
        )
    if "malformed" in message or "not a database" in message:
        return damaged(path)
    return DatabaseUnusable(
        f"the database {path} can't be used: {message}. Check the disk's space, the file's owner and its folder's."
    )


def damaged(path: Path) -> DatabaseUnusable:
    """The fault of a file whose pages or rows can't be right."""
    return DatabaseUnusable(
        f"the database {path} is damaged. Stop wa-relay, keep a copy of the file, and restore a backup, "
        f"or save what can be read with: sqlite3 {path} .recover",
        permanent=True,
    )


def _refuse_foreign_file(path: Path) -> None:
    try:
        head = _head(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise DatabaseUnusable(f"the folder {path.parent} does not exist. Make it, or set database.path.") from None
        return
    except OSError as error:
        raise DatabaseUnusable(f"the database {path} can't be read: {error.strerror}.") from error
    if head and head != _HEADER:
        raise DatabaseForeign(
            f"{path} is not a wa-relay database. Set database.path to another file.",
            permanent=True,
        )


def _head(path: Path) -> bytes:
    """The first bytes of the file. Only for a file that SQLite has not open in this process, or can't use."""
    with path.open("rb") as file:
        return file.read(len(_HEADER))


def _refuse_foreign_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Refuses another program's file and a newer version's; true when the file holds nothing yet."""
    tables = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
    if not tables:
        return True
    mark = connection.execute("pragma application_id").fetchone()[0]
    if mark != APPLICATION_ID:
        raise DatabaseForeign(f"{path} belongs to another program. Set database.path to another file.", permanent=True)
    version = _version(connection)
    if version < OLDEST_VERSION:
        raise DatabaseForeign(
            f"{path} was made by a build older than any release of wa-relay, and can't be migrated. "
            "Move it away, or set database.path to another file.",
            permanent=True,
        )
    if version > SCHEMA_VERSION:
        raise DatabaseForeign(
            f"{path} was made by a newer version of wa-relay (schema {version}; this version knows {SCHEMA_VERSION}). "
            "Install that version.",
            permanent=True,
        )
    return False


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])
