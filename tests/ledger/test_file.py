"""The database file: made and migrated whole or not at all, and refused with a message when it is invalid."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.conftest import NOW
from wa_relay.ledger import file, schema
from wa_relay.ledger.faults import DatabaseForeign, DatabaseMissing, DatabaseUnusable, WrongAccount

SURVIVED, DIED, FAILED = 0, 17, 18


def _open(path: Path, account: str = "AC1", now: float = NOW) -> sqlite3.Connection:
    return file.open_for_writing(path, account_sid=account, now=now).connection


LATER = file.SCHEMA_VERSION + 1


ADD_NOTES = """
create table notes (
    id key,
    text text not null
);
create index notes_by_text on notes (text);
"""


def _migrate(path: Path) -> None:
    """Opens the file as a later release would, whose schema has one more table."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        file.migrate(db, path, NOW, create=schema.create, steps={file.SCHEMA_VERSION: ADD_NOTES}, to=LATER)


def _of_this_version(path: Path) -> None:
    """A file of this release that holds something."""
    with closing(_open(path)) as db:
        for customer in range(200):
            db.execute(
                "insert into conversation_state (id, phone_number, elevenlabs_conversation_id, agent_id, started_at,"
                f" last_message_at, created_at) values ({customer}, '+57313853{customer:04}', '', 'agent', '', '', 0)"
            )
        db.execute("pragma wal_checkpoint(truncate)")


def _killed_at(statement: int, work: Callable[[], None]) -> int:
    """Does the work in a child that dies before its n-th SQL statement; returns if it came to the end."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(_sql: str) -> None:
            nonlocal seen
            seen += 1
            if seen >= statement:
                os._exit(DIED)

        def connect(*given: Any, **named: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = real(*given, **named)
            connection.set_trace_callback(count)
            return connection

        # The library's own function, in a process that ends with this block.
        real, sqlite3.connect = sqlite3.connect, connect  # type: ignore[assignment]
        try:
            work()
            os._exit(SURVIVED)
        finally:
            traceback.print_exc()
            os._exit(FAILED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _shape(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        return db.execute("select name, coalesce(sql, '') from sqlite_master order by name").fetchall()


def test_a_kill_at_any_statement_while_it_is_made_leaves_nothing_or_all(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    _open(whole).close()
    wanted, outcomes = _shape(whole), set()
    for statement in range(1, 200):
        path = tmp_path / f"{statement}.db"
        ended = _killed_at(statement, lambda path=path: _open(path).close())  # type: ignore[misc]
        found = _shape(path) if path.exists() else []
        assert found in ([], wanted), statement
        outcomes.add((ended, bool(found)))
        _open(path).close()
        assert _shape(path) == wanted
        if ended == SURVIVED:
            break
    assert outcomes == {(DIED, False), (DIED, True), (SURVIVED, True)}


def test_a_kill_at_any_statement_of_a_migration_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    seed, whole = tmp_path / "seed.db", tmp_path / "whole.db"
    _of_this_version(seed)
    whole.write_bytes(seed.read_bytes())
    _migrate(whole)
    old, wanted, outcomes = _shape(seed), _shape(whole), set()
    for statement in range(1, 200):
        path = tmp_path / f"m{statement}.db"
        path.write_bytes(seed.read_bytes())
        ended = _killed_at(statement, lambda path=path: _migrate(path))  # type: ignore[misc]
        new = _shape(path) == wanted
        assert new or _shape(path) == old, statement
        outcomes.add((ended, new))
        if not new:
            _migrate(path)
        assert _shape(path) == wanted
        if ended == SURVIVED:
            break
    assert (outcomes, statement > 5) == ({(DIED, False), (SURVIVED, True)}, True)


def test_an_older_file_is_copied_and_migrated_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    _of_this_version(path)
    old = _shape(path)
    _migrate(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma user_version").fetchone() == (LATER,)
        assert db.execute("select count(*) from conversation_state").fetchone() == (200,)
        assert db.execute("select fence from relay").fetchone() == (NOW,)
    assert _shape(tmp_path / f"relay.db.before-{LATER}") == old


def test_half_a_copy_does_not_stay_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    _of_this_version(path)
    old, room = _shape(path), path.stat().st_size // 2

    def migrate_in_little_room() -> None:
        # What a full disk is to SQLite; the signal would end the process before the error is seen.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        with pytest.raises(sqlite3.OperationalError, match=r"full|disk I/O"):
            _migrate(path)

    assert _killed_at(10_000, migrate_in_little_room) == SURVIVED
    assert sorted(each.name for each in tmp_path.iterdir() if "before" in each.name) == []
    assert _shape(path) == old
    _migrate(path)
    assert _shape(tmp_path / f"relay.db.before-{LATER}") == old


def test_a_disk_that_is_full_in_the_middle_of_a_migration_is_reported(tmp_path: Path) -> None:
    class Full(sqlite3.Connection):
        """A connection on a disk with no room for one more index; SQLite ends the transaction by itself."""

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if "create index" in sql:
                super().execute("rollback")
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *parameters)

    path = tmp_path / "relay.db"
    _of_this_version(path)
    old = _shape(path)
    with (
        closing(sqlite3.connect(path, isolation_level=None, factory=Full)) as db,
        pytest.raises(sqlite3.OperationalError, match="disk is full"),
    ):
        file.migrate(db, path, NOW, create=schema.create, steps={file.SCHEMA_VERSION: ADD_NOTES}, to=LATER)
    assert _shape(path) == old


def test_a_new_file_is_not_copied(tmp_path: Path) -> None:
    _open(tmp_path / "relay.db").close()
    assert [each.name for each in tmp_path.iterdir() if "before" in each.name] == []


def test_a_file_of_a_newer_version_is_refused_for_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    _of_this_version(path)
    _migrate(path)
    for opening in (_open, file.open_for_reading):
        with pytest.raises(DatabaseForeign, match=rf"newer version of wa-relay .schema {LATER};") as refused:
            opening(path)
        assert refused.value.exit_code == 65


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_file_of_a_build_that_was_never_released_is_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "relay.db"
    with closing(_open(path)) as db:
        db.execute(f"pragma user_version = {version}")
    for opening in (_open, file.open_for_reading):
        with pytest.raises(DatabaseForeign, match="older than any release") as refused:
            opening(path)
        assert refused.value.exit_code == 65


def test_the_fence_is_the_moment_at_which_the_file_was_made(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    _open(path, now=NOW).close()
    db = _open(path, now=NOW + 500)
    assert db.execute("select fence, swept_to from relay").fetchone()[:] == (NOW, NOW)
    db.close()


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    db = _open(path)
    db.execute("update relay set epoch = 1")
    assert {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {
        "relay.db": 0o600,
        "relay.db-wal": 0o600,
        "relay.db-shm": 0o600,
    }
    db.close()


@pytest.mark.parametrize(
    ("content", "fault", "words"),
    [
        (b"this is a text file\n", DatabaseForeign, "is not a wa-relay database"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, DatabaseUnusable, "damaged|can't be used"),
    ],
)
def test_an_invalid_file_is_refused_with_a_message(
    tmp_path: Path, content: bytes, fault: type[Exception], words: str
) -> None:
    path = tmp_path / "relay.db"
    path.write_bytes(content)
    for opening in (_open, file.open_for_reading):
        with pytest.raises((fault, DatabaseForeign), match=f"{words}|is not a wa-relay database"):
            opening(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_new_to_the_writer_and_missing_to_readers(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    path.touch()
    with pytest.raises(DatabaseMissing):
        file.open_for_reading(path)
    _open(path).close()
    file.open_for_reading(path).close()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with sqlite3.connect(path) as db:
        db.execute("create table users (id integer)")
    with pytest.raises(DatabaseForeign, match="another program"):
        _open(path)


def test_another_account_is_refused_naming_both(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    _open(path, account="AC1").close()
    with pytest.raises(WrongAccount, match=r"AC1.*AC2") as refused:
        _open(path, account="AC2")
    assert refused.value.exit_code == 78
