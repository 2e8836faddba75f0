"""Runs on one PostgreSQL database: leases, what is taken over, and commits whose answer was lost."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.engines import Cluster
from tests.ledger.conftest import NOW, PHONE, RULES, call, written
from tests.pg_proxy import CuttingProxy, When
from wa_relay.ledger import calls, claims, consent, inbox, journal, runs, server, store, turns
from wa_relay.ledger.faults import LeaseLost, StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread

Start = Callable[[], Ledger]
LOSE = "update runs set lease_until = 0 where id = :id"


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    made = cluster.copy(NOW - 3600.0)
    yield made
    cluster.drop(made)


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """Begins a run as another daemon would."""
    opened: list[Ledger] = []

    def begin() -> Ledger:
        ledger = Ledger(server.open_for_writing(url, account_sid="AC1", now=NOW).connection, RULES)
        store.begin_run(ledger, NOW)
        opened.append(ledger)
        return ledger

    yield begin
    for ledger in opened:
        ledger.db.close()


def _busy(ledger: Ledger) -> tuple[int, int]:
    """Begins a send and a turn; returns their ids."""
    calls.record_call(ledger, call(), NOW)
    (sending,) = claims.claim_messages(ledger, 5, NOW).jobs
    inbox.record_inbound(ledger, written(), NOW + 1)
    (asking,) = turns.claim_turns(ledger, 5, NOW + 60).jobs
    assert sending.outgoing.message_id is not None
    return sending.outgoing.message_id, asking.turn_id


def _states(ledger: Ledger, message: int, turn: int) -> tuple[str, str]:
    return (
        ledger.need_one("select status from conversation_messages where id = :id", {"id": message})["status"],
        ledger.need_one("select state from turns where id = :id", {"id": turn})["state"],
    )


def test_the_work_of_a_living_run_is_left_to_it(start: Start) -> None:
    first, second = start(), start()
    begun = _busy(first)
    renewed = runs.renew(second, NOW)
    assert (renewed.lost, len(renewed.daemons)) == (0, 2)
    assert _states(second, *begun) == ("sending", "asking")


def test_the_work_of_a_living_run_is_left_to_it_when_another_run_is_lost(start: Start) -> None:
    first, second, third = start(), start(), start()
    begun = _busy(first)
    second.run(LOSE, {"id": third.epoch})
    renewed = runs.renew(second, NOW)
    assert (renewed.lost, renewed.sends, renewed.turns) == (1, 0, 0)
    assert _states(second, *begun) == ("sending", "asking")


def test_the_work_of_a_lost_run_is_taken_over_once(start: Start) -> None:
    first, second, third = start(), start(), start()
    begun = _busy(first)
    second.run(LOSE, {"id": first.epoch})
    assert [(each.lost, each.sends, each.turns) for each in (runs.renew(second, NOW), runs.renew(third, NOW))] == [
        (1, 1, 1),
        (0, 0, 0),
    ]
    assert _states(second, *begun) == ("uncertain", "open")


def test_a_lost_run_begins_no_transaction_any_more(start: Start) -> None:
    first, second = start(), start()
    first.db.begin()
    first.db.commit()
    second.run(LOSE, {"id": first.epoch})
    with pytest.raises(LeaseLost):
        first.db.begin()
    assert not first.db.in_transaction


def test_the_end_of_a_command_ends_no_run(start: Start, url: str) -> None:
    daemon = start()
    command = Ledger(server.open_for_writing(url, account_sid="AC1", now=NOW).connection, RULES, epoch=daemon.epoch)
    store.end_run(command)
    command.db.close()
    daemon.db.begin()
    daemon.db.rollback()


def test_one_run_leads_until_it_ends(start: Start) -> None:
    first, second = start(), start()
    assert [runs.renew(each, NOW).leads for each in (first, second, first)] == [True, False, True]
    store.end_run(first)
    assert runs.renew(second, NOW).leads


def test_the_breakers_watch_begins_with_the_first_daemon(start: Start) -> None:
    first = start()
    first.run(claims.END_WATCH)
    second = start()
    assert not second.need_one(store.SELECT_RELAY)["watching"]


def test_a_run_whose_settings_differ_sees_those_of_the_other(start: Start) -> None:
    first, second = start(), start()
    assert runs.describe_run(first, '{"a": 1}') is None
    assert runs.describe_run(second, '{"a": 2}') == '{"a": 1}'


def test_an_opt_out_and_a_claim_do_not_cross(start: Start) -> None:
    first, second = start(), start()
    calls.record_call(first, call(), NOW)
    claimed: list[int] = []

    def claim() -> None:
        second.db.begin()
        claimed.append(len(claims.claim_messages(second, 5, NOW).jobs))
        second.db.commit()

    first.db.begin()
    assert consent.opt_out(first, PHONE, "customer", NOW)
    claiming = threading.Thread(target=claim)
    claiming.start()
    claiming.join(0.5)  # long enough for both to overlap, if they could
    first.db.commit()
    claiming.join(10)
    assert claimed == [0]


@pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
def test_a_commit_whose_answer_was_lost_is_looked_up(url: str, cluster: Cluster, when: When, stored: int) -> None:
    host = Path(parse_qs(urlsplit(url).query)["host"][0])

    async def scenario() -> None:
        with CuttingProxy(host) as proxy:
            through = url.replace(str(host), str(proxy.folder))
            found = server.open_for_writing(through, account_sid="AC1", now=NOW)
            ledger = LedgerThread(Ledger(found.connection, RULES))
            await ledger.run(store.begin_run, NOW)
            proxy.cut(when)
            if stored:
                assert (await ledger.run(calls.record_call, call(), NOW)).created
            else:
                with pytest.raises(StorageUnavailable):
                    await ledger.run(calls.record_call, call(), NOW)
            assert proxy.cuts == 1
            assert len(await ledger.run(Ledger.all, "select id from calls")) == stored
            await ledger.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def _read_while_three_write(url: str, start: Start, entries: int, page: int) -> None:
    """Appends `entries` by three writers, some to a commit. A reader that reconnects at random sees each once."""
    dice = random.Random(entries)
    ledgers = [start() for _ in range(3)]
    sizes: list[int] = []
    while sum(sizes) < entries:
        sizes.append(dice.randint(1, 12))

    def append(number: int) -> None:
        ledger = ledgers[number]
        for place in range(number, len(sizes), 3):
            ledger.db.begin()
            for part in range(sizes[place]):
                journal.record(ledger, journal.Entry("operator", f"{place}-{part}"), NOW)
            ledger.db.commit()

    writers = [threading.Thread(target=append, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    seen: list[str] = []
    last, reader = 0, server.open_for_reading(url)
    while True:
        alive = any(writer.is_alive() for writer in writers)
        if dice.random() < 0.05:
            reader.close()
            reader = server.open_for_reading(url)
        found = journal.read_after(reader, last, page)
        seen += [str(each.entry.reason) for each in found]
        last = found[-1].id if found else last
        if not alive and last == journal.newest_id(reader):
            reader.close()
            break
    written = [f"{place}-{part}" for place, size in enumerate(sizes) for part in range(size)]
    assert len(written) >= entries
    assert sorted(seen) == sorted(written)


def test_a_reader_of_the_journal_misses_nothing_that_three_writers_append(url: str, start: Start) -> None:
    _read_while_three_write(url, start, 1_000, 7)


@pytest.mark.soak
def test_of_100000_entries_by_three_writers_a_reader_misses_none_and_sees_none_twice(url: str, start: Start) -> None:
    _read_while_three_write(url, start, 100_000, 500)
