"""Five hundred voice notes in a minute: memory stays flat, and those who write texts get their answers as fast."""

from __future__ import annotations

import base64
import shutil
import time

from bench import upstreams
from bench.product import Product
from bench.report import Row, Settings, at_least, at_most
from bench.twilio_form import phone
from bench.upstreams import ElevenLabs, Twilio, ask

NOTE_BYTES = 60_000
"""Bytes of a voice note of half a minute."""

TEXTS_PER_SECOND, NOTES_PER_SECOND = 4.0, 500 / 60
TRANSCRIBED = "select count(*) from media where state = 'ready'"


def voice_notes(settings: Settings) -> list[Row]:
    """Texts alone, then the same texts beside the voice notes."""
    seconds = settings.size(60, 12)
    notes, texts = round(NOTES_PER_SECOND * seconds), round(TEXTS_PER_SECOND * seconds)
    twilio, elevenlabs = Twilio(), ElevenLabs()
    shown = upstreams.settings(twilio, elevenlabs, "websocket")
    shown["twilio"]["verify_signature"] = False
    product = Product(settings.folder / "voice_notes", shown)
    try:
        product.seed(notes + 2 * texts)
        product.start()
        ask(f"{twilio.url}/_standin/settings", {"webhook_url": f"{product.url}/webhook/twilio/incoming"})
        elevenlabs.tell("settings", {"speech_delay": 0.3})
        alone, _ = _play(product, twilio, seconds, texts, first=notes + 1, notes=0)
        beside, most = _play(product, twilio, seconds, texts, first=notes + texts + 1, notes=notes)
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
        at_most("voice notes", f"{notes} in {seconds} s: resident at most", max(most, resident), "MB", 150.0),
        at_most("voice notes", "texts of others, added to p99", added, "ms", 50.0, figures),
        at_least("voice notes", "transcribed", 100.0 * heard / notes, "%", 99.0),
    ]


def _play(
    product: Product, twilio: Twilio, seconds: float, texts: int, *, first: int, notes: int
) -> tuple[list[float], float]:
    """Lets customers write; returns the seconds to each text's answer, and the most memory in MB."""
    began, sent_at, most = time.monotonic(), dict[str, float](), 0.0
    events = sorted(
        [((number + 0.5) * seconds / texts, "text", first + number) for number in range(texts)]
        + [(number * seconds / max(notes, 1), "note", number + 1) for number in range(notes)]
    )
    for at, kind, person in events:
        time.sleep(max(0.0, began + at - time.monotonic()))
        written: dict[str, object] = {"phone": phone(person), "wait": False}
        if kind == "text":
            sent_at[str(person)] = time.time()
            written["body"] = "¿Cuánto cuesta?"
        else:
            content = b"OggS" + person.to_bytes(4, "big") + bytes(NOTE_BYTES)
            written["media"] = {"content_type": "audio/ogg", "base64": base64.b64encode(content).decode()}
        ask(f"{twilio.url}/_standin/customer", written)
        most = max(most, product.process.resident)
    time.sleep(5.0)
    return upstreams.delays(sent_at, twilio.accepted()), most


def _p99(delays: list[float]) -> float:
    return delays[min(len(delays) - 1, int(len(delays) * 0.99))]
