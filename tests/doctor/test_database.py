"""Doctor's checks of a database file."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from wa_relay.doctor import Check, database
from wa_relay.ledger import file

NOW = 1_795_000_000.0


def examined(path: Path, account: str = "AC1") -> dict[str, Check]:
    return {check.name: check for check in database.examine(path, account, time.monotonic() + 10)}


def test_a_missing_database_is_not_a_fault_and_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    assert (examined(path)["database"].status, list(tmp_path.iterdir())) == ("ok", [])
    path.touch()
    assert examined(path)["database"].status == "ok"
    assert "wa-relay serve" in examined(path)["database"].message


def test_a_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    found = examined(tmp_path / "data" / "relay.db")
    assert (found["database folder"].status, found["database"].status) == ("fail", "skipped")
    assert "mkdir" in str(found["database folder"].fix)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_database_that_may_not_be_written_to_fails(tmp_path: Path) -> None:
    path = _made(tmp_path)
    path.chmod(0o400)
    assert examined(path)["database"].status == "fail"


def _made(folder: Path, account: str = "AC1") -> Path:
    path = folder / "relay.db"
    file.open_for_writing(path, account_sid=account, now=NOW).connection.close()
    return path


def test_a_database_of_another_account_fails_and_names_both(tmp_path: Path) -> None:
    found = examined(_made(tmp_path), account="AC2")["database"]
    assert found.status == "fail"
    assert "AC1" in found.message
    assert "AC2" in found.message


def test_a_database_of_a_newer_version_and_one_of_another_program_fail(tmp_path: Path) -> None:
    path = _made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma user_version = 999")
    assert "newer version" in examined(path)["database"].message
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma application_id = 7")
    assert "another program" in examined(path)["database"].message
    assert examined(path)["database"].status == "fail"


def test_a_damaged_database_fails(tmp_path: Path) -> None:
    path = _made(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        size = db.execute("pragma page_size").fetchone()[0]
        root = db.execute("select rootpage from sqlite_master where name = 'conversation_messages'").fetchone()[0]
    with path.open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(b"\x7f" * size)
    found = examined(path)["database"]
    assert (found.status, "damaged" in found.message) == ("fail", True)
    assert ".recover" in str(found.fix)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ((3, 40, 1), "warn"),
        ((3, 44, 5), "warn"),
        ((3, 44, 6), "ok"),
        ((3, 45, 9), "warn"),
        ((3, 50, 6), "warn"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "warn"),
        ((3, 51, 3), "ok"),
        ((3, 52, 0), "ok"),
    ],
)
def test_a_sqlite_without_the_repair_of_its_wal_mode_gets_a_note(version: tuple[int, ...], status: str) -> None:
    found = database.sqlite_version(version)
    # One writing connection is all that wa-relay has: the bug can't meet it.
    assert (found.status, "mended" in found.message) == ("ok", status == "warn")
    assert found.message.startswith(".".join(map(str, version)))
