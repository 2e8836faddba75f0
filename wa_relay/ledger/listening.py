"""The announcements of daemons on one PostgreSQL database to each other: that work has become due, and when.

The announcement is part of the transaction that makes it due (`PostgresEngine.announce`). It only wakes: due work is in
the tables, and a daemon that misses an announcement finds it at the next timed look.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NoReturn

import psycopg

from wa_relay.ledger.connecting import options_for
from wa_relay.ledger.engine import Work
from wa_relay.ledger.postgres import CHANNEL
from wa_relay.model import Moment

AGAIN = 1.0
"""Seconds before the next try to listen."""

_KINDS: dict[str, Work] = {"send": "send", "turn": "turn", "media": "media", "moved": "moved"}
Announced = dict[Work, Moment]
"""When work of each kind is due, by the database's clock; 0 for at once."""


async def listen(url: str, own_run: int, heard: Callable[[Announced], None]) -> NoReturn:
    """Calls `heard` for each announcement of another run, and once after each connection, for what was missed."""
    while True:
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(url, autocommit=True, **options_for(url)) as connection:
                await connection.execute(f"listen {CHANNEL}")
                heard(dict.fromkeys(_KINDS.values(), 0.0))
                async for notification in connection.notifies():
                    run, announced = parse(notification.payload)
                    if run != own_run:
                        heard(announced)
        await asyncio.sleep(AGAIN)


def parse(payload: str) -> tuple[int | None, Announced]:
    """Reads `7 send=0.000 turn=1795916658.750`: the run (None for a command) and what it announces."""
    try:
        run, *words = payload.split()
        announced: Announced = {}
        for word in words:
            name, _, due = word.partition("=")
            if (work := _KINDS.get(name)) is not None:
                announced[work] = float(due)
        return (int(run) or None), announced
    except ValueError:
        return None, {}
