"""Values inside ElevenLabs' answers: texts, dynamic variables, collected values, transcripts. Pure, and lenient."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from wa_relay.model import Scalar
from wa_relay.text.spanish import SPANISH


def readable(value: object) -> str | None:
    """Returns a text that any store and any terminal takes, None for an empty text or another type.

    Lone surrogates and NULs can't be stored as UTF-8 text: they are replaced or taken out.
    """
    return _storable(value).strip() or None if isinstance(value, str) else None


def variables_from(value: object) -> dict[str, Scalar]:
    """Returns the dynamic variables as a session takes them: every one but the reserved `system__*`, as a scalar.

    A session whose prompt names a missing variable ends with close code 1008, so all are kept: null is
    an empty text, a list or object its JSON text.
    """
    if not isinstance(value, Mapping):
        return {}
    return {
        _storable(name): _scalar(content)
        for name, content in value.items()
        if isinstance(name, str) and not name.startswith("system__")
    }


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        return readable(value) or ""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping | list):
        try:
            return _storable(json.dumps(value, ensure_ascii=False))
        except (ValueError, TypeError, RecursionError):
            return ""
    return ""


def _storable(text: str) -> str:
    """Replaces lone surrogates and removes NULs: both are invalid in stored UTF-8 text."""
    return text if text.isascii() and "\0" not in text else text.encode("utf-8", "replace").decode().replace("\0", "")


def collected_values(value: object) -> dict[str, Scalar] | None:
    """Returns the values of a data collection by name: texts, numbers and booleans, without those that are null."""
    if not isinstance(value, Mapping):
        return None
    values: dict[str, Scalar] = {}
    for name, result in value.items():
        content = result.get("value") if isinstance(result, Mapping) else None
        if isinstance(content, str):
            values[name] = readable(content) or ""
        elif isinstance(content, bool | int) or (isinstance(content, float) and math.isfinite(content)):
            values[name] = content
    return values


def transcript_text(value: object) -> str | None:
    """Returns the spoken lines as `Agente: …` and `Cliente: …`, one a line, None without any.

    A message's own line breaks become spaces, so that one side can't forge a line of the other.
    """
    lines: list[str] = []
    for turn in value if isinstance(value, list) else ():
        if not isinstance(turn, Mapping):
            continue
        message, role = readable(turn.get("message")), readable(turn.get("role")) or "?"
        if message:
            lines.append(f"{SPANISH.speakers.get(role, role)}: {' '.join(message.split())}")
    return "\n".join(lines) or None
