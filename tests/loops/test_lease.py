"""A daemon among others on one database: its clock, and the settings that all compare."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from pathlib import Path

import psycopg

from tests.engines import Cluster
from tests.ledger.conftest import RULES
from wa_relay.config import load
from wa_relay.ledger import server, store
from wa_relay.ledger.postgres import TAKE_WRITER_LOCK
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.lease import DatabaseClock, Lease, settings_of


def test_a_renewal_that_waits_for_its_turn_does_not_move_the_clock(cluster: Cluster) -> None:
    url = cluster.copy(time.time())

    async def scenario() -> None:
        opened = server.open_for_writing(url, account_sid="AC1", now=None)
        ledger, clock = LedgerThread(Ledger(opened.connection, RULES)), DatabaseClock(time.time)
        await ledger.run(store.begin_run, time.time())
        lease = Lease(ledger, clock, lambda _daemons: None, shared=True)
        with closing(psycopg.connect(url)) as other:
            other.execute(TAKE_WRITER_LOCK)
            waiting = asyncio.create_task(lease.begin())
            await asyncio.sleep(1.0)  # how long another host's transaction takes
            other.rollback()
        await waiting
        assert abs(lease.clock_offset) < 0.25
        await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    cluster.drop(url)


def test_conditions_and_hours_are_compared_without_a_warning(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[opening.completed]\nwhen = { interest = ["yes", 5] }\n[quiet_hours]\ndays = { sat = "08:00-12:00" }\n',
        encoding="utf-8",
    )
    config.chmod(0o600)
    should = json.loads(settings_of(load(config, {}, cwd=tmp_path)))["should"]
    assert should["opening.completed"]["when"] == {"interest": ["yes", 5]}
    assert should["quiet_hours.days"] == {"sat": [[480, 720]]}
