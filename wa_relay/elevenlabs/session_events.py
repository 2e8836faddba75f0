"""Reads the events of an ElevenLabs text session without trusting any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

Body = Mapping[str, object]


def parse(event: str | Body) -> Body | None:
    """The event as a mapping; None if it is not JSON, or no object."""
    if not isinstance(event, str):
        return event
    try:
        parsed = json.loads(event)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def body_of(event: Body, name: str) -> Body:
    """Returns the object under `name`, empty without one."""
    body = event.get(name)
    return body if isinstance(body, Mapping) else {}


def text_of(body: Body, name: str) -> str | None:
    """Returns the string under `name`, None without one."""
    value = body.get(name)
    return value if isinstance(value, str) else None


def id_of(body: Body) -> int | None:
    """The `event_id`, None when it is missing or no number."""
    value = body.get("event_id")
    return value if isinstance(value, int) and not isinstance(value, bool) else None
