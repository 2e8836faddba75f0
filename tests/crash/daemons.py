"""Many daemons quickly: forked one after the other (`tests/forking.py`), some started as a user would."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from tests import forking
from tests.e2e.stage import until
from tests.forking import Started


class Daemons:
    """Starts `wa-relay` on one configuration, and ends it."""

    def __init__(self, folder: Path, config: Path, env: Mapping[str, str]) -> None:
        self._folder, self._config = folder, config
        self._env = forking.environment(**env)
        self.log_path, self.starts, self.real_starts = folder / "daemon.log", 0, 0
        self._running: Started | None = None
        self._said_before = 0

    async def close(self) -> None:
        """Ends what runs."""
        await self.end(signal.SIGKILL)

    def start(self, *, real: bool = False) -> None:
        """Starts the daemon without waiting for it."""
        # A command that writes to the database while no daemon runs holds its lock: a start meets it and ends.
        self.starts += 1
        self.real_starts += real
        self._said_before = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._running = self._start("serve", real=real)

    async def end(self, number: int) -> int | None:
        """Sends the daemon a signal and waits for its end. Returns its exit status, None if none runs."""
        running, self._running = self._running, None
        if running is None:
            return None
        running.send_signal(number)
        return await running.wait()

    def signal(self, number: int) -> None:
        """Sends the running daemon a signal that does not end it."""
        assert self._running is not None
        self._running.send_signal(number)

    async def listens_or_ended(self, within: float = 60.0) -> int | None:
        """Waits until the daemon that was started last listens. Returns its exit status if it ended first."""
        end = time.monotonic() + within
        while b" listening " not in self._output():
            status = None if self._running is None else self._running.returncode
            if status is not None:
                self._running = None
                return status
            assert time.monotonic() < end, f"the daemon does not listen: {self._output()[-2000:].decode()}"
            await asyncio.sleep(0.05)
        return None

    async def command(self, *arguments: str) -> int:
        """Runs another command beside the daemon. Returns its exit status."""
        return await self._start(*arguments).wait()

    async def listening(self) -> None:
        """Waits until the daemon that was started last can be reached."""
        try:
            await until(lambda: b" listening " in self._output(), within=60.0)
        except AssertionError:
            printed = self._output()[-2000:].decode(errors="replace")
            raise AssertionError(
                f"the daemon does not listen {self._fate()}: {printed or 'it printed nothing'}"
            ) from None

    def _fate(self) -> str:
        status = None if self._running is None else self._running.returncode
        return "and runs" if status is None else f"and has ended with {status}"

    def _output(self) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(self._said_before)
            return log.read()

    @property
    def log(self) -> str:
        """All of standard output and error."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def _start(self, *arguments: str, real: bool = False) -> Started:
        with open(os.devnull, "rb") as nothing, self.log_path.open("ab") as log:
            return forking.start(
                ("--config", str(self._config), *arguments),
                self._env,
                self._folder,
                (nothing, log, log),
                real=real,
            )
