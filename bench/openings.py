"""Twenty thousand openings that are due at once: they go out at the configured rate, and memory stays flat."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing

from bench import upstreams
from bench.product import SENT, Product
from bench.report import Row, Settings, at_least, at_most
from bench.upstreams import ElevenLabs, Twilio

RATE = 800.0
QUEUE = """
    insert into conversation_messages (conversation_id, direction, kind, content, status, call_id, created_at, due_at,
        not_after)
    select conversation_id, 'outbound', 'opening', 'Hola', 'queued', id, :now, :now, :now + 80000 from calls"""


def openings(settings: Settings) -> list[Row]:
    """Sampled ten times a second, from the first opening that was sent to the last."""
    count = settings.size(20_000, 2_000)
    twilio, elevenlabs = Twilio(), ElevenLabs()
    shown = upstreams.settings(twilio, elevenlabs, "http")
    shown["twilio"]["messages_per_second"] = RATE
    product = Product(settings.folder / "openings", shown)
    samples: list[float] = []
    try:
        product.seed(count)
        with closing(sqlite3.connect(product.database)) as db:
            db.execute(QUEUE, {"now": time.time()})
            db.commit()
        product.start()
        end = time.monotonic() + count / RATE * 2 + 30
        while (sent := product.count(SENT)) < count:
            assert time.monotonic() < end, f"{sent} of {count}"
            if sent:
                samples.append(product.process.resident)
            time.sleep(0.1)
        accepted = twilio.accepted()
    finally:
        product.kill()
        twilio.process.stop()
        elevenlabs.process.stop()
        shutil.rmtree(product.folder)
    assert len(accepted) == count, f"{len(accepted)} of {count} people"
    assert all(len(times) == 1 for times in accepted.values()), "an opening was sent twice"
    times = sorted(times[0] for times in accepted.values())
    rate = (count - 1) / (times[-1] - times[0])
    half, late = samples[len(samples) // 2], samples[-1]
    beside = f"{samples[0]:.1f} MB at the first, {half:.1f} MB half way, {late:.1f} MB at the last"
    return [
        at_least("openings", f"rate, configured {RATE:.0f}/s", rate, "/s", RATE * 0.97),
        at_most("openings", "rate, not above it", rate, "/s", RATE * 1.01),
        at_most("openings", "resident at the last, beside half way", late / half, "×", 1.03, beside),
    ]
