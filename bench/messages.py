"""Whole messages: a webhook, the agent's answer, and its way to Twilio. At full load and at 50 a second."""

from __future__ import annotations

import shutil
import time
from statistics import median

from bench import upstreams
from bench.processes import run_json
from bench.product import AGENT, INBOUND, SENT, Product
from bench.report import Row, Settings, at_least, at_most, middle
from bench.upstreams import ElevenLabs, Twilio
from bench.webhooks import post

WITHIN = 90.0
RATE = 50.0
"""Messages a second of the measure of latency."""

WARM = 20
"""Messages sent before measuring, so that one-time loading is not counted."""


def one_load(settings: Settings, transport: str, count: int, *, number: int, rate: float | None) -> dict[str, float]:
    """Sends `count` messages through a fresh product between fresh stand-ins."""
    twilio, elevenlabs = Twilio(), ElevenLabs()
    folder = settings.folder / f"messages-{transport}-{number}"
    product = Product(folder, upstreams.settings(twilio, elevenlabs, transport))
    try:
        product.seed(count + WARM)
        product.start()
        time.sleep(1.0)
        idle = product.process.resident
        post(product.url, WARM, series=1, first=count + 1, forge_every=0)
        _wait(product, WARM)
        began = [process.cpu for process in (product.process, twilio.process, elevenlabs.process)]
        result = post(product.url, count, series=2, forge_every=0, rate=rate, times=True)
        _wait(product, count + WARM)
        spent = [process.cpu for process in (product.process, twilio.process, elevenlabs.process)]
        peak, accepted = product.process.peak, twilio.accepted()
        delays = upstreams.delays(result["sent_at"], accepted)  # type: ignore[arg-type]
        assert len(delays) == count, f"{len(delays)} of {count} people were answered"
        assert all(len(times) == 1 for times in accepted.values()), "a customer got two answers"
        first, last = min(result["sent_at"].values()), max(times[-1] for times in accepted.values())  # type: ignore[attr-defined]
        product.kill()
        rows = product.count(INBOUND)
        assert rows == count + WARM, f"{rows} rows of {count + WARM} that were answered with 200"
        cost = [(after - before) / count * 1000.0 for before, after in zip(began, spent, strict=True)]
        return {
            "rate": count / (last - first),
            "p50": delays[len(delays) // 2] * 1000.0,
            "p99": delays[int(len(delays) * 0.99)] * 1000.0,
            "cpu": cost[0],
            "twilio_cpu": cost[1],
            "elevenlabs_cpu": cost[2],
            "idle": idle,
            "peak": peak,
        }
    finally:
        product.kill()
        twilio.process.stop()
        elevenlabs.process.stop()
        shutil.rmtree(folder)


def _wait(product: Product, sent: int) -> None:
    end = time.monotonic() + WITHIN
    while product.count(SENT) < sent:
        assert time.monotonic() < end, f"{product.count(SENT)} of {sent} messages within {WITHIN:.0f} s"
        time.sleep(0.05)


def _saturated(settings: Settings, transport: str, count: int, least: float) -> list[Row]:
    runs = [one_load(settings, transport, count, number=number, rate=None) for number in range(settings.rounds)]
    name = f"messages_{transport}"
    beside = f"stand-ins {middle(runs, 'twilio_cpu'):.2f} + {middle(runs, 'elevenlabs_cpu'):.2f}"
    return [
        at_least(name, "whole messages at saturation", middle(runs, "rate"), "/s", least),
        Row(name, "processor time", middle(runs, "cpu"), "s/1,000", beside),
        at_most(name, "resident, idle", middle(runs, "idle"), "MB", 80.0),
        at_most(name, "resident at full load, the most", middle(runs, "peak"), "MB", 150.0),
    ]


def messages_http(settings: Settings) -> list[Row]:
    """Over a gateway's HTTP call."""
    return _saturated(settings, "http", settings.size(6_000, 2_500), 1200.0)


def messages_websocket(settings: Settings) -> list[Row]:
    """Over a new WebSocket session for each turn."""
    return _saturated(settings, "websocket", settings.size(2_500, 800), 250.0)


def _bare(transport: str, count: int) -> float:
    """Seconds of a message that a bare client carries between fresh stand-ins, p50."""
    twilio, elevenlabs = Twilio(), ElevenLabs()
    job = {"elevenlabs": elevenlabs.url, "twilio": twilio.url, "agent": AGENT, "transport": transport}
    try:
        sent_at = run_json("bench.bare_relay", {**job, "count": count, "rate": RATE})
        return upstreams.delays(sent_at, twilio.accepted())[count // 2]
    finally:
        twilio.process.stop()
        elevenlabs.process.stop()


def _added(settings: Settings, transport: str) -> list[Row]:
    count = int(RATE) * settings.size(8, 4)
    runs, bare = [], []
    for number in range(settings.rounds):
        bare.append(_bare(transport, count) * 1000.0)
        runs.append(one_load(settings, transport, count, number=number, rate=RATE))
    name, p50, p99, alone = f"latency_{transport}", middle(runs, "p50"), middle(runs, "p99"), median(bare)
    beside = f"a bare client {alone:.1f}"
    return [
        Row(name, "webhook to Twilio, p50", p50, "ms", beside),
        Row(name, "webhook to Twilio, p99", p99, "ms", beside),
        at_most(name, "added to the services' own, p50", p50 - alone, "ms", 5.0),
        at_most(name, "added to the services' own, p99", p99 - alone, "ms", 30.0),
        Row(name, "processor time at 50/s", middle(runs, "cpu"), "s/1,000"),
    ]


def latency_http(settings: Settings) -> list[Row]:
    """50 messages a second, beside a client that makes the same requests and stores nothing."""
    return _added(settings, "http")


def latency_websocket(settings: Settings) -> list[Row]:
    """The same with a session for each turn."""
    return _added(settings, "websocket")
