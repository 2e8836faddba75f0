"""The settings that the daemons of every crash run share."""

from __future__ import annotations

from tests.crash.people import FALLBACK

Section = dict[str, object]


def hurried(agents_url: str) -> dict[str, Section]:
    """Short waits, so that the kills meet every step, and no breaker, whose hold would need an operator."""
    return {
        "elevenlabs": {
            "api_key": "sk_standin",
            "webhook_secret": "wsec_standin",
            "base_url": agents_url,
            "settle_seconds": 0.2,
            "turn_timeout_seconds": 1.5,
        },
        "log": {"level": "debug"},
        "poll": {"interval_seconds": 1, "push_grace_seconds": 0.3},
        "opening": {"burst_limit": 0},
        "reply": {"debounce_seconds": 0.1, "max_length": 240, "fallback": FALLBACK},
    }
