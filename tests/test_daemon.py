"""The daemon as a whole: what ends it, and how."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.stage import run, stage, until
from tests.stopwatch import Stopwatch
from wa_relay.config import load
from wa_relay.daemon import Daemon, LoopEnded


class Breaking:
    """A clock that fails once it is read by the poller's loop."""

    armed = False

    def __call__(self) -> float:
        """The time, in seconds since 1970."""
        if self.armed and sys._getframe(1).f_code.co_qualname == "Polling.run":
            raise RuntimeError("planted")
        return time.time()


def test_a_loop_that_ends_by_itself_ends_the_daemon_cleanly_and_with_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"poll": {"enabled": True, "interval_seconds": 5}}, start=False) as s:
            clock = Breaking()
            daemon = Daemon(load(s.relay.config, {}, cwd=tmp_path, serving=True), clock)
            with pytest.raises(LoopEnded, match="poll") as ended:
                await daemon.run(lambda _: setattr(clock, "armed", True))
            assert ended.value.exit_code == 1
            with sqlite3.connect(s.relay.database) as database:
                assert database.execute("select clean_stop from relay").fetchone() == (1,)
            database.close()

    run(scenario())


def test_sigterm_ends_a_start_that_waits_for_the_lock_within_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, start=False) as s:
            database = s.relay.database
            with database.open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                process = s.relay.process = await s.relay.spawn("serve")
                await until(lambda: _has_open(process.pid, database))
                watch = Stopwatch()
                assert await s.relay.stop(signal.SIGTERM) == 0
                assert watch.seconds < 1.0
            assert database.stat().st_size == 0
            assert "Traceback" not in s.relay.log

    run(scenario())


def _has_open(pid: int, path: Path) -> bool:
    folder, found = Path(f"/proc/{pid}/fd"), False
    for descriptor in folder.iterdir():
        try:
            found = found or Path(os.readlink(descriptor)) == path
        except FileNotFoundError:
            continue
    return found
