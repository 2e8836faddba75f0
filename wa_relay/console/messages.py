"""The console's texts, as data: one file for each language, with the same keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "messages"


class Messages:
    """The messages of one language, by their dotted keys."""

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        self.language = language
        self._texts = texts

    @classmethod
    def load(cls, language: str) -> Messages:
        """Reads the messages of a language."""
        tables = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
        texts = {f"{table}.{name}": text for table, names in tables.items() for name, text in names.items()}
        return cls(language, texts)

    @property
    def keys(self) -> frozenset[str]:
        """Every key."""
        return frozenset(self._texts)

    def __call__(self, key: str, **values: Any) -> str:
        """The message of a key, with its values put in; raises `KeyError` for an unknown key."""
        text = self._texts[key]
        return text.format(**values) if values else text

    def count(self, key: str, n: int, **values: Any) -> str:
        """The message for a number of things: `key.one` or `key.other`."""
        return self(f"{key}_one" if n == 1 else f"{key}_other", n=n, **values)

    def code(self, table: str, code: str | None) -> str:
        """Explains a code; returns the code itself if no message explains it."""
        if not code:
            return ""
        return self._texts.get(f"{table}.{code}", code)
