"""Makes a picture of each command on the demo's data: `python docs/command_pictures.py docs/pictures/commands`.

The demo is played; then each command runs on a terminal of its own beside the demo's daemon, and what it prints becomes
an SVG that refers to nothing outside itself.
"""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

sys.path.insert(0, str(Path(__file__).parent.parent))

from docs.picture import THEME, plain_format, recording
from wa_relay.cli.output import on_file
from wa_relay.demo import played
from wa_relay.demo.campaign import AGENT, ANA

COLUMNS, MOST_LINES = 100, 42
SHOWN_FOLDER = "/var/lib/wa-relay"
SHOWN_PYTHON = "/opt/wa-relay/bin/python"
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
    "backup": ("backup", "copy.db"),
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
"""In the order in which they run: a picture may show what an earlier command did.

`demo` has a picture of its own; `serve` and `tail` print log lines until they are stopped, and `restore` needs a daemon
that is stopped.
"""


def run(arguments: Sequence[str], config: Path) -> str:
    """What a command prints on a terminal, with its colours."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 (a command of this project)
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
    printed = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux reports the end of a terminal as an error
            break
        if not part:
            break
        printed += part
    os.close(ours)
    process.wait(60)
    text = printed.decode("utf-8", "replace").replace("\r\n", "\n").replace(sys.executable, SHOWN_PYTHON)
    return text.replace(f"{config.parent}/", "").replace(str(config.parent), SHOWN_FOLDER)


def picture(name: str, arguments: Sequence[str], printed: str) -> str:
    """The terminal after a command, as an SVG."""
    console = recording(COLUMNS)
    written = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    console.print(Text.assemble(("$ ", "dim"), (f"wa-relay {written}", "bold")))
    lines = printed.rstrip("\n").split("\n")
    for line in lines[:MOST_LINES]:
        console.print(Text.from_ansi(line))
    if len(lines) > MOST_LINES:
        console.print(Text("…", style="dim"))
    return console.export_svg(title=f"wa-relay {name}", theme=THEME, code_format=plain_format(), unique_id=name)


async def main(folder: Path) -> None:
    """Plays the demo, runs the commands, and writes the pictures."""
    with tempfile.TemporaryDirectory() as place:
        async with played(on_file(io.StringIO(), width=COLUMNS), Path(place)) as s:
            for name, arguments in COMMANDS.items():
                printed = await asyncio.to_thread(run, arguments, s.daemon.config)
                (folder / f"{name}.svg").write_text(picture(name, arguments, printed), encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
