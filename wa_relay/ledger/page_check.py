"""The check of a file whose last daemon was killed: every page and row, by a connection of its own."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

from wa_relay.ledger import file
from wa_relay.ledger.faults import DatabaseFault

CHECK_PAGES = "pragma quick_check(1)"


class PageCheck:
    """One check of a file, which a writer may have open meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._given_up = threading.Event()
        self._connection: sqlite3.Connection | None = None

    def run(self) -> None:
        """Reads the whole file: a second for a million messages. Raises a `DatabaseFault` for a damaged one.

        Returns early once it is given up.
        """
        try:
            with closing(file.open_for_reading(self._path)) as db:
                db.set_progress_handler(lambda: int(self._given_up.is_set()), file.INTERRUPT_EVERY)
                self._connection = db
                is_sound = db.execute(CHECK_PAGES).fetchone()[0] == "ok"
        except (sqlite3.Error, DatabaseFault) as error:
            if self._given_up.is_set():
                return
            raise file.fault_of(error, self._path) if isinstance(error, sqlite3.Error) else error from error
        if not is_sound:
            raise file.damaged(self._path)

    def give_up(self) -> None:
        """Ends the check soon. May be called from any thread, also after its end."""
        self._given_up.set()
        # The handler above is called every few thousand steps, and one step may check a long row.
        with suppress(sqlite3.ProgrammingError):
            if self._connection is not None:
                self._connection.interrupt()
