"""The configuration of a command."""

from __future__ import annotations

import os
from pathlib import Path

from wa_relay.cli.options import Options
from wa_relay.config import Config, discover, load


def load_config(options: Options, *, serving: bool = False) -> Config:
    """Loads the configuration; raises `ConfigError` with all its faults.

    `serving` also requires what only `serve` needs.
    """
    cwd = Path.cwd()
    path = discover(options.config_path, os.environ, cwd)
    return load(path, os.environ, cwd=cwd, serving=serving)
