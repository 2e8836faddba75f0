"""The longest time for which the product's event loop is blocked at full load."""

from __future__ import annotations

import shutil

from bench import upstreams
from bench.messages import _wait
from bench.product import Product
from bench.report import Row, Settings, at_most
from bench.upstreams import ElevenLabs, Twilio
from bench.webhooks import post


def loop(settings: Settings) -> list[Row]:
    """From the first 200: whole messages at saturation, including the first."""
    worst: list[tuple[float, float]] = []
    count = settings.size(4_000, 1_500)
    for number in range(settings.rounds):
        twilio, elevenlabs = Twilio(), ElevenLabs()
        folder = settings.folder / f"loop-{number}"
        seen = settings.folder / f"worst-{number}"
        product = Product(folder, upstreams.settings(twilio, elevenlabs, "http"), module=("bench.watched", str(seen)))
        try:
            product.seed(count)
            product.start()
            post(product.url, count, series=1, forge_every=0)
            _wait(product, count)
        finally:
            product.kill()
            twilio.process.stop()
            elevenlabs.process.stop()
            shutil.rmtree(folder)
        first, second = map(float, seen.read_text(encoding="ascii").split())
        worst.append((first, second))
    late, busy = sorted(worst)[len(worst) // 2]
    return [at_most("loop", "held up at the worst", late, "ms", 50.0, f"of which the loop worked {busy:.1f} ms")]
