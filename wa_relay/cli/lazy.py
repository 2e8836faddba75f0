"""A group whose commands are imported when they are called.

`--help` needs only their summaries, and no command waits for another one's libraries: with all of them
imported at once, `wa-relay --help` takes 0.5 s instead of 0.13 s.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list of commands. `target` is `module:function`; `summary` is the function's first line."""

    target: str
    summary: str
    panel: str
    example: str


class LazyGroup(TyperGroup):
    """Lists every command of `entries` and imports only the one that is called."""

    entries: Mapping[str, Entry] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: MutableMapping[str, Any] = {
            name: TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel)
            for name, entry in self.entries.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Imports the command that the first argument names."""
        name, command, rest = super().resolve_command(ctx, args)
        entry = self.entries.get(name or "")
        return name, command if name is None or entry is None else load_command(name, entry), rest

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of `entries`."""
        del ctx
        return list(self.entries)


def load_command(name: str, entry: Entry) -> Any:
    """Imports the function behind an entry, and returns it as a command with its example.

    The target may also be a Typer application, for a command with subcommands.
    """
    target = load_function(entry.target)
    if isinstance(target, typer.Typer):
        group = typer.main.get_command(target)
        group.name, group.epilog = name, f"Example: {entry.example}"
        return group
    alone = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    register = alone.command(name, epilog=f"Example: {entry.example}")
    register(target)
    return typer.main.get_command(alone)


def load_function(target: str) -> Any:
    """Imports `module:function` and returns the function."""
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)
