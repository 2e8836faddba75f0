"""Reads while the writer writes: one read-only connection on its own thread.

A report that takes a second delays no webhook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from wa_relay.ledger.engine import Queries
from wa_relay.ledger.faults import DatabaseFault, StorageUnavailable
from wa_relay.ledger.location import Location

P = ParamSpec("P")
T = TypeVar("T")


class Reader:
    """Runs queries, in the order in which they were asked for."""

    def __init__(self, place: Location | Path) -> None:
        self._place = Location(place) if isinstance(place, Path) else place
        self._connection: Queries | None = None
        self._thread = ThreadPoolExecutor(1, "reader")

    async def read(self, query: Callable[Concatenate[Queries, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs one query; raises `StorageUnavailable` when the database can't be read."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self._read(query, *args, **kwargs)
        )

    def close(self) -> None:
        """Ends the thread and its connection."""
        self._thread.submit(self._drop)
        self._thread.shutdown()

    def _read(self, query: Callable[Concatenate[Queries, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            if self._connection is None:
                self._connection = self._place.open_for_reading()
        except DatabaseFault as error:
            raise _unreadable(error) from error
        try:
            return query(self._connection, *args, **kwargs)
        except self._connection.Error as error:
            self._drop()
            raise _unreadable(error) from error

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _unreadable(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(f"the database can't be read: {error}. Try again.", retry_after=2.0)
