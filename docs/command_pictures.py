"""Makes a picture of each command on the demo's data: `python docs/command_pictures.py docs/pictures/commands`.

The demo is played; then each command runs on a terminal of its own beside the demo's daemon, and what it prints becomes
an SVG that refers to nothing outside itself.
"""

from __future__ import annotations

import asyncio
import io
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

sys.path.insert(0, str(Path(__file__).parent.parent))

from docs.picture import THEME, plain_format, recording
from wa_relay.cli.output import on_file
from wa_relay.demo import played
from wa_relay.demo.campaign import AGENT, ANA, DIEGO
from wa_relay.demo.stage import Stage

COLUMNS, MOST_LINES = 100, 42
SHOWN_FOLDER = "/var/lib/wa-relay"
SHOWN_PYTHON = "/opt/wa-relay/bin/python"
BACKUP = "copy.db"
COMMANDS: Mapping[str, Sequence[str]] = {
    "history": ("history", ANA.phone),
    "stats": ("stats", "--by", "batch"),
    "why": ("why", ANA.phone),
    "calls": ("calls",),
    "search": ("search", "plan"),
    "context": ("context", ANA.phone),
    "opt-out": ("opt-out", "list"),
    "takeover": ("takeover", ANA.phone, "--hours", "2"),
    "inbox": ("inbox",),
    "say": ("say", ANA.phone, "Hola Ana, soy Lucía del equipo."),
    "release": ("release", ANA.phone),
    "pause": ("pause",),
    "resume": ("resume",),
    "doctor": ("doctor",),
    "database": ("database", "info"),
    "backup": ("backup", BACKUP),
    "resolve": ("resolve",),
    "config": ("config", "show"),
    "service": ("service", "unit"),
    "console": ("console", "user", "list"),
    "export": ("export", ANA.phone),
    "plan": ("plan", "--since", "1d"),
    "replay": ("replay", ANA.phone, "--agent", AGENT.agent_id, "--yes"),
    "retention": ("retention", "--dry-run"),
    "send-test": ("send-test", ANA.phone, "Hola, esta es una prueba."),
    "init": ("init", "example.toml"),
    "forget": ("forget", ANA.phone, "--yes"),
}
"""In the order in which they run: a picture may show what an earlier command did. `demo` has a picture of its own."""

RESTORE = ("restore", BACKUP, "--yes")
"""Runs on the database that `serve` has served and left: it needs a daemon that is stopped."""

ENDS_WITHIN, QUIET_AFTER = 60.0, 3.0
"""Seconds."""

FIRST_EVENT_TRIES = 10
SECOND_PORT = 8080

WRITTEN = ("Hola, una pregunta más.", "¿Atienden los sábados?")
"""What the customer writes while `tail` follows."""


class Running:
    """A command on a terminal of its own. `printed` is what it has written so far."""

    def __init__(self, arguments: Sequence[str], config: Path) -> None:
        self._config = config
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(  # noqa: S603 (a command of this project)
            (sys.executable, "-m", "wa_relay", "--config", str(config), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=config.parent,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(__file__).parent.parent),
                "LANG": "C.UTF-8",
                "TERM": "xterm-256color",
                "COLUMNS": str(COLUMNS),
            },
        )
        os.close(theirs)
        self._written = b""

    @property
    def printed(self) -> str:
        """The text with its colours, and with paths and addresses as a reader's own would be."""
        text = self._written.decode("utf-8", "replace").replace("\r\n", "\n").replace(sys.executable, SHOWN_PYTHON)
        return text.replace(f"{self._config.parent}/", "").replace(str(self._config.parent), SHOWN_FOLDER)

    def read(self, *, within: float) -> bool:
        """Reads what comes next. False if nothing comes within some seconds, or when the command has ended."""
        if not select.select([self._terminal], [], [], within)[0]:
            return False
        try:
            part = os.read(self._terminal, 65536)
        except OSError:  # Linux reports the end of a terminal as an error
            return False
        self._written += part
        return bool(part)

    def interrupt(self) -> None:
        """Ends it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> str:
        """Returns all that it has printed, once it has ended."""
        while self.read(within=ENDS_WITHIN):
            pass
        os.close(self._terminal)
        self._process.wait(ENDS_WITHIN)
        return self.printed


def run(arguments: Sequence[str], config: Path) -> str:
    """Returns what a command prints on a terminal, with its colours."""
    return Running(arguments, config).finish()


def served(config: Path) -> str:
    """Returns what `serve` prints from its start to Ctrl-C."""
    daemon = Running(("serve",), config)
    while "listens on" not in daemon.printed and daemon.read(within=ENDS_WITHIN):
        pass
    while daemon.read(within=QUIET_AFTER):
        pass
    daemon.interrupt()
    return daemon.finish()


async def followed(s: Stage) -> str:
    """Returns what `tail` prints while a customer writes and gets an answer."""
    following = Running(("tail",), s.daemon.config)
    # It shows what happens from its start on, and does not say when that is.
    for _ in range(FIRST_EVENT_TRIES):
        if following.printed:
            break
        await s.twilio.customer_writes(DIEGO.phone, WRITTEN[0])
        await asyncio.to_thread(following.read, within=QUIET_AFTER)
    await s.twilio.customer_writes(DIEGO.phone, WRITTEN[1])
    while await asyncio.to_thread(following.read, within=QUIET_AFTER):
        pass
    following.interrupt()
    return await asyncio.to_thread(following.finish)


def second_config(first: Path) -> Path:
    """A configuration like the demo's in another folder, for a daemon that has no database yet; a backup lies there."""
    settings = first.read_text(encoding="utf-8")
    port = tomllib.loads(settings)["server"]["port"]
    path = first.parent / "second" / first.name
    path.parent.mkdir()
    path.write_text(settings.replace(f"port = {port}", f"port = {SECOND_PORT}"), encoding="utf-8")
    path.chmod(0o600)
    for name in (BACKUP, "wa-relay.db.forgotten"):
        shutil.copy(first.parent / name, path.parent)
    return path


def picture(name: str, arguments: Sequence[str], printed: str) -> str:
    """Draws the terminal after a command, as an SVG."""
    console = recording(COLUMNS)
    written = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    console.print(Text.assemble(("$ ", "dim"), (f"wa-relay {written}", "bold")))
    lines = printed.rstrip("\n").split("\n")
    for line in lines[:MOST_LINES]:
        console.print(Text.from_ansi(line))
    if len(lines) > MOST_LINES:
        console.print(Text("…", style="dim"))
    # The frame ends at the last line's base: the tails of its letters would be cut off.
    console.print()
    return console.export_svg(title=f"wa-relay {name}", theme=THEME, code_format=plain_format(), unique_id=name)


def keep(folder: Path, name: str, arguments: Sequence[str], printed: str) -> None:
    """Writes a command's picture."""
    (folder / f"{name}.svg").write_text(picture(name, arguments, printed), encoding="utf-8")


async def main(folder: Path) -> None:
    """Plays the demo, runs the commands, and writes the pictures."""
    with tempfile.TemporaryDirectory() as place:
        async with played(on_file(io.StringIO(), width=COLUMNS), Path(place)) as s:
            for name, arguments in COMMANDS.items():
                printed = await asyncio.to_thread(run, arguments, s.daemon.config)
                keep(folder, name, arguments, printed)
            keep(folder, "tail", ("tail",), await followed(s))
            config = second_config(s.daemon.config)
            keep(folder, "serve", ("serve",), await asyncio.to_thread(served, config))
            keep(folder, "restore", RESTORE, await asyncio.to_thread(run, RESTORE, config))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
