"""A command with Typer and Rich that does nothing: the reference of `bench.commands`. It imports nothing else."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def hello(name: str = "you") -> None:
    """Says hello."""
    Console().print(f"[bold]Hello[/bold] {name}")


if __name__ == "__main__":
    app(sys.argv[1:])
