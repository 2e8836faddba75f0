"""Makes the README's picture from a run of the demo: `python docs/picture.py OUT.svg`.

The picture refers to nothing outside itself: the viewer brings the font.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from wa_relay.cli.output import Paper
from wa_relay.demo import perform_opening

COLUMNS = 80
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
THEME = TerminalTheme(
    (24, 27, 33),
    (220, 223, 228),
    [
        (60, 65, 75),
        (224, 108, 117),
        (126, 200, 120),
        (229, 192, 123),
        (97, 175, 239),
        (198, 140, 230),
        (86, 190, 200),
        (220, 223, 228),
    ],
    [
        (92, 99, 112),
        (224, 108, 117),
        (126, 200, 120),
        (229, 192, 123),
        (97, 175, 239),
        (198, 140, 230),
        (86, 190, 200),
        (255, 255, 255),
    ],
)


def picture() -> str:
    """The first call of the demo, and what follows it, as an SVG."""
    console = recording(COLUMNS)
    asyncio.run(perform_opening(Paper(console, "utf-8", False)))
    console.print()
    return console.export_svg(title="wa-relay demo", theme=THEME, code_format=plain_format(), unique_id="demo")


def recording(width: int) -> Console:
    """A console that records what is printed, with all colours and nothing of this terminal."""
    return Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},
    )


def plain_format() -> str:
    """Rich's frame without the fonts that it would fetch, and without its comment."""
    bare = re.sub(r"@font-face\s*\{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return re.sub(r"font-family:[^;]*;", f"font-family: {FONTS};", bare)


def main() -> None:
    """Writes the picture to the file that the first argument names."""
    Path(sys.argv[1]).write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
