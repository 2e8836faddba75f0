"""The screen of the demo: steps with their times, and messages as chat bubbles."""

from __future__ import annotations

from typing import Protocol

from rich import box
from rich.align import Align
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

WIDEST, SHARE = 100, 0.75
STYLES = {
    "wa-relay": "bold green",
    "ElevenLabs": "bold magenta",
    "Twilio": "bold red",
    "customer": "bold cyan",
    "backend": "bold yellow",
}


class Paper(Protocol):
    """The console, and how to make a text printable there."""

    @property
    def console(self) -> Console:
        """The output of the steps."""

    @property
    def ascii(self) -> bool:
        """True where nothing else can be shown."""

    def clean(self, text: str) -> str:
        """Makes a customer's text harmless, and replaces what this output can't show."""

    def mark(self, mark: str, plain: str) -> str:
        """One of our own signs, or its replacement in ASCII."""


class Screen:
    """Draws the story on paper of any width."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self._clean, self._console = paper.clean, paper.console

    def show(self, *parts: RenderableType) -> None:
        """Prints, one under the other."""
        for part in parts:
            self._console.print(part, width=self.width)

    @property
    def width(self) -> int:
        """The width of the page in columns."""
        return min(self._console.width, WIDEST)

    def title(self, name: str, text: str) -> None:
        """Prints the title, and what the demo is."""
        self.show(Text(), Text(name, style="bold"), Padding(Text(text), (0, 0, 1, 0)))

    def players(self, players: dict[str, str]) -> None:
        """Prints the players, each with its role."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, text in players.items():
            grid.add_row(Text(f"  {name}", style=STYLES.get(name, "bold")), Text(self._clean(text)))
        self.show(grid)

    def chapter(self, title: str) -> None:
        """Prints a line that begins a new part."""
        characters = self.paper.mark("─", "-")
        rule = Rule(Text(self._clean(title), style="bold"), characters=characters, align="left", style="dim")
        self.show(Text(), rule)

    def step(self, seconds: float, player: str, text: str) -> None:
        """Prints an event: its time, its place, and what happened."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=7, justify="right", no_wrap=True)
        grid.add_column(width=10, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(f"{seconds:.1f} s", style="dim"), Text(player, style=STYLES[player]), Text(self._clean(text)))
        self.show(grid)

    def note(self, text: str) -> None:
        """Prints a remark between the steps."""
        self.show(Padding(Text(self._clean(text), style="dim"), (0, 0, 0, 2)))

    def link(self, address: str) -> None:
        """Prints an address alone on a line, never broken: a terminal makes it a link."""
        self._console.print(Text(f"  {address}", style="bold underline"), soft_wrap=True)

    def theirs(self, name: str, text: str) -> None:
        """Prints a customer's message, on the left."""
        self.show(self._bubble(name, text, None, "cyan"))

    def ours(self, name: str, text: str) -> None:
        """Prints a message to a customer, on the right."""
        sent = Text(f"{self.paper.mark('✓', '+')} sent", style="dim")
        self.show(Align.right(self._bubble(f"to {name}", text, sent, "green"), width=self.width))

    def receipts(self, text: str) -> None:
        """Prints below a message what became of it."""
        line = Text.assemble((f"{self.paper.mark('✓✓', '++')} ", "bright_blue"), (text, "dim"))
        self.show(Align.right(line, width=self.width))

    def command(self, text: str, printed: str) -> None:
        """Prints a command as typed, and its output."""
        self.show(Text(), Text.assemble(("$ ", "dim"), (self._clean(text), "bold")), Text())
        self._console.print(Text.from_ansi(printed.rstrip("\n")), soft_wrap=True)

    def _bubble(self, title: str, text: str, footer: Text | None, style: str) -> Panel:
        body = Text(self._clean(text), overflow="fold")
        name = self._clean(title)
        lines: list[RenderableType] = [body, *([Align.right(footer)] if footer else [])]
        texts = [*body.plain.split("\n"), *([footer.plain] if footer else [])]
        widest = max(cell_len(line) for line in texts)
        return Panel(
            Group(*lines),
            box=box.ROUNDED,
            title=Text(name, style="dim"),
            title_align="left",
            border_style=style,
            width=min(max(widest, cell_len(name) + 2) + 4, self._most()),
        )

    def _most(self) -> int:
        return self.width if self.width < 40 else int(self.width * SHARE)
