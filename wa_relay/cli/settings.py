"""What every command shares: where the configuration is, and how to print."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wa_relay.config import Config, discover, load


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options of one call."""

    config_path: Path | None = None
    no_color: bool = False

    def config(self, *, serving: bool = False) -> Config:
        """Loads the configuration; raises `ConfigError` with all its faults."""
        cwd = Path.cwd()
        path = discover(self.config_path, os.environ, cwd)
        return load(path, os.environ, cwd=cwd, serving=serving)
