"""Runs the reading commands as separate processes, without this process's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import forking

COMMAND = (sys.executable, "-m", "wa_relay")
ROOT = Path(__file__).parents[2]
COMPLETE = {
    "WA_RELAY_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "WA_RELAY_TWILIO_AUTH_TOKEN": "0" * 32,
    "WA_RELAY_TWILIO_SENDER": "whatsapp:+14155238886",
    "WA_RELAY_TWILIO_BASE_URL": "http://127.0.0.1:9",
    "WA_RELAY_ELEVENLABS_API_KEY": "sk_0",
    "WA_RELAY_ELEVENLABS_BASE_URL": "http://127.0.0.1:9",
    "WA_RELAY_SERVER_PUBLIC_URL": "http://127.0.0.1:9",
    "WA_RELAY_SERVER_TOKEN": "0" * 64,
    "WA_RELAY_SERVER_PORT": "0",
}
"""The settings that `serve` needs, by environment; nothing listens at the services' addresses."""


def environment(database: Path, **more: str) -> dict[str, str]:
    """A plain UTF-8 terminal's environment that names the database."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "WA_RELAY_DATABASE_PATH": str(database),
        "WA_RELAY_CONFIG": "",
        "PYTHONWARNINGS": "error",
        **more,
    }


def run(database: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end."""
    return forking.run(arguments, env=environment(database, **env), folder=ROOT)


def printed(database: Path, *arguments: str, **env: str) -> str:
    """Returns the output of a command that succeeds, with nothing on standard error."""
    done = run(database, *arguments, **env)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode()
