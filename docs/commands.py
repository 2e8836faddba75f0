"""Makes the command reference from the help of the commands: `python docs/commands.py OUT.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from wa_relay.cli.app import ENTRIES, SUMMARY, app
from wa_relay.cli.lazy import load_command

HERE, PICTURES = Path(__file__).parent, "pictures/commands"
EXIT_CODES = {
    0: "success; also: nothing to list, or the reader closed the pipe",
    1: "the operation failed: Twilio refused, no customer with that number, a message that is not uncertain, `init` "
    "over an existing file, an output file that can't be written, a failed check of `doctor`",
    2: "wrong usage: an unknown command or option, an invalid phone number, date or id",
    65: "the database is from a newer version, or the file is not a database of wa-relay",
    74: "the database is missing (for commands that only read), damaged, or can't be read or written",
    75: "a temporary failure: another daemon holds the database, the port is taken, no network",
    78: "invalid configuration: every fault is listed, with file, key and what to do",
    130: "interrupted; `serve` exits with 0",
}
INTRODUCTION = f"""# Commands

{SUMMARY} Usage: `wa-relay [OPTIONS] COMMAND`, also `python -m wa_relay`.

Results go to stdout, logs and progress to stderr. A phone number has its country code and may be written with spaces
and hyphens. `pause`, `resume` and `resolve` act through the running daemon, or directly if none runs:
run them as the daemon's user.

This page is made from the help screens (`make commands`), its pictures from the demo (`make command-pictures`).
"""


def reference() -> str:
    """Returns the whole page."""
    root: Any = typer.main.get_command(app)
    parts = [INTRODUCTION, _table(root, "wa-relay")]
    panel = ""
    for name, entry in ENTRIES.items():
        if entry.panel != panel:
            panel = entry.panel
            parts.append(f"## {panel}\n")
        parts.append(_section(name, entry.example))
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts.append(f"## Exit codes\n\n| exit code | when |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def _section(name: str, example: str) -> str:
    command = load_command(name, ENTRIES[name])
    description = "\n\n".join(" ".join(part.split()) for part in str(command.help).split("\n\n"))
    inner = "".join(_inner(each, f"{name} {each.name}") for each in getattr(command, "commands", {}).values())
    shown = f"![{name}]({PICTURES}/{name}.svg)\n\n" if (HERE / PICTURES / f"{name}.svg").exists() else ""
    return f"### {name}\n\n{description}\n\n```sh\n{example}\n```\n\n{shown}{_table(command, name)}{inner}"


def _inner(command: Any, name: str) -> str:
    """A subcommand: its usage and its summary, and those of its own subcommands."""
    commands = getattr(command, "commands", None)
    if commands is not None:
        return "".join(_inner(each, f"{name} {each.name}") for each in commands.values())
    summary = " ".join(str(command.help).split())
    return f"\n`{name}`: {summary}\n\n{_table(command, name)}"


def _table(command: Any, name: str) -> str:
    rows = list(_rows(command, name))
    if not rows:
        return ""
    lines = "\n".join(f"| `{written}` | {meaning} |" for written, meaning in rows)
    return f"| argument or option | meaning |\n|---|---|\n{lines}\n"


def _rows(command: Any, name: str) -> Iterator[tuple[str, str]]:
    context = typer.Context(command, info_name=name)
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None:
            continue
        written, meaning = record
        if parameter.param_type_name == "argument":
            written = written.partition(" <")[0]
        meaning = meaning.replace("[default: (", "[default: ").replace(")]", "]")
        yield _cell(written), _cell(meaning)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Writes the page to the file that the first argument names."""
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
