"""After a kill the file is checked beside the work: webhooks are stored, and nothing is asked or sent meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.e2e.stage import ANA, LUIS, payload, run, stage, until
from tests.ledger.conftest import RULES, call
from wa_relay.ledger import calls, file, store
from wa_relay.ledger.store import Ledger
from wa_relay.loops.file_check import CHECKED_FIRST

QUICK_ROWS = """
    create table slow (id integer primary key, size integer, filling blob,
        text_length integer not null generated always as (1) virtual)"""
SLOW_ROWS = """
    update sqlite_master set sql = replace(sql, 'as (1)', 'as (length(hex(zeroblob(size))))') where name = 'slow'"""
"""The check computes the length of each row, which takes milliseconds."""


def _killed(database: Path, slow_rows: int) -> None:
    """Makes the file of a killed daemon in which the opening to Ana is due, too large to be checked first."""
    now = time.time()
    with closing(file.open_for_writing(database, account_sid="", now=now - 60.0).connection) as db:
        ledger = Ledger(db, RULES)
        store.begin_run(ledger, now - 60.0)
        calls.record_call(ledger, call(ended_at=now - 5.0), now)
        db.execute("pragma synchronous = off")
        db.execute(QUICK_ROWS)
        db.execute("begin")
        db.execute("insert into slow (size, filling) values (1, zeroblob(:size))", {"size": CHECKED_FIRST})
        db.executemany("insert into slow (size) values (?)", [(1_000_000,)] * slow_rows)
        db.execute("pragma writable_schema = on")
        db.execute(SLOW_ROWS)
        db.execute("commit")


def _damage_index(database: Path, name: str) -> None:
    """Overwrites the root page of an index, as a disk might."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        (size,) = db.execute("pragma page_size").fetchone()
        (page,) = db.execute("select rootpage from sqlite_master where name = ?", (name,)).fetchone()
    with database.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xaa" * size)


def _is_marked_clean(database: Path) -> bool:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return bool(db.execute("select clean_stop from relay").fetchone()[0])


def test_a_webhook_is_stored_during_the_check_while_nothing_is_sent_and_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            _killed(s.relay.database, 20_000)
            await s.relay.start()
            assert (await s.twilio.customer_writes(ANA, "¿Hola?")).status == 200
            assert (await s.report(payload("conv_2", LUIS))).status == 202
            assert (await s.call("GET", "/health")).json["database"] == "checking"
            assert s.bodies(ANA) == s.bodies(LUIS) == []
            began = time.monotonic()
            assert await s.relay.stop(signal.SIGTERM) == 0
            assert time.monotonic() - began < 2.0
            assert "checking_file" in s.relay.log
            assert "agent_asked" not in s.relay.log
            assert s.bodies(ANA) == s.bodies(LUIS) == []
            assert not _is_marked_clean(s.relay.database)

    run(scenario())


def test_sending_begins_after_the_check(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            _killed(s.relay.database, 100)
            await s.relay.start()
            await until(lambda: " opening_sent " in s.relay.log)
            assert s.relay.log.index(" file_checked ") < s.relay.log.index(" opening_sent ")
            assert len(s.bodies()) == 1
            assert (await s.call("GET", "/health")).json["database"] == "ok"
            assert await s.relay.stop() == 0
            assert _is_marked_clean(s.relay.database)

    run(scenario())


def test_a_damaged_index_ends_the_daemon_with_74_before_anything_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            _killed(s.relay.database, 0)
            _damage_index(s.relay.database, "one_opening_per_call")
            process = await s.relay.spawn("serve")
            assert await process.wait() == 74
            sentences = [line for line in s.relay.log.splitlines() if line.startswith("wa-relay: ")]
            assert len(sentences) == 1
            assert "is damaged" in sentences[0]
            assert "Traceback" not in s.relay.log
            assert s.bodies() == []
            assert not _is_marked_clean(s.relay.database)

    run(scenario())
