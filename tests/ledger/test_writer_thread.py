"""The thread that owns the connection: its behaviour when the storage fails halfway."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from tests.flaky import flaky
from tests.ledger.conftest import NOW, RULES, call
from wa_relay.ledger import calls, file, operator_decisions
from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.queue_health import queue_health
from wa_relay.ledger.sqlite import CHECKPOINT, CHECKPOINT_EVERY, SqliteEngine
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import GROUP, LARGE, LedgerThread


@asynccontextmanager
async def _ledger(path: Path, *failing: str) -> AsyncIterator[LedgerThread]:
    ledger = LedgerThread(Ledger(flaky(path, *failing, now=NOW), RULES))
    yield ledger
    await ledger.close()


def _write(ledger: Ledger, number: int) -> None:
    ledger.run("insert into strangers (phone_number, content, received_at) values ('+57', 'hola', ?)", (number,))


def _in_the_main_file(path: Path) -> int:
    """The number of written rows that would be there without the log."""
    alone = path.with_name("alone.db")
    alone.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(alone)) as db:
        return int(db.execute("select count(*) from strangers").fetchone()[0])


def test_a_rollback_that_fails_does_not_close_the_ledger_for_ever(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _ledger(tmp_path / "relay.db", "commit", "rollback") as ledger:
            with pytest.raises(StorageUnavailable):
                await ledger.run(operator_decisions.pause, "ana", NOW)
            await ledger.run(operator_decisions.resume, "ana", NOW)
            assert (await ledger.run(queue_health, NOW)).paused is None

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("failing", [0, 1], ids=["at once", "after one that fails"])
def test_the_log_is_brought_into_the_main_file_every_few_operations(tmp_path: Path, failing: int) -> None:
    path = tmp_path / "relay.db"

    async def scenario() -> None:
        async with _ledger(path, *[CHECKPOINT] * failing) as ledger:
            for number in range(CHECKPOINT_EVERY * (1 + failing)):
                await ledger.run(_write, number)
            # Its turn comes after the work that the last one left.
            found = await ledger.run(lambda _ledger: _in_the_main_file(path))
            # After one that fails, how long the next one is put off depends on the disk.
            while failing and not found:
                await ledger.run(_write, 0)
                found = await ledger.run(lambda _ledger: _in_the_main_file(path))
            assert found >= CHECKPOINT_EVERY * (1 + failing)
            assert ledger.fault is None

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_looks_that_change_nothing_do_not_bring_the_next_checkpoint_forward(tmp_path: Path) -> None:
    with closing(file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=NOW).connection) as db:
        checkpoints: list[str] = []
        long_text = {"text": "x" * 20_000_000}
        db.set_trace_callback(lambda statement: checkpoints.append(statement) if statement == CHECKPOINT else None)
        ledger = Ledger(db, RULES)
        # A long commit, as on a slow disk: 20 MB that the cache holds until then.
        db.execute("pragma cache_size = -50000")
        db.begin()
        ledger.run("insert into strangers (phone_number, content, received_at) values ('+57', :text, 1)", long_text)
        db.commit()
        for _ in range(3):
            db.begin()
            ledger.all("select 1 from relay")
            db.commit()
        db.rest(CHECKPOINT_EVERY)
        assert len(checkpoints) == 1
        for number in range(CHECKPOINT_EVERY):
            db.begin()
            _write(ledger, number)
            db.commit()
            db.rest(1)
        assert len(checkpoints) == 1


def test_a_reader_that_takes_its_time_holds_back_no_operation(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"

    async def scenario() -> None:
        async with _ledger(path) as ledger:
            with closing(file.open_for_reading(path)) as reader:
                reader.execute("begin")
                assert reader.execute("select count(*) from strangers").fetchone()[0] == 0
                for number in range(3 * CHECKPOINT_EVERY):
                    await ledger.run(_write, number)
                assert reader.execute("select count(*) from strangers").fetchone()[0] == 0
            assert len(await ledger.run(Ledger.all, "select 1 from strangers")) == 3 * CHECKPOINT_EVERY

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_later_operation_finds_the_changes_of_an_earlier_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _ledger(tmp_path / "relay.db") as ledger:
            written = ledger.hand_over(_write, 1)
            assert len(await ledger.run(Ledger.all, "select 1 from strangers")) == 1
            await written

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_conflict_takes_back_its_own_operation_and_repeats_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _ledger(tmp_path / "relay.db") as ledger:
            statements: list[str] = []
            begun, may_go = threading.Event(), threading.Event()

            def hold(held: Ledger) -> None:
                assert isinstance(held.db, SqliteEngine)
                held.db.set_trace_callback(statements.append)
                begun.set()
                assert may_go.wait(10)

            holding = ledger.hand_over(hold)
            await asyncio.to_thread(begun.wait, 10)
            reported = [call(f"conv_{number}", phone=f"+57300{number:07}") for number in range(2000)]
            for number in range(0, 2000, 250):
                reported[number + 100] = call(f"conv_{number}", phone="+573138539155")
            states = [ledger.hand_over(calls.record_call, each, NOW) for each in reported]
            may_go.set()
            found = await asyncio.gather(holding, *states, return_exceptions=True)
            assert sum(isinstance(each, CallConflict) for each in found) == 8
            assert len(await ledger.run(Ledger.all, "select 1 from calls")) == 1992
            assert statements.count("commit") <= 2000 // GROUP + 3
            inserts = [each for each in statements if each.lstrip().startswith("insert into calls")]
            assert sum(each.count("'conv_") for each in inserts) == 1992

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_operations_that_succeed_take_no_savepoint(tmp_path: Path) -> None:
    async def scenario() -> None:
        with closing(file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=NOW).connection) as db:
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            ledger = LedgerThread(Ledger(db, RULES))
            await asyncio.gather(*(ledger.hand_over(_write, number) for number in range(20)))
            await ledger.close()
            assert sum("insert into strangers" in each for each in statements) == 20
            assert not [each for each in statements if each.startswith(("savepoint", "release"))]

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_operation_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def half(ledger: Ledger) -> None:
        _write(ledger, 1)
        raise ValueError("half way")

    async def scenario() -> None:
        async with _ledger(tmp_path / "relay.db") as ledger:
            before, failing, after = ledger.hand_over(_write, 0), ledger.hand_over(half), ledger.hand_over(_write, 2)
            with pytest.raises(ValueError, match="half way"):
                await failing
            await asyncio.gather(before, after)
            rows = await ledger.run(Ledger.all, "select received_at from strangers order by id")
            assert [row[0] for row in rows] == [0.0, 2.0]

            late = [ledger.hand_over(_write, 3), ledger.hand_over(half), ledger.hand_over(_write, 4)]
            results = await asyncio.gather(*late, return_exceptions=True)
            assert [isinstance(each, ValueError) for each in results] == [False, True, False]
            assert len(await ledger.run(Ledger.all, "select 1 from strangers")) == 4

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("times", [1, 2], ids=["who stay away", "who come back"])
@pytest.mark.parametrize("late", [1, LARGE // 2])
def test_what_is_handed_over_beside_a_commit_waits_for_the_callers_of_a_large_group(
    tmp_path: Path, late: int, times: int
) -> None:
    groups: list[int] = []

    async def scenario() -> None:
        loop, is_late = asyncio.get_running_loop(), threading.Event()
        handed_over = list[asyncio.Future[None]]()

        def hand_over_late() -> None:
            handed_over.extend(ledger.hand_over(_write, 0) for _ in range(late))
            is_late.set()

        def end_commit(_seconds: float) -> None:
            groups.append(1)
            if not is_late.is_set():
                loop.call_soon_threadsafe(hand_over_late)
                assert is_late.wait(60)

        async def write(number: int) -> None:
            for _ in range(times):
                # As long as a connection takes to its next request.
                for _ in range(3):
                    await asyncio.sleep(0)
                await ledger.run(_write, number)

        ledger = LedgerThread(Ledger(flaky(tmp_path / "relay.db", now=NOW), RULES), end_commit)
        await asyncio.gather(*(write(number) for number in range(LARGE)))
        await asyncio.gather(*handed_over)
        assert len(await ledger.run(Ledger.all, "select 1 from strangers")) == LARGE * times + late
        await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    # The last one is of the query.
    assert len(groups) == 3


def test_the_loop_does_what_nobody_waits_for_before_a_group_is_answered(tmp_path: Path) -> None:
    threads: list[int] = []

    async def scenario() -> None:
        is_done = threading.Event()

        def beside_commit() -> None:
            threads.append(threading.get_ident())
            is_done.set()

        def end_commit(_seconds: float) -> None:
            assert is_done.wait(60)

        opened = Ledger(flaky(tmp_path / "relay.db", now=NOW), RULES)
        ledger = LedgerThread(opened, end_commit, beside_commit=beside_commit)
        await asyncio.gather(*(ledger.run(_write, number) for number in range(3)))
        await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert threads == [threading.get_ident()]


def test_upkeep_shares_no_transaction_and_its_failure_undoes_nothing_else(tmp_path: Path) -> None:
    commits: list[float] = []
    may_go_on = threading.Event()

    def wait(_ledger: Ledger) -> None:
        assert may_go_on.wait(60)

    def fail_half_way(ledger: Ledger) -> None:
        _write(ledger, 4)
        raise LookupError

    async def scenario() -> None:
        ledger = LedgerThread(Ledger(flaky(tmp_path / "relay.db", now=NOW), RULES), commits.append)
        waits = asyncio.gather(*(ledger.run_alone(operation) for operation in (wait, partial(_write, number=1))))
        together = asyncio.gather(*(ledger.run(_write, number) for number in (2, 3)))
        # Their turn of the event loop, in which they are handed to the thread that waits.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fails = asyncio.create_task(ledger.run_alone(fail_half_way))
        await asyncio.sleep(0)
        may_go_on.set()
        await asyncio.gather(waits, together)
        with pytest.raises(LookupError):
            await fails
        # What failed is undone, and the commit of the rest is empty.
        assert len(commits) == 4
        rows = await ledger.run(Ledger.all, "select received_at from strangers order by received_at")
        assert [int(row[0]) for row in rows] == [1, 2, 3]
        await ledger.close()
        with pytest.raises(StorageUnavailable):
            await ledger.run_alone(_write, 5)

    asyncio.run(asyncio.wait_for(scenario(), 60))
