"""The lock: one holder at a time, and a short command keeps no daemon from starting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.ledger.conftest import NOW
from tests.stopwatch import Stopwatch
from wa_relay.ledger import file
from wa_relay.ledger.faults import AlreadyServed
from wa_relay.ledger.lock import DatabaseLock, Holder


def _held(database: Path, control: str | None, pid: int = 4242) -> DatabaseLock:
    lock = DatabaseLock(database)
    lock.take("14:03")
    lock.announce(Holder(pid, "14:03", control))
    return lock


def _ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    first = _held(tmp_path / "relay.db", None)
    with pytest.raises(AlreadyServed, match="pid 4242 since 14:03"):
        DatabaseLock(tmp_path / "relay.db").take("14:04")
    first.release()
    DatabaseLock(tmp_path / "relay.db").take("14:05")


def test_a_command_that_holds_the_lock_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    command = _held(tmp_path / "relay.db", None)
    ending = threading.Timer(0.2, command.release)
    ending.start()
    DatabaseLock(tmp_path / "relay.db").take("14:04", patience=20.0)
    ending.join()


def test_a_daemon_that_holds_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    _daemon = _held(tmp_path / "relay.db", "/run/relay.sock", os.getpid())
    watch = Stopwatch()
    with pytest.raises(AlreadyServed):
        DatabaseLock(tmp_path / "relay.db").take("14:04", patience=20.0)
    assert watch.seconds < 5.0


def test_a_killed_daemons_entry_refuses_nobody_while_a_command_holds_the_lock(tmp_path: Path) -> None:
    command = _held(tmp_path / "relay.db", "/run/relay.sock", _ended())
    ending = threading.Timer(0.2, command.release)
    ending.start()
    DatabaseLock(tmp_path / "relay.db").take("14:04", patience=20.0)
    ending.join()


def _by_symbolic_link(database: Path) -> Path:
    path = database.parent / "elsewhere" / "link.db"
    path.symlink_to(database)
    return path


def _by_hard_link(database: Path) -> Path:
    path = database.parent / "elsewhere" / "hard.db"
    path.hardlink_to(database)
    return path


def _by_relative_path(database: Path) -> Path:
    return Path(os.path.relpath(database))


def _by_a_linked_folder(database: Path) -> Path:
    folder = database.parent / "elsewhere" / "folder"
    folder.symlink_to(database.parent)
    return folder / database.name


WAYS = (_by_symbolic_link, _by_hard_link, _by_relative_path, _by_a_linked_folder)


@pytest.mark.parametrize("way", WAYS)
def test_a_second_holder_is_refused_and_finds_the_first_whatever_path_it_takes(
    tmp_path: Path, way: Callable[[Path], Path]
) -> None:
    database = tmp_path / "relay.db"
    (tmp_path / "elsewhere").mkdir()
    first = _held(database, "/run/relay.sock", 4242)
    other = DatabaseLock(way(database))
    assert other.holder() == Holder(4242, "14:03", "/run/relay.sock")
    with pytest.raises(AlreadyServed, match="pid 4242 since 14:03"):
        other.take("14:04")
    first.release()
    other.take("14:05")
    other.release()


@pytest.mark.parametrize("way", WAYS)
def test_another_process_is_refused_whatever_path_it_takes(tmp_path: Path, way: Callable[[Path], Path]) -> None:
    database = tmp_path / "relay.db"
    (tmp_path / "elsewhere").mkdir()
    first = _held(database, None)
    program = "import sys, pathlib; from wa_relay.ledger.lock import DatabaseLock; "
    program += "DatabaseLock(pathlib.Path(sys.argv[1])).take('14:04')"
    command = [sys.executable, "-c", program, str(way(database))]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "AlreadyServed" in refused.stderr
    assert "pid 4242 since 14:03" in refused.stderr
    first.release()
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def test_a_lock_on_a_file_that_was_replaced_is_not_taken_for_one_on_the_new_file(tmp_path: Path) -> None:
    database, new = tmp_path / "relay.db", tmp_path / "new.db"
    first = _held(database, None)
    new.touch()
    new.replace(database)
    second = DatabaseLock(database)
    second.take("14:04")
    assert DatabaseLock(database).holder() == Holder(os.getpid(), "14:04")
    second.release()
    first.release()


def test_reading_in_the_daemon_keeps_the_locks_of_its_writer(tmp_path: Path) -> None:
    database = tmp_path / "relay.db"
    lock = DatabaseLock(database)
    lock.take("14:03")
    with closing(file.open_for_writing(database, account_sid="AC1", now=NOW).connection) as writer:
        writer.execute("select * from relay").fetchone()
        file.open_for_reading(database).close()
        with pytest.raises(AlreadyServed):
            DatabaseLock(database).take("14:04")
        # SQLite's shared lock on the file: without it, the last reader to close would delete the log as its own.
        program = "import fcntl, sys; f = open(sys.argv[1], 'rb+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, "
        command = [sys.executable, "-c", program + "0x40000002)", str(database)]
        taken = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert "BlockingIOError" in taken.stderr
    lock.release()
