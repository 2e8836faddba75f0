"""Every command on a database that it can't use: the exit code, one sentence, no traceback."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import COMPLETE
from tests.cli.whole import run
from tests.story import ANA, Story

COMMANDS = {
    "history": ("history", ANA),
    "stats": ("stats",),
    "resolve": ("resolve",),
    "resolve-cancel": ("resolve", "1", "--cancel", "--yes"),
    "pause": ("pause",),
    "resume": ("resume",),
    "send-test": ("send-test", ANA),
    "serve": ("serve",),
}


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))


def damaged_rows(path: Path) -> None:
    """The schema and the identity can be read; the rows of every other table and index can't."""
    db = sqlite3.connect(path)
    (size,) = db.execute("pragma page_size").fetchone()
    kept = ("relay", "_sqlite_migrations")
    roots = db.execute("select rootpage from sqlite_master where rootpage > 1 and tbl_name not in (?, ?)", kept)
    pages = [row[0] for row in roots]
    db.close()
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def text(path: Path) -> None:
    path.write_text("A text file, long enough to have a header.\n" * 100)


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newer(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("pragma user_version = 99")
    db.close()


def foreign(path: Path) -> None:
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("create table notes (text)")
    db.close()


STATES: dict[Callable[[Path], None], int] = {
    damaged: 74,
    damaged_rows: 74,
    truncated: 74,
    text: 65,
    missing: 74,
    empty: 74,
    newer: 65,
    foreign: 65,
}
NOT_A_FAULT = {
    *((name, missing) for name in ("serve", "send-test")),
    *((name, empty) for name in ("serve", "send-test", "pause", "resume", "resolve-cancel")),
    ("pause", damaged_rows),
}
"""`serve` creates a database and `send-test` needs none; an empty file is filled; the row that `pause` reads is
undamaged."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    story = Story(tmp_path / "wa-relay.db")
    story.call("conv_1")
    # Not stopped cleanly, so that `serve` checks the file; of no account, so that any configuration fits.
    story.ledger.db.execute("update relay set account_sid = '', clean_stop = 0")
    story.ledger.db.close()
    for beside in tmp_path.glob("wa-relay.db-*"):
        beside.unlink()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "state"),
    [(name, state) for name in COMMANDS for state in STATES if (name, state) not in NOT_A_FAULT],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_a_database_that_cant_be_used_is_explained_in_one_line(
    folder: Path, name: str, state: Callable[[Path], None]
) -> None:
    path = folder / "wa-relay.db"
    state(path)
    code, out, err = run(folder, *COMMANDS[name], **COMPLETE)
    assert (code, out) == (STATES[state], "")
    lines = [line for line in err.splitlines() if line.startswith("wa-relay: ")]
    assert len(lines) == 1, err
    assert str(path) in lines[0]
    assert lines[0].endswith((".", ".recover"))


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_doctor_reports_a_database_that_cant_be_used(folder: Path, state: Callable[[Path], None]) -> None:
    path = folder / "wa-relay.db"
    state(path)
    code, out, err = run(folder, "doctor", "--json", **COMPLETE)
    assert (code, err) == (1, "")
    (check,) = [check for check in json.loads(out)["checks"] if check["name"] == "database"]
    assert str(path) in check["message"]
    if state in (missing, empty):  # `serve` creates it: nothing is wrong with a set-up that has not run yet
        assert (check["status"], check["fix"]) == ("ok", None)
    else:
        assert check["status"] == "fail"
        assert check["fix"]
