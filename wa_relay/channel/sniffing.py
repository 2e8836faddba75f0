"""Recognises a file by its first bytes. Pure. A few bytes prove nothing: only a whole signature counts."""

from __future__ import annotations

import re

from wa_relay.policy import Kind

SNIFFED = 512
"""Bytes that are looked at."""

_PATTERNS: tuple[tuple[bytes, Kind], ...] = (
    (rb"\xff\xd8\xff[\xe0\xe1\xe2\xee]..(JFIF|Exif|ICC_|Adob)", "image"),
    (rb"\xff\xd8\xff\xdb", "image"),
    (rb"\x89PNG\r\n\x1a\n", "image"),
    (rb"GIF8[79]a", "image"),
    (rb"RIFF....WEBPVP8", "image"),
    (rb"%PDF-[12]\.[0-9]", "pdf"),
    (rb"OggS\x00[\x00-\x07]", "audio"),
    (rb"ID3[\x02-\x04]\x00", "audio"),
    (rb"#!AMR(-WB)?\n", "audio"),
    (rb"RIFF....WAVEfmt ", "audio"),
    (rb"fLaC\x00", "audio"),
    (rb"PK\x03\x04", "other"),
    (rb"\x7fELF", "other"),
    (rb"MZ..", "other"),
    (rb"\s*(?i:<!doctype html|<html|<\?xml|<svg)", "other"),
)
_SIGNATURES = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _PATTERNS)


def found_kind(start: bytes) -> Kind | None:
    """The kind of a file that begins with these bytes; None if they are not known."""
    return next((kind for signature, kind in _SIGNATURES if signature.match(start)), None)
