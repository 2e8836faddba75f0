"""What daemons on one PostgreSQL database announce to each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.engines import Cluster
from tests.ledger.conftest import NOW, RULES, call, written
from wa_relay.ledger import calls, claims, inbox, send_results, server, store
from wa_relay.ledger.listening import Announced, listen, parse
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted

EVERYTHING: Announced = {"send": 0.0, "turn": 0.0, "media": 0.0, "moved": 0.0}
"""What a daemon hears when it begins to listen."""


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    made = cluster.copy(NOW - 3600.0)
    yield made
    cluster.drop(made)


def _other(url: str) -> Ledger:
    ledger = Ledger(server.open_for_writing(url, account_sid="AC1", now=NOW).connection, RULES)
    ledger.db.begin()
    store.begin_run(ledger, NOW)
    calls.record_call(ledger, call(), NOW - 60)
    ledger.db.commit()
    return ledger


def test_a_daemon_hears_at_once_what_another_has_committed(url: str) -> None:
    async def scenario() -> None:
        other = _other(url)
        heard: asyncio.Queue[Announced] = asyncio.Queue()
        own = asyncio.create_task(listen(url, other.epoch + 1, heard.put_nowait))
        assert await asyncio.wait_for(heard.get(), 10) == EVERYTHING
        other.db.begin()
        inbox.record_inbound(other, written(sid="SM1"), NOW)
        other.db.rollback()
        other.db.begin()
        due = inbox.record_inbound(other, written(sid="SM1"), NOW + 7.0).due_at
        began = time.monotonic()
        other.db.commit()
        assert await asyncio.wait_for(heard.get(), 10) == {"turn": due}
        assert time.monotonic() - began < 5.0
        own.cancel()
        other.db.close()

    asyncio.run(scenario())


def test_the_result_of_an_opening_wakes_the_requests_of_the_others(url: str) -> None:
    async def scenario() -> None:
        other = _other(url)
        (job,) = claims.claim_messages(other, 1, NOW).jobs
        heard: asyncio.Queue[Announced] = asyncio.Queue()
        own = asyncio.create_task(listen(url, other.epoch + 1, heard.put_nowait))
        assert await asyncio.wait_for(heard.get(), 10) == EVERYTHING
        assert job.outgoing.message_id is not None
        other.db.begin()
        send_results.finish_send(other, job.outgoing.message_id, Accepted("SM1"), NOW)
        other.db.commit()
        assert await asyncio.wait_for(heard.get(), 10) == {"moved": NOW}
        own.cancel()
        other.db.close()

    asyncio.run(scenario())


def test_a_daemon_does_not_hear_itself_and_listens_again_after_a_lost_connection(url: str, cluster: Cluster) -> None:
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen wa_relay'"

    async def scenario() -> None:
        other = _other(url)
        heard: asyncio.Queue[Announced] = asyncio.Queue()
        own = asyncio.create_task(listen(url, other.epoch, heard.put_nowait))
        assert await asyncio.wait_for(heard.get(), 10) == EVERYTHING
        other.db.begin()
        inbox.record_inbound(other, written(sid="SM1"), NOW)
        other.db.commit()
        assert other.db.execute(cut).fetchone() is not None
        assert await asyncio.wait_for(heard.get(), 10) == EVERYTHING
        own.cancel()
        other.db.close()

    asyncio.run(scenario())


def test_a_payload_that_nobody_sends_is_nothing() -> None:
    assert parse("7 send=0.500 turn=1.000 tea=2") == (7, {"send": 0.5, "turn": 1.0})
    assert parse("0 send=0.000") == (None, {"send": 0.0})
    assert parse("") == (None, {})
    assert parse("x turn=now") == (None, {})
