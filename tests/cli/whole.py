"""Runs any command as a separate process, without this process's environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests import forking

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> Sequence[str]:
    """The command line of a command."""
    return (sys.executable, "-m", "wa_relay", *arguments)


def environment(**more: str) -> dict[str, str]:
    """The environment of a plain terminal."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more}


def run(folder: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    """Runs a command to its end: exit status, standard output, standard error."""
    done = forking.run(arguments, env=environment(**env), folder=folder)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode(), done.stderr.decode()
