"""The journal: entries are found, awaited and listed."""

from __future__ import annotations

import asyncio
import json

import pytest

from wa_relay.standins.journal import Journal


def test_entries_are_numbered_dated_and_found_by_kind() -> None:
    journal = Journal(clock=lambda: 12.5)
    journal.note("a", x=1)
    journal.note("b")
    assert [(one.number, one.at, one.kind, one.data) for one in journal.entries()] == [
        (1, 12.5, "a", {"x": 1}),
        (2, 12.5, "b", {}),
    ]
    assert [one.number for one in journal.entries("b")] == [one.number for one in journal.after(1)] == [2]
    assert [json.loads(line) for line in journal.lines(1).splitlines()] == [
        {"number": 2, "at": 12.5, "kind": "b", "data": {}}
    ]


def test_an_awaited_entry_may_exist_already_or_come_later_or_never() -> None:
    async def scenario() -> None:
        journal = Journal()
        journal.note("before")
        assert (await journal.wait_for(lambda one: one.kind == "before")).number == 1
        waiting = asyncio.create_task(journal.wait_for(lambda one: one.data.get("x") == 3))
        for number in range(5):
            await asyncio.sleep(0)
            journal.note("later", x=number)
        assert (await waiting).number == 5
        with pytest.raises(TimeoutError):
            await journal.wait_for(lambda one: one.kind == "never", within=0.01)

    asyncio.run(scenario())
