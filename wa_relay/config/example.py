"""The commented configuration file that `init` writes and the repository shows."""

from __future__ import annotations


def example_text() -> str:
    """Returns `config.example.toml`: every key, commented, at its default."""
    # Only `init` needs it, and its import is slower than that of all settings.
    from importlib.resources import files

    return (files("wa_relay") / "config.example.toml").read_text(encoding="utf-8")
