"""A copy has all that its source has, on the other engine."""

from __future__ import annotations

import hashlib
import resource
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.big_ledger import make
from tests.engines import Cluster
from tests.story import EVA, LUIS, NOW, Story
from wa_relay.ledger import copying
from wa_relay.ledger.faults import DatabaseFault, DatabaseMoved
from wa_relay.ledger.location import Location


def _fill(story: Story) -> None:
    for number, phone in enumerate((LUIS, EVA)):
        story.call(f"conv_{number}", phone)
        story.send()
        story.write("Sí\x00, ¿precio?", phone)
        story.answer("Cuesta diez.", "Al mes.")
        story.send()


def _everything(place: Location) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    with closing(place.open_for_reading()) as db:
        for table in copying.TABLES:
            if table in ("runs", "relay"):
                continue
            columns = ", ".join(sorted(copying._columns(db, table)))
            rows = db.tuples(f"select {columns} from {table}", {})
            found[table] = sorted((tuple(map(_plain, row)) for row in rows), key=repr)
    return found


def _plain(value: object) -> object:
    return (
        int(value) if isinstance(value, bool) else value.replace("\x00", "\ufffd") if isinstance(value, str) else value
    )


@pytest.fixture
def place_with_story(tmp_path: Path) -> Location:
    story = Story(tmp_path / "relay.db")
    _fill(story)
    story.close()
    return Location(story.path)


def test_a_copy_there_and_back_is_the_same(place_with_story: Location, cluster: Cluster, tmp_path: Path) -> None:
    server, back = Location(Path(), cluster.create()), Location(tmp_path / "back.db")
    counts = copying.copy(place_with_story, server, lambda _table, _rows: None)
    assert counts["conversation_messages"] > 6
    assert _everything(server) == _everything(place_with_story)
    copying.copy(server, back, lambda _table, _rows: None)
    assert _everything(back) == _everything(place_with_story)
    for place in (server, back):
        opened = place.open_for_writing(account_sid="AC1", now=NOW)
        with closing(opened.connection) as db:
            assert (
                db.insert("insert into strangers (phone_number, content, received_at) values ('+57', '', 0)", {}) >= 1
            )
    cluster.drop(server.url)


def test_a_target_that_holds_something_is_refused(place_with_story: Location, tmp_path: Path) -> None:
    other = Story(tmp_path / "other.db")
    _fill(other)
    other.close()
    with pytest.raises(copying.NotEmpty):
        copying.copy(place_with_story, Location(other.path), lambda _table, _rows: None)


def test_a_source_with_a_row_that_violates_a_check_is_refused(place_with_story: Location, cluster: Cluster) -> None:
    with closing(sqlite3.connect(place_with_story.path)) as db:
        db.execute("pragma ignore_check_constraints = on")
        db.execute("update conversation_state set unread = -1")
        db.commit()
    server = Location(Path(), cluster.create())
    with pytest.raises(DatabaseFault, match="conversation_state in the source violates a check"):
        copying.copy(place_with_story, server, lambda _table, _rows: None)
    cluster.drop(server.url)


def test_a_database_that_was_moved_is_not_served(place_with_story: Location, tmp_path: Path) -> None:
    target = Location(tmp_path / "copy.db")
    copying.copy(place_with_story, target, lambda _table, _rows: None)
    copying.mark_moved(place_with_story, target, NOW)
    with pytest.raises(DatabaseMoved, match=r"copy\.db"):
        place_with_story.open_for_writing(account_sid="AC1", now=NOW)


@pytest.mark.soak
def test_a_million_messages_are_copied_there_and_back_in_less_than_five_minutes_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, back = Location(tmp_path / "big.db"), Location(tmp_path / "back.db")
    make(first.path, 100_000)
    cluster = Cluster(durable=True)
    try:
        server = Location(Path(), cluster.create())
        expected, seconds = _checksums(first), []
        for source, target in ((first, server), (server, back)):
            began = time.monotonic()
            counts = copying.copy(source, target, lambda _table, _rows: None)
            seconds.append(time.monotonic() - began)
            assert _checksums(target) == expected
        assert counts["conversation_messages"] >= 900_000
    finally:
        cluster.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    with capsys.disabled():
        sys.stdout.write(
            f"{counts['conversation_messages']:,} messages, {sum(counts.values()):,} rows: to PostgreSQL in "
            f"{seconds[0]:.0f} s, back in {seconds[1]:.0f} s; the process held {peak:.0f} MB at most\n"
        )
    assert max(seconds) < 300


def _checksums(place: Location) -> dict[str, tuple[int, int]]:
    """Rows of each table, and a sum over them that does not depend on their order."""
    found = {}
    with closing(place.open_for_reading()) as db:
        db.begin_snapshot()
        for table in copying.TABLES:
            if table in ("runs", "relay"):
                continue
            columns = sorted(copying._columns(db, table))
            rows = total = 0
            for row in copying._stream(db, f"select {', '.join(columns)} from {table}"):
                digest = hashlib.blake2b(repr(tuple(map(_plain, row))).encode(), digest_size=8).digest()
                rows += 1
                total = (total + int.from_bytes(digest)) % 2**64
            found[table] = (rows, total)
        db.rollback()
    return found
