"""Stored webhooks: the rate beside a bare handler, and on a slow disk beside one commit for each webhook."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.baseline import Reference
from bench.processes import Process, run_json
from bench.product import API_TOKEN, INBOUND, PUBLIC, Product
from bench.reference import commits_per_second
from bench.report import Row, Settings, at_least, at_most, middle

CONNECTIONS, FORGE_EVERY = 32, 100
MANY = 100
"""Connections on the slow disk: a group holds at most what comes in during one sync."""

LISTENERS = 200
WAITS = {"reply": {"debounce_seconds": 15.0}}
"""The agent is not asked while the webhooks come in."""

SLOW_SYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int fsync(int fd) { usleep(2000); return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { usleep(2000); return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"""


def post(url: str, count: int, *, series: int, first: int = 1, **more: object) -> dict[str, float]:
    """One load of webhooks; raises AssertionError for any answer but a 200, or a 403 to a forged one."""
    job = {
        "url": url,
        "public_url": PUBLIC,
        "first": first,
        "count": count,
        "series": series,
        "connections": CONNECTIONS,
        "seconds": 60,
        "forge_every": FORGE_EVERY,
        **more,
    }
    result: dict[str, float] = run_json("bench.load", job)
    assert not result["wrong_answers"], result
    assert not result["lost"], result
    if job["forge_every"]:
        assert result["forged"] == result["sent"] // FORGE_EVERY, result
    return result


def stored(
    folder: Path,
    count: int,
    *,
    series: int,
    module: tuple[str, ...] = ("wa_relay",),
    env: Mapping[str, str] | None = None,
    connections: int = CONNECTIONS,
    listeners: int = 0,
) -> dict[str, float]:
    """A load on a fresh product, which is then killed; the stored rows must be those answered with 200.

    `listeners` clients follow its events meanwhile.
    """
    product = Product(folder, WAITS, module=module, env=env)
    product.seed(count)
    product.start()
    listening = Process(["-m", "bench.listening", product.url, API_TOKEN, str(listeners)]) if listeners else None
    try:
        if listening is not None:
            listening.first_line()
        before = product.process.cpu
        result = post(product.url, count, series=series, connections=connections)
        result["cpu"] = (product.process.cpu - before) / count * 1000.0
    finally:
        product.kill()
        if listening is not None:
            listening.stop()
    rows = product.count(INBOUND)
    assert rows == result["stored"], f"{rows} rows of {result['stored']} that were answered with 200"
    shutil.rmtree(folder)
    return result


def reference(settings: Settings) -> Reference:
    """The rates of the bare handler and of SQLite alone on this machine now."""
    count = settings.size(16_000, 8_000)
    bare = Process(["-m", "bench.reference", "handler", PUBLIC])
    try:
        url, before = bare.first_line(), bare.cpu
        handled = post(url, count, series=1)
        cpu = (bare.cpu - before) / count * 1000.0
    finally:
        bare.stop()
    return Reference(handled["per_second"], cpu, commits_per_second(settings.folder))


def webhooks(settings: Settings) -> list[Row]:
    """The rate at which webhooks are stored, in turn with a handler that stores nothing."""
    count = settings.size(16_000, 8_000)
    bare = Process(["-m", "bench.reference", "handler", PUBLIC])
    url = bare.first_line()
    handled, kept, commits = [], [], []
    try:
        for number in range(settings.rounds):
            commits.append(commits_per_second(settings.folder))
            before = bare.cpu
            handled.append(post(url, count, series=1))
            handled[-1]["cpu"] = (bare.cpu - before) / count * 1000.0
            kept.append(stored(settings.folder / f"webhooks-{number}", count, series=1))
    finally:
        bare.stop()
    rate, bare_rate = middle(kept, "per_second"), middle(handled, "per_second")
    name = "webhooks"
    return [
        Row(name, "SQLite alone: commits of one row", sorted(commits)[len(commits) // 2], "/s", is_compared=False),
        Row(
            name,
            "bare handler: parses and checks",
            bare_rate,
            "/s",
            f"p99 {middle(handled, 'p99_ms'):.1f} ms",
            is_compared=False,
        ),
        Row(name, "stored and answered", rate, "/s"),
        at_least(name, "part of the bare handler", rate / bare_rate * 100.0, "%", 25.0),
        Row(name, "p50", middle(kept, "p50_ms"), "ms", f"bare {middle(handled, 'p50_ms'):.1f}"),
        at_most(name, "p99", middle(kept, "p99_ms"), "ms", 15.0, f"bare {middle(handled, 'p99_ms'):.1f}"),
        Row(name, "processor time", middle(kept, "cpu"), "s/1,000", f"bare {middle(handled, 'cpu'):.3f}"),
    ]


def listeners(settings: Settings) -> list[Row]:
    """The rate at which webhooks are stored while 200 clients follow the events, in turn with none."""
    count = settings.size(16_000, 8_000)
    alone, followed = [], []
    for number in range(settings.rounds):
        alone.append(stored(settings.folder / f"alone-{number}", count, series=1))
        followed.append(stored(settings.folder / f"followed-{number}", count, series=1, listeners=LISTENERS))
    rate, beside = middle(followed, "per_second"), middle(alone, "per_second")
    name = "listeners"
    return [
        at_least(
            name, f"stored webhooks with {LISTENERS} listeners", rate / beside * 100.0, "%", 95.0, f"{rate:,.0f}/s"
        ),
        Row(name, "processor time", middle(followed, "cpu"), "s/1,000", f"without {middle(alone, 'cpu'):.3f}"),
    ]


def slow_sync(settings: Settings) -> list[Row]:
    """The same on a disk whose sync takes 2 ms longer, beside the same program with a commit for each."""
    source, shim = settings.folder / "slow_sync.c", settings.folder / "slow_sync.so"
    source.write_text(SLOW_SYNC, encoding="ascii")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    env = {"LD_PRELOAD": str(shim)}
    single, grouped, fewer = [], [], []
    for number in range(settings.rounds):
        folder = settings.folder / f"slow-{number}"
        fewer.append(stored(folder, settings.size(8_000, 4_000), series=1, env=env))
        one = ("bench.reference", "one_commit")
        single.append(stored(folder, settings.size(1500, 600), series=1, module=one, env=env, connections=MANY))
        grouped.append(stored(folder, settings.size(10_000, 5_000), series=1, env=env, connections=MANY))
    rate, alone = middle(grouped, "per_second"), middle(single, "per_second")
    name = "slow_sync"
    return [
        Row(name, "one commit a webhook", alone, "/s", f"p99 {middle(single, 'p99_ms'):.0f} ms", is_compared=False),
        Row(name, "groups", rate, "/s", f"p99 {middle(grouped, 'p99_ms'):.0f} ms"),
        at_least(name, "groups beside single commits", rate / alone, "×", 8.0),
        at_least(
            name,
            f"with {CONNECTIONS} connections",
            middle(fewer, "per_second") / alone,
            "×",
            8.0,
            f"p50 {middle(fewer, 'p50_ms'):.1f} ms",
        ),
    ]
