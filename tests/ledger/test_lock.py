"""The lock: one holder at a time, and a command of a moment keeps no daemon from starting."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from wa_relay.ledger.faults import AlreadyServed
from wa_relay.ledger.lock import DatabaseLock, Holder


def _held(database: Path, control: str | None, pid: int = 4242) -> DatabaseLock:
    lock = DatabaseLock(database)
    lock.take("14:03")
    lock.announce(Holder(pid, "14:03", control))
    return lock


def _ended() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_second_holder_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
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
    began = time.monotonic()
    with pytest.raises(AlreadyServed):
        DatabaseLock(tmp_path / "relay.db").take("14:04", patience=20.0)
    assert time.monotonic() - began < 5.0


def test_what_a_killed_daemon_wrote_turns_nobody_away_while_a_command_holds_the_lock(tmp_path: Path) -> None:
    command = _held(tmp_path / "relay.db", "/run/relay.sock", _ended())
    ending = threading.Timer(0.2, command.release)
    ending.start()
    DatabaseLock(tmp_path / "relay.db").take("14:04", patience=20.0)
    ending.join()
