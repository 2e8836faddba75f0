"""PostgreSQL beside SQLite in one run: stored webhooks with one daemon and with three, and whole messages with one.

`wake` measures what it costs that a message is stored by one daemon and sent by another. The server comes from PyPI,
on the same machine; each commit of it is durable, as SQLite's are.
"""

from __future__ import annotations

import asyncio
import shutil
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from bench import upstreams
from bench.call_report import TOKEN, call_request
from bench.product import AGENT, INBOUND, SENT, Product
from bench.report import Row, Settings, at_least, at_most, middle
from bench.twilio_form import ACCOUNT, phone
from bench.upstreams import ElevenLabs, Twilio
from bench.webhooks import WAITS, post
from tests.engines import Cluster
from tests.ledger.conftest import RULES, call
from wa_relay.ledger import calls, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread

DAEMONS = 3
WITHIN = 90.0


def postgres(settings: Settings) -> list[Row]:
    """Both engines in turn, on fresh databases."""
    count, whole = settings.size(9_000, 3_000), settings.size(3_000, 900)
    found: dict[str, list[dict[str, float]]] = {}
    cluster = Cluster(durable=True)
    try:
        for number in range(settings.rounds):
            folder = settings.folder / f"postgres-{number}"
            for name, result in (
                ("sqlite", _stored(folder, count, "", 1)),
                ("one", _stored(folder, count, cluster.create(), 1)),
                ("three", _stored(folder, count, cluster.create(), DAEMONS)),
                ("whole_sqlite", _measure_messages(folder, whole, "")),
                ("whole_one", _measure_messages(folder, whole, cluster.create())),
            ):
                found.setdefault(name, []).append(result)
    finally:
        cluster.stop()
    return _rows(found)


def _rows(found: dict[str, list[dict[str, float]]]) -> list[Row]:
    sqlite, one, three = (middle(found[name], "per_second") for name in ("sqlite", "one", "three"))
    whole_sqlite, whole = middle(found["whole_sqlite"], "per_second"), middle(found["whole_one"], "per_second")
    name = "postgres"
    return [
        Row(name, "stored webhooks, SQLite", sqlite, "/s", f"p99 {middle(found['sqlite'], 'p99_ms'):.1f} ms"),
        Row(name, "stored webhooks, PostgreSQL, one daemon", one, "/s", f"{one / sqlite:.2f} × SQLite"),
        at_most(name, "p99 of them", middle(found["one"], "p99_ms"), "ms", 50.0),
        Row(name, "processor time of the daemon", middle(found["one"], "cpu"), "s/1,000"),
        Row(name, f"stored webhooks, PostgreSQL, {DAEMONS} daemons", three, "/s", f"{three / one:.2f} × one"),
        Row(name, "whole messages, SQLite", whole_sqlite, "/s"),
        at_least(name, "whole messages, PostgreSQL, part of SQLite", whole / whole_sqlite, "×", 0.3, f"{whole:,.0f}/s"),
    ]


def _stored(folder: Path, count: int, server: str, daemons: int) -> dict[str, float]:
    """A load of webhooks, shared among several daemons on one database."""
    products = [Product(folder / str(number), WAITS, server=server) for number in range(daemons)]
    products[0].seed(count)
    share = count // daemons
    try:
        for product in products:
            product.start()
        before = sum(product.process.cpu for product in products)
        began = time.perf_counter()
        with ThreadPoolExecutor(daemons) as pool:
            loads = list(
                pool.map(
                    lambda number: post(products[number].url, share, series=1 + number, first=1 + number * share),
                    range(daemons),
                )
            )
        took = time.perf_counter() - began
        cpu = sum(product.process.cpu for product in products) - before
        stored = sum(load["stored"] for load in loads)
        assert products[0].count(INBOUND) == stored
        rate = loads[0]["per_second"] if daemons == 1 else sum(load["sent"] for load in loads) / took
        return {
            "per_second": rate,
            "p99_ms": max(load["p99_ms"] for load in loads),
            "cpu": cpu / (share * daemons) * 1000.0,
        }
    finally:
        for product in products:
            product.kill()
        shutil.rmtree(folder)


def _measure_messages(folder: Path, count: int, server: str) -> dict[str, float]:
    """A load of messages, each answered by the agent over HTTP."""
    twilio, elevenlabs = Twilio(), ElevenLabs()
    product = Product(folder, upstreams.settings(twilio, elevenlabs, "http"), server=server)
    try:
        product.seed(count)
        product.start()
        time.sleep(1.0)
        result = post(product.url, count, series=2, forge_every=0, times=True)
        end = time.monotonic() + WITHIN
        while product.count(SENT) < count:
            assert time.monotonic() < end, f"{product.count(SENT)} of {count} messages within {WITHIN:.0f} s"
            time.sleep(0.1)
        accepted = twilio.accepted()
        assert all(len(times) == 1 for times in accepted.values()), "a customer was answered twice"
        sent_at: dict[str, float] = result["sent_at"]  # type: ignore[assignment]
        return {"per_second": count / (max(times[-1] for times in accepted.values()) - min(sent_at.values()))}
    finally:
        product.kill()
        twilio.process.stop()
        elevenlabs.process.stop()
        shutil.rmtree(folder)


def wake(settings: Settings) -> list[Row]:
    """A daemon's sends of what another one has stored, in turn with what it has stored itself."""
    cluster, twilio = Cluster(durable=True), Twilio()
    product = Product(settings.folder / "wake", {"twilio": {"base_url": twilio.url}}, server=cluster.create())
    try:
        product.seed(0)
        product.start()
        elsewhere, itself = asyncio.run(_waking(product, twilio, settings.size(60, 20)))
    finally:
        product.kill()
        twilio.process.stop()
        cluster.stop()
    name, cost = "wake", (median(elsewhere) - median(itself)) * 1000.0
    return [
        Row(name, "call stored by the daemon, until Twilio has its opening", median(itself) * 1000.0, "ms", "median"),
        Row(
            name, "call stored by another daemon", median(elsewhere) * 1000.0, "ms", f"most {max(elsewhere) * 1000:.0f}"
        ),
        at_most(name, "the wake", cost, "ms", 50.0),
    ]


async def _waking(product: Product, twilio: Twilio, count: int) -> tuple[list[float], list[float]]:
    """Seconds until Twilio has an opening: of calls stored by this process, which sends nothing, and by the daemon."""
    opened = product.place.open_for_writing(account_sid=ACCOUNT, now=time.time())
    ledger = LedgerThread(Ledger(opened.connection, RULES))
    took: tuple[list[float], list[float]] = ([], [])
    try:
        await ledger.run(store.begin_run, time.time())
        for number in range(2 * count):
            began = time.time()
            if number % 2 == 0:
                made = call(f"conv_wake_{number}", phone=phone(number), agent_id=AGENT, ended_at=began)
                await ledger.run(calls.record_call, made, began)
            else:
                await asyncio.to_thread(_report, product.url, number)
            while (accepted := (await asyncio.to_thread(twilio.accepted)).get(phone(number))) is None:
                assert time.time() - began < WITHIN
            took[number % 2].append(accepted[0] - began)
    finally:
        await ledger.close()
    return took


def _report(url: str, number: int) -> None:
    """Reports one call to the daemon as a campaign's backend does."""
    request = call_request(number, series=9)
    head, _, body = request.partition(b"\r\n\r\n")
    path = head.split(b" ", 2)[1].decode()
    headers = {"Content-Type": "application/json", "X-Service-Token": TOKEN}
    with urllib.request.urlopen(
        urllib.request.Request(url + path, data=body, headers=headers), timeout=WITHIN
    ) as answer:
        assert answer.status in (200, 202)
