"""A real Prometheus scrapes the daemon while webhooks come, with the alert rules of the documentation."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.scraping import server_options
from tests.e2e.stage import Stage, payload, run, stage
from tests.server.served import new_key, new_phone
from wa_relay.standins.port import free_port

CUSTOMERS = 60
WITHIN = 60.0


@asynccontextmanager
async def prometheus(relay: int, folder: Path) -> AsyncIterator[str]:
    """Runs Prometheus, and yields its address once it is ready."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        *server_options(folder, port, f"127.0.0.1:{relay}", every="500ms"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def ask(s: Stage, address: str, path: str, **query: str) -> Any:
    """The `data` of a response; None while Prometheus does not answer."""
    try:
        async with s.http.get(f"{address}/api/v1/{path}", params=query) as answer:
            return (await answer.json())["data"]
    except aiohttp.ClientError:
        return None


async def value(s: Stage, address: str, query: str) -> float | None:
    """The one value of a query."""
    found = await ask(s, address, "query", query=query)
    return float(found["result"][0]["value"][1]) if found and found["result"] else None


async def reaches(s: Stage, address: str, query: str, wanted: float) -> None:
    """Waits until a query has a value."""
    end = asyncio.get_running_loop().time() + WITHIN
    while (seen := await value(s, address, query)) != wanted:
        assert asyncio.get_running_loop().time() < end, f"{query} is {seen}, not {wanted}"
        await asyncio.sleep(0.25)


@pytest.mark.soak
def test_prometheus_sees_what_happens_and_takes_the_alert_rules(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")

    async def talk(s: Stage, phone: str) -> None:
        await s.report(payload(new_key(), phone))
        await s.sent(1, phone, WITHIN)
        await s.twilio.customer_writes(phone, "¿Cuánto cuesta el plan?")
        await s.sent(2, phone, WITHIN)

    inside = tmp_path / "prometheus"
    inside.mkdir()

    async def scenario() -> None:
        async with (
            stage(tmp_path, {"opening": {"burst_limit": 0}}) as s,
            prometheus(s.relay.port, inside) as at,
        ):
            await reaches(s, at, 'up{job="wa-relay"}', 1)
            for _ in range(CUSTOMERS // 10):
                await asyncio.gather(*(talk(s, new_phone()) for _ in range(10)))
            for query, wanted in (
                ('wa_relay_calls_total{source="push",outcome="completed"}', CUSTOMERS),
                ('wa_relay_sends_total{kind="opening",result="accepted"}', CUSTOMERS),
                ('wa_relay_sends_total{kind="reply",result="accepted"}', CUSTOMERS),
                ('wa_relay_turns_total{result="answered"}', CUSTOMERS),
                ('wa_relay_webhooks_total{route="/webhook/twilio/incoming",code="200"}', CUSTOMERS),
                ('wa_relay_receipts_total{status="read"}', 2 * CUSTOMERS),
                ("wa_relay_queue_pending", 0),
                ("min_over_time(up[5m])", 1),
            ):
                await reaches(s, at, query, wanted)
            rules = [rule for group in (await ask(s, at, "rules"))["groups"] for rule in group["rules"]]
            assert {rule["health"] for rule in rules} == {"ok"}
            assert {rule["state"] for rule in rules} == {"inactive"}
            names = await ask(s, at, "label/__name__/values")
            assert len([name for name in names if name.startswith("wa_relay_")]) > 20
            labels = await ask(s, at, "labels")
            assert not {"phone", "name", "customer"} & set(labels)

    run(scenario(), 240)
