"""The location of a database: a file, or a PostgreSQL server."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from wa_relay.basics import Moment
from wa_relay.ledger import file
from wa_relay.ledger.engine import Engine, Opened, Queries, Work
from wa_relay.ledger.faults import DatabaseFault, DatabaseUnusable

if TYPE_CHECKING:
    from wa_relay.config import Config

_PASSWORD = re.compile(r"(?<=://)([^/@]*?):[^@]*@|(password=)[^&\s]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Location:
    """A database's place: the file at `path`, or with a `url` the server's database, and `path` does not count."""

    path: Path
    url: str = field(default="", repr=False)

    @property
    def is_shared(self) -> bool:
        """True for a server, on whose database several daemons may run."""
        return bool(self.url)

    @property
    def shown(self) -> str:
        """The place as it may be shown: without the password."""
        return _PASSWORD.sub(
            lambda found: f"{found[1]}@" if found[1] is not None else f"{found[2]}***", self.url
        ) or str(self.path)

    def open_for_reading(self) -> Queries:
        """Opens the database read-only; raises a `DatabaseFault`."""
        return _server().open_for_reading(self.url) if self.url else file.open_for_reading(self.path)

    def open_for_writing(
        self, *, account_sid: str, now: Moment, give_up: Callable[[], bool] = lambda: False
    ) -> Opened[Engine]:
        """Opens the database, and makes or migrates it; raises a `DatabaseFault`.

        On a server its own clock makes the fence: those of its hosts may differ.
        """
        if self.url:
            return _server().open_for_writing(self.url, account_sid=account_sid, now=None)  # type: ignore[no-any-return]
        return file.open_for_writing(self.path, account_sid=account_sid, now=now, give_up=give_up)

    async def listen(self, own_run: int, heard: Callable[[dict[Work, Moment]], None]) -> None:
        """Calls `heard` with what other daemons on a server announce, until it is cancelled; a file has none."""
        if self.url:
            # psycopg is an extra.
            from wa_relay.ledger.listening import listen

            await listen(self.url, own_run, heard)

    def fault_of(self, error: Exception) -> DatabaseFault:
        """Turns an error of the database's library into what happened and what to do."""
        return _server().fault_of(error) if self.url else file.fault_of(error, self.path)  # type: ignore[arg-type]


def location_of(config: Config) -> Location:
    """The place that the configuration names."""
    return Location(config.database.path, config.database.url.reveal())


def _server() -> ModuleType:
    # psycopg is an extra, and slows the start of commands that work on a file.
    try:
        from wa_relay.ledger import server
    except ImportError as error:
        raise DatabaseUnusable(
            'PostgreSQL needs another package: pip install "wa-relay[postgres]".', permanent=True
        ) from error
    return server
