"""Erased data is in no byte of the file, its log and its free space."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.story import Story
from wa_relay.ledger import erasing, indexing
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.file import open_for_reading
from wa_relay.ledger.lock import DatabaseLock

CUSTOMERS, FORGOTTEN = 1500, 150


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    lock = DatabaseLock(tmp_path / "relay.db")
    lock.take("2026-11-18T11:06:40Z")
    place_with_story = Story(tmp_path / "relay.db")
    place_with_story.ledger.forgotten = tmp_path / "relay.db.forgotten"
    place_with_story.ledger.rules = replace(place_with_story.ledger.rules, burst_limit=0)
    yield place_with_story
    place_with_story.close()
    lock.release()


def phone(number: int) -> str:
    return f"+5730{number:08d}"


def needles(number: int) -> list[bytes]:
    names = (phone(number)[1:], f"clave-{number}-", f"Nombre-{number}-", f"texto-{number}-", f"resumen-{number}-")
    return [name.encode() for name in names]


def a_crowd(story: Story) -> None:
    """Calls, openings, messages and receipts of many customers, in an order that splits pages."""
    dice, db = random.Random(7), story.ledger.db
    db.begin()
    for number in range(CUSTOMERS):
        summary = f"resumen-{number}- " * dice.randint(1, 30)
        story.call(f"clave-{number}-", phone(number), client_name=f"Nombre-{number}-", summary=summary)
    sent = [each for _ in range(0, CUSTOMERS, 100) for each in story.send()]
    for number in (dice.randrange(CUSTOMERS) for _ in range(2 * CUSTOMERS)):
        story.now += 0.01
        story.write(f"texto-{number}- " * dice.randint(1, 20), phone(number))
    for _, sid in sent:
        story.receipt(sid, "read")
    while indexing.index_more(story.ledger, 500):
        pass
    db.commit()


def in_files(story: Story) -> dict[int, list[bytes]]:
    """The traces that are left in the database and its log."""
    names = ("relay.db", "relay.db-wal", "relay.db.forgotten")
    found = b"".join((story.path.parent / name).read_bytes() for name in names if (story.path.parent / name).exists())
    left = {number: [each for each in needles(number) if each in found] for number in range(0, CUSTOMERS, 10)}
    return {number: each for number, each in left.items() if each}


def scrub(story: Story) -> None:
    more = indexing.clean(story.ledger, begins=True)
    while more:
        more = indexing.clean(story.ledger, begins=False)
    place: int | None = 0
    while place is not None:
        place = story.ledger.db.scrub(place)


def test_no_byte_of_a_forgotten_customer_is_left_in_the_file_and_its_log(story: Story) -> None:
    a_crowd(story)
    assert len(in_files(story)) == FORGOTTEN
    for number in range(0, CUSTOMERS, 10):
        story.ledger.db.begin()
        assert erasing.erase(story.ledger, phone(number), None, story.now)
        story.ledger.db.commit()
    scrub(story)
    assert in_files(story) == {}
    assert story.ledger.db.execute("pragma integrity_check").fetchone()[0] == "ok"


def test_a_reader_in_the_way_is_named(story: Story) -> None:
    story.call("conv_1")
    reader = open_for_reading(story.path)
    reader.begin_snapshot()
    reader.execute("select count(*) from calls").fetchone()
    story.write("Hola")
    with pytest.raises(StorageUnavailable, match="reads the database"):
        scrub(story)
    reader.close()
    scrub(story)
