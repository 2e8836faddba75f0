"""Dynamic variables and collected values inside ElevenLabs' answers. Pure, and lenient."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from wa_relay.elevenlabs.texts import readable, storable
from wa_relay.model import Scalar


def variables_from(value: object) -> dict[str, Scalar]:
    """Returns the dynamic variables as a session takes them: every one but the reserved `system__*`, as a scalar.

    A session whose prompt names a missing variable ends with close code 1008, so all are kept: null is
    an empty text, a list or object its JSON text.
    """
    if not isinstance(value, Mapping):
        return {}
    return {
        storable(name): _scalar(content)
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
            return storable(json.dumps(value, ensure_ascii=False))
        except (ValueError, TypeError, RecursionError):
            return ""
    return ""


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
