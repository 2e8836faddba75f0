"""Several daemons on one PostgreSQL database: whatever happens to one of them, nothing is lost or sent twice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.stage import ANA, TOKEN, Answer, Relay, Stage, payload, run, stage, until
from tests.engines import Cluster
from tests.ledger.conftest import RULES
from tests.pg_proxy import CuttingProxy
from wa_relay.ledger import handover, server
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.send_barrier import once_nothing_begins
from wa_relay.policy import Operator

TAKEN_OVER = 15.0
"""Seconds within which another daemon has to take over (contract 12)."""


@dataclass(slots=True)
class Several:
    """Daemons on one database, between the same stand-ins."""

    stage: Stage
    relays: list[Relay]

    async def call(self, relay: Relay, method: str, path: str, body: object = None) -> Answer:
        """Makes one request to one of the daemons."""
        headers = {"X-Service-Token": TOKEN}
        async with self.stage.http.request(method, relay.url + path, headers=headers, json=body) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def report(self, relay: Relay, call: object) -> None:
        """Reports a call as the backend does: again while the daemon can't store it."""
        answer = await self.call(relay, "POST", "/api/call-completed", call)
        if answer.status == 503:
            await asyncio.sleep(0.2)
            await self.report(relay, call)
        else:
            assert answer.status in (200, 202), answer

    async def health(self, relay: Relay) -> Answer:
        """Asks one of the daemons how it is; 0 for one that does not answer."""
        try:
            return await asyncio.wait_for(self.call(relay, "GET", "/health"), 5)
        except (OSError, TimeoutError):
            return Answer(0, {}, "{}")
        except Exception as error:
            if type(error).__module__.startswith("aiohttp"):
                return Answer(0, {}, "{}")
            raise

    async def until_health(self, relay: Relay, status: int, within: float) -> float:
        """Waits for a status of `/health` and returns the seconds that it took."""
        began = time.monotonic()
        while (await self.health(relay)).status != status:
            assert time.monotonic() - began < within, f"{status} did not come\n{relay.log[-3000:]}"
            await asyncio.sleep(0.1)
        return time.monotonic() - began


@asynccontextmanager
async def several(
    folder: Path, url: str, count: int = 3, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> AsyncIterator[Several]:
    """Starts daemons on one database, the first of which is the leader."""
    shared = {"database": {"url": url}, **(settings or {})}
    async with stage(folder, shared) as one:
        relays = [one.relay]
        for number in range(1, count):
            own = folder / f"host{number}"
            own.mkdir()
            relay = Relay(own, one.relay._settings, {})
            await relay.start()
            relays.append(relay)
        try:
            yield Several(one, relays)
        finally:
            for relay in relays[1:]:
                if relay.process is not None and relay.process.returncode is None:
                    relay.process.send_signal(signal.SIGCONT)
                await relay.stop(signal.SIGKILL)


@pytest.fixture
def url(cluster: Cluster) -> object:
    made = cluster.create()
    yield made
    cluster.drop(made)


def test_a_call_that_all_daemons_hear_of_at_once_is_followed_by_one_opening(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        unlimited = {"opening": {"burst_limit": 0}, "twilio": {"messages_per_second": 500}}
        async with several(tmp_path, url, 3, unlimited) as daemons:
            phones = [f"+573138539{number:03}" for number in range(200)]
            payloads = [payload(f"conv_{number}", phone) for number, phone in enumerate(phones)]
            for begin in range(0, len(payloads), 25):
                wave = payloads[begin : begin + 25]
                await asyncio.gather(*(daemons.report(relay, each) for each in wave for relay in daemons.relays))
            await until(lambda: len(daemons.stage.twilio.accepted()) >= len(phones), 150)
            await asyncio.sleep(1.0)  # a second send would have happened by then
            counts = Counter(message.to for message in daemons.stage.twilio.accepted())
            assert counts == dict.fromkeys(phones, 1)
            listed = (await daemons.health(daemons.relays[2])).json["daemons"]
            assert [each["leader"] for each in listed] == [True, False, False]

    run(scenario(), 300)


def test_another_daemon_takes_over_from_one_that_was_killed(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        async with several(tmp_path, url, 2) as daemons:
            first, second = daemons.relays
            await daemons.call(first, "POST", "/api/call-completed", payload("conv_1"))
            await daemons.stage.sent(1)
            await first.kill()
            began = time.monotonic()
            await daemons.call(second, "POST", "/api/call-completed", payload("conv_2", "+573001112233"))
            await daemons.stage.sent(1, "+573001112233", TAKEN_OVER)
            while not (await daemons.health(second)).json["daemons"][-1]["leader"]:
                assert time.monotonic() - began < TAKEN_OVER
                await asyncio.sleep(0.1)

    run(scenario(), 90)


def test_a_daemon_that_was_stopped_for_longer_than_its_lease_starts_again_by_itself(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        async with several(tmp_path, url, 2) as daemons:
            first, second = daemons.relays
            assert first.process is not None
            os.kill(first.process.pid, signal.SIGSTOP)
            began = time.monotonic()
            while [each["leader"] for each in (await daemons.health(second)).json.get("daemons", [])] != [True]:
                assert time.monotonic() - began < TAKEN_OVER + 5
                await asyncio.sleep(0.1)
            os.kill(first.process.pid, signal.SIGCONT)
            await until(lambda: "lease_lost" in first.log, 10, first.log[-2000:])
            await daemons.until_health(first, 200, 20)
            await daemons.call(first, "POST", "/api/call-completed", payload("conv_3"))
            await daemons.stage.sent(1)

    run(scenario(), 120)


def test_every_daemon_survives_a_restart_of_the_server(tmp_path: Path, cluster: Cluster, url: str) -> None:
    async def scenario() -> None:
        async with several(tmp_path, url, 2) as daemons:
            cluster.kill_server()
            for relay in daemons.relays:
                await daemons.until_health(relay, 503, 15)
            cluster.start_server()
            for relay in daemons.relays:
                await daemons.until_health(relay, 200, 15)
            await daemons.call(daemons.relays[1], "POST", "/api/call-completed", payload("conv_1"))
            await daemons.stage.sent(1)

    run(scenario(), 120)


async def _take_over(url: str) -> None:
    """Takes Ana's conversation over as another host does."""
    ledger = LedgerThread(Ledger(server.open_for_writing(url, account_sid="", now=None).connection, RULES))
    operator, now = Operator("ana", "api"), time.time()
    try:
        taken = await once_nothing_begins(lambda begun: ledger.run(handover.take_over, ANA, operator, None, now, begun))
    finally:
        await ledger.close()
    assert taken is not None


def test_a_reply_that_one_host_has_claimed_does_not_begin_after_the_takeover_of_another(
    tmp_path: Path, cluster: Cluster, url: str
) -> None:
    claimed = "select 1 from conversation_messages where status = 'sending' and kind = 'reply'"

    async def scenario() -> None:
        with (
            psycopg.connect(url, autocommit=True) as watcher,
            CuttingProxy(cluster.folder / "data") as proxy,
        ):
            through = url.replace(str(cluster.folder / "data"), str(proxy.folder))
            assert through != url
            async with stage(tmp_path, {"database": {"url": through}}) as first:
                await first.report()
                await first.sent(1)
                proxy.hold_once(lambda: watcher.execute(claimed).fetchone() is not None)
                await first.twilio.customer_writes(ANA, "¿precio?")
                await until(proxy.holding.is_set, 10)
                # In this process: on a busy machine a command begins so late that the lease of the first one is over.
                await _take_over(url)
                proxy.release()
                ended = "select 1 from conversation_messages where kind = 'reply' and reason = 'handed_over'"
                await until(lambda: watcher.execute(ended).fetchone() is not None, 20)
                assert len(first.bodies()) == 1

    run(scenario(), 100)
