"""A poll of a batch of 10,000 recipients: when all of them have changed, and when ten have."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from statistics import median

from bench.product import AGENT, Product
from bench.report import Row, Settings, at_most
from bench.twilio_form import phone
from bench.upstreams import ElevenLabs

KNOWN = "select count(*) from calls"
RECIPIENTS = 10_000
FEW = 10


def poll(settings: Settings) -> list[Row]:
    """From the first 200 until every call is in the database; no message is sent."""
    many = settings.size(RECIPIENTS, 2_000)
    elevenlabs = ElevenLabs()
    product = Product(
        settings.folder / "poll",
        {
            "elevenlabs": {"base_url": elevenlabs.url},
            "poll": {"enabled": True, "interval_seconds": 3600},
            "opening.completed": {"body": ""},
        },
        module=("bench.watched", str(settings.folder / "poll-loop")),
    )
    try:
        product.seed(0)
        people = [{"phone": phone(customer)} for customer in range(1, RECIPIENTS + settings.rounds * FEW + 1)]
        batch = elevenlabs.control("batch", {"name": "Campaña", "agent_id": AGENT, "recipients": people})["batch"]
        _end(elevenlabs, batch, range(many))
        all_of_them = _round(settings, product, many)
        each_few = []
        for known in range(many, many + settings.rounds * FEW, FEW):
            _end(elevenlabs, batch, range(known, known + FEW))
            each_few.append(_round(settings, product, known + FEW))
    finally:
        product.kill()
        elevenlabs.process.stop()
    shutil.rmtree(product.folder)
    few = tuple(median(figures) for figures in zip(*each_few, strict=True))
    rows = []
    for count, (seconds, cpu, late) in ((many, all_of_them), (FEW, few)):
        what = f"{count:,} of {RECIPIENTS:,} changed"
        rows += [
            Row("poll", f"{what}: time", seconds, "s"),
            Row("poll", f"{what}: processor time", cpu, "s"),
            # The worst moment of a poll: 13 to 30 ms in runs of one commit. Its limit stays.
            replace(at_most("poll", f"{what}: loop held up", late, "ms", 50.0), is_compared=False),
        ]
    return rows


def _end(elevenlabs: ElevenLabs, batch: str, positions: range) -> None:
    for position in positions:
        elevenlabs.control("finish", {"batch": batch, "position": position, "outcome": "completed"})


def _round(settings: Settings, product: Product, known: int) -> tuple[float, float, float]:
    product.start()
    began, before = time.monotonic(), product.process.cpu
    while product.count(KNOWN) < known:
        assert time.monotonic() < began + 120.0, f"{product.count(KNOWN)} of {known} calls"
        time.sleep(0.005)
    seconds, spent = time.monotonic() - began, product.process.cpu - before
    product.stop()
    late = (settings.folder / "poll-loop").read_text(encoding="ascii").split()[0]
    (settings.folder / "poll-loop").unlink()
    return seconds, spent, float(late)
