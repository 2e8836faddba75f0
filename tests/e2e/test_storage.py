"""When nothing can be stored: 503, never 200, and work again by itself when the cause is gone."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.stage import ANA, LUIS, Answer, Stage, payload, run, stage, until
from tests.stopwatch import Stopwatch
from wa_relay.ledger.file import APPLICATION_ID, SCHEMA_VERSION


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program holds the write lock meanwhile."""
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with sqlite3.connect(database, isolation_level=None) as db:
            db.execute("pragma busy_timeout = 5000")
            db.execute("begin immediate")
            taken.set()
            release.wait(60)
            db.execute("rollback")
        db.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        release.set()
        thread.join()


def rows(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        found: int = db.execute("select count(*) from conversation_messages where direction = 'inbound'").fetchone()[0]
    db.close()
    return found


async def _refused(s: Stage) -> None:
    """A webhook gets its 503 in time, the health says why, and the loop continues meanwhile."""
    watch = Stopwatch()
    written = await s.twilio.customer_writes(ANA, "¿Hola?")
    assert written.status == 503
    down = await s.call("GET", "/health")
    assert (down.status, down.json["status"], down.json["database"]) == (503, "down", "unavailable")
    refused = await s.report(payload("conv_2", LUIS))
    assert (refused.status, refused.json["error"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert watch.seconds < 20.0


async def _recovered(s: Stage) -> None:
    """What could not be stored is found by the sweep; the daemon was not started again."""

    async def healthy() -> bool:
        return (await s.call("GET", "/health")).status == 200

    for _ in range(200):
        if await healthy():
            break
        await asyncio.sleep(0.05)
    answer: Answer = await s.report(payload("conv_2", LUIS))
    assert answer.status in (200, 202)
    await s.sent(1, LUIS)
    await s.twilio.customer_writes(ANA, "¿Sigues ahí?")
    await s.sent(2)
    assert s.bodies(LUIS) == ["Hola Ana García, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"]
    assert "Traceback" not in s.relay.log


def test_a_short_lock_by_another_program_is_waited_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            with locked(s.relay.database):
                waiting = asyncio.create_task(s.twilio.customer_writes(ANA, "¿Hola?"))
                watch = Stopwatch()
                assert (await s.call("GET", "/openapi.json")).status == 200
                assert watch.seconds < 0.5
                await asyncio.wait([waiting], timeout=0.9)
                assert not waiting.done()
            assert (await waiting).status == 200
            assert rows(s.relay.database) == 1

    run(scenario())


def test_a_long_lock_is_a_503_and_ends_by_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        # Twilio repeats a failed webhook for as long as the lock lasts: here it is configured not to.
        async with stage(tmp_path) as s:
            await s.report()
            s.twilio.configure(webhook_url=s.twilio.settings.webhook_url.partition("#")[0])
            with locked(s.relay.database):
                await _refused(s)
                assert rows(s.relay.database) == 0
            await _recovered(s)

    run(scenario())


def test_a_full_disk_is_a_503_and_the_work_continues_when_there_is_space(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            await until(lambda: " receipt " in s.relay.log)
            s.twilio.configure(webhook_url=s.twilio.settings.webhook_url.partition("#")[0])
            assert s.relay.process is not None
            pid, unlimited = s.relay.process.pid, resource.RLIM_INFINITY
            # No byte at all: a log that has been brought into the file is written again from its beginning.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited))
            await _refused(s)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
            await _recovered(s)

    run(scenario())


def test_a_result_that_can_not_be_stored_is_kept_until_it_can(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            s.twilio.configure(delays=None)
            waiting = asyncio.create_task(s.report())
            await s.sent(1)
            with locked(s.relay.database):
                await asyncio.wait([waiting], timeout=1.5)
            await asyncio.gather(waiting, return_exceptions=True)

            async def answer() -> bool:
                return bool((await s.conversation())["messages"][0]["status"] == "sent")

            for _ in range(200):
                if await answer():
                    break
                await asyncio.sleep(0.05)
            assert (await s.conversation())["messages"][0]["twilio_message_id"] == s.twilio.accepted(ANA)[0].sid
            assert len(s.bodies()) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a text file\n", 65),
        (b"SQLite format 3\x00" + b"\x00" * 4000, 74),
        ("foreign", 65),
        ("corrupt", 74),
    ],
)
def test_an_invalid_database_ends_serve_with_a_message(tmp_path: Path, content: bytes | str, code: int) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            _spoil(s.relay.database, content)
            status, _, err = await s.relay.command("serve")
            assert status == code, err
            assert str(s.relay.database) in err
            assert "Traceback" not in err

    run(scenario())


def _spoil(database: Path, content: bytes | str) -> None:
    if isinstance(content, bytes):
        database.write_bytes(content)
        return
    with sqlite3.connect(database) as db:
        db.execute("create table anything (id integer primary key, text text)")
        if content == "corrupt":
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {SCHEMA_VERSION}")
            db.executemany("insert into anything (text) values (?)", [("x" * 1000,)] * 200)
    db.close()
    if content == "corrupt":
        spoilt = bytearray(database.read_bytes())
        spoilt[4096:40960] = b"\xaa" * (40960 - 4096)
        database.write_bytes(bytes(spoilt))
