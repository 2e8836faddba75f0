"""PostgreSQL beside SQLite in one run: stored webhooks with one daemon and with three, and whole messages with one.

The server comes from PyPI, on the same machine; each commit of it is durable, as SQLite's are.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import upstreams
from bench.product import INBOUND, SENT, Product
from bench.report import Row, Settings, at_least, at_most, middle
from bench.upstreams import ElevenLabs, Twilio
from bench.webhooks import WAITS, post
from tests.engines import Cluster

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
