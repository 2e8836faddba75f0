"""The options by which commands take a span of time, and a time as tables show it."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Annotated

import typer

from wa_relay.basics import Moment

Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="Start at a date, a local time, or 7d, 24h, 30m ago.")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="WHEN", help="End with a date (included) or before a time.")
]


def local_minute(at: Moment, timezone: tzinfo) -> str:
    """Writes a moment as `2026-11-22 15:04`, in local time."""
    return f"{datetime.fromtimestamp(at, timezone):%Y-%m-%d %H:%M}"
