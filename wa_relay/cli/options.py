"""The global options, as every command receives them in `ctx.obj`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the command. `config_path` is None without `--config`."""

    config_path: Path | None = None
    no_color: bool = False
