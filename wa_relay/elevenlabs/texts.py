"""Texts inside ElevenLabs' answers, and transcripts. Pure, and lenient."""

from __future__ import annotations

from collections.abc import Mapping

from wa_relay.text.fixed_phrases import SPANISH


def readable(value: object) -> str | None:
    """Returns a text that any store and any terminal takes, None for an empty text or another type.

    Lone surrogates and NULs can't be stored as UTF-8 text: they are replaced or taken out.
    """
    return storable(value).strip() or None if isinstance(value, str) else None


def storable(text: str) -> str:
    """Replaces lone surrogates and removes NULs: both are invalid in stored UTF-8 text."""
    return text if text.isascii() and "\0" not in text else text.encode("utf-8", "replace").decode().replace("\0", "")


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
