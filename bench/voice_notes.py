"""Five hundred voice notes in a minute: memory stays flat, and customers who write texts are answered as fast."""

from __future__ import annotations

import base64
import shutil
import time
from dataclasses import replace
from itertools import islice

from bench import upstreams
from bench.product import Product
from bench.report import Row, Settings, at_least, at_most
from bench.twilio_form import phone
from bench.upstreams import ElevenLabs, Twilio, ask

NOTE_BYTES = 60_000
"""Bytes of a voice note of half a minute."""

TEXTS_PER_SECOND, NOTES_PER_SECOND = 4.0, 500 / 60
SLICES = 3
"""How often texts alone and texts beside notes take turns, so that other load on the machine affects both."""

TRANSCRIBED = "select count(*) from media where state = 'ready'"


def voice_notes(settings: Settings) -> list[Row]:
    """Texts alone, then the same texts beside the voice notes."""
    seconds = settings.size(60, 12) / SLICES
    notes, texts = round(NOTES_PER_SECOND * seconds), round(TEXTS_PER_SECOND * seconds)
    twilio, elevenlabs = Twilio(), ElevenLabs()
    shown = upstreams.settings(twilio, elevenlabs, "websocket")
    shown["twilio"]["verify_signature"] = False
    product = Product(settings.folder / "voice_notes", shown)
    try:
        product.seed(SLICES * (notes + 2 * texts))
        product.start()
        ask(f"{twilio.url}/_standin/settings", {"webhook_url": f"{product.url}/webhook/twilio/incoming"})
        elevenlabs.control("settings", {"speech_delay": 0.3})
        alone, beside, most, cpu = list[float](), list[float](), 0.0, 0.0
        people = iter(range(1, SLICES * (notes + 2 * texts) + 1))
        for _ in range(SLICES):
            before = product.process.cpu
            quiet, _ = _play(product, twilio, seconds, list(islice(people, texts)), [])
            between = product.process.cpu
            busy, reached = _play(product, twilio, seconds, list(islice(people, texts)), list(islice(people, notes)))
            alone, beside, most = alone + quiet, beside + busy, max(most, reached)
            cpu += product.process.cpu - between - (between - before)
        notes *= SLICES
        end = time.monotonic() + 60.0
        while (heard := product.count(TRANSCRIBED)) < notes and time.monotonic() < end:
            time.sleep(0.2)
        resident = product.process.resident
    finally:
        product.kill()
        twilio.process.stop()
        elevenlabs.process.stop()
        shutil.rmtree(product.folder)
    added = (_p99(beside) - _p99(alone)) * 1000.0
    figures = f"p99 {_p99(alone) * 1000:.0f} ms alone, {_p99(beside) * 1000:.0f} ms beside {notes} voice notes"
    return [
        at_most(
            "voice notes", f"{notes} in {seconds * SLICES:.0f} s: resident at most", max(most, resident), "MB", 150.0
        ),
        # The same code had 0.3 and 10 ms.
        replace(at_most("voice notes", "texts of others, added to p99", added, "ms", 50.0, figures), is_compared=False),
        at_most("voice notes", "processor time of one, from webhook to answer", cpu / notes * 1000.0, "ms", 20.0),
        at_least("voice notes", "transcribed", 100.0 * heard / notes, "%", 99.0),
    ]


def _play(
    product: Product, twilio: Twilio, seconds: float, texts: list[int], notes: list[int]
) -> tuple[list[float], float]:
    """Lets these customers write within `seconds`. Returns the seconds to each text's answer, and the most MB."""
    began, sent_at, most = time.monotonic(), dict[str, float](), 0.0
    events = sorted(
        [((number + 0.5) * seconds / len(texts), "text", customer) for number, customer in enumerate(texts)]
        + [(number * seconds / len(notes), "note", customer) for number, customer in enumerate(notes)]
    )
    for at, kind, customer in events:
        time.sleep(max(0.0, began + at - time.monotonic()))
        written: dict[str, object] = {"phone": phone(customer), "wait": False}
        if kind == "text":
            sent_at[str(customer)] = time.time()
            written["body"] = "¿Cuánto cuesta?"
        else:
            content = b"OggS" + customer.to_bytes(4, "big") + bytes(NOTE_BYTES)
            written["media"] = {"content_type": "audio/ogg", "base64": base64.b64encode(content).decode()}
        ask(f"{twilio.url}/_standin/customer", written)
        most = max(most, product.process.resident)
    time.sleep(5.0)
    return upstreams.delays(sent_at, twilio.accepted()), most


def _p99(delays: list[float]) -> float:
    return sorted(delays)[min(len(delays) - 1, int(len(delays) * 0.99))]
