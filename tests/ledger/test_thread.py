"""The thread that owns the connection: what it does when the storage fails it in the middle."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.conftest import NOW, RULES
from wa_relay.ledger import control, file
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread


class Flaky(sqlite3.Connection):
    """A connection whose next statements of the named kinds fail once each."""

    failing: list[str]

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Runs a statement, or fails."""
        if sql in self.failing:
            self.failing.remove(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


def test_a_rollback_that_fails_does_not_close_the_ledger_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    file.open_for_writing(path, account_sid="AC1", now=NOW).connection.close()

    async def scenario() -> None:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Flaky)
        connection.row_factory, connection.failing = sqlite3.Row, ["commit", "rollback"]
        ledger = LedgerThread(Ledger(connection, RULES))
        with pytest.raises(StorageUnavailable):
            await ledger.run(control.pause)
        await ledger.run(control.resume)
        assert (await ledger.run(control.queue_health, NOW)).paused is None
        await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))
