"""The journal of a stand-in, in order: the oracle by which tests judge."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from wa_relay.model import Moment


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `number` counts from 1, `at` is in Unix seconds."""

    number: int
    at: Moment
    kind: str
    data: dict[str, object]


class Journal:
    """Entries in the order they were noted, for one event loop."""

    def __init__(self, clock: Callable[[], Moment] = time.time) -> None:
        self._clock = clock
        self._entries: list[Entry] = []
        self._waiting: list[asyncio.Event] = []

    def note(self, kind: str, **data: object) -> Entry:
        """Adds an entry and wakes those who wait."""
        entry = Entry(len(self._entries) + 1, self._clock(), kind, data)
        self._entries.append(entry)
        for event in self._waiting:
            event.set()
        return entry

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All entries, or those of one kind."""
        return [entry for entry in self._entries if kind is None or entry.kind == kind]

    def after(self, number: int) -> list[Entry]:
        """The entries noted after the one of that number."""
        return self._entries[max(0, number) :]

    def lines(self, number: int = 0) -> str:
        """The entries after that number as JSON, one a line."""
        return "".join(json.dumps(asdict(one), ensure_ascii=False, default=str) + "\n" for one in self.after(number))

    async def wait_for(self, predicate: Callable[[Entry], bool], within: float = 5.0) -> Entry:
        """The first entry, noted already or within `within` seconds, for which the predicate holds.

        Raises TimeoutError.
        """
        seen, event = 0, asyncio.Event()
        self._waiting.append(event)
        try:
            async with asyncio.timeout(within):
                while True:
                    for entry in self._entries[seen:]:
                        seen += 1
                        if predicate(entry):
                            return entry
                    event.clear()
                    await event.wait()
        finally:
            self._waiting.remove(event)
