"""Many daemons quickly: a server that has done the imports forks one after the other, through the command line's entry.

Run as a module, this file is that server: a line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wa_relay
from tests.e2e.stage import until

PACKAGE = Path(wa_relay.__file__).parent.parent
PASSING = {"NO_COLOR": "1", "PYTHONPATH": str(PACKAGE)}
"""The environment of every process: those that start in another folder run the same code as this one."""


class Daemons:
    """Starts `wa-relay` on one configuration, forked or as a user would, and ends it."""

    def __init__(self, folder: Path, config: Path, env: Mapping[str, str]) -> None:
        self._folder, self._config, self._env = folder, config, {**PASSING, **env}
        self.log_path, self.starts, self.real_starts = folder / "daemon.log", 0, 0
        self._server: asyncio.subprocess.Process | None = None
        self._real: asyncio.subprocess.Process | None = None
        self._pid: int | None = None
        self._asking = asyncio.Lock()
        self._said_before = 0

    async def open(self) -> None:
        """Starts the fork server and waits until it has loaded everything."""
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.forks"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self._env},
        )
        await self._ask({"do": "wait"})

    async def close(self) -> None:
        """Ends what runs, and the server."""
        await self.end(signal.SIGKILL)
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            await self._server.wait()

    async def start(self, *, real: bool = False) -> None:
        """Starts the daemon without waiting for it."""
        # A command that writes to the database while no daemon runs holds its lock: a start meets it and ends.
        self.starts += 1
        self._said_before = self.log_path.stat().st_size if self.log_path.exists() else 0
        if real:
            self.real_starts += 1
            with self.log_path.open("ab") as log:
                self._real = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "wa_relay", "--config", str(self._config), "serve"),
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self._env},
                    cwd=self._folder,
                )
        else:
            self._pid = await self._fork("serve")

    async def end(self, number: int) -> int | None:
        """Sends the daemon a signal and waits for its end. Returns its exit status, None if none runs."""
        if self._real is not None:
            process, self._real = self._real, None
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            return await process.wait()
        if self._pid is not None:
            pid, self._pid = self._pid, None
            return int((await self._ask({"do": "end", "pid": pid, "signal": number}))["status"])
        return None

    def signal(self, number: int) -> None:
        """Sends the running daemon a signal that does not end it."""
        pid = self._real.pid if self._real is not None else self._pid
        assert pid is not None
        os.kill(pid, number)

    async def listens_or_ended(self, within: float = 30.0) -> int | None:
        """Waits until the daemon that was started last listens. Returns its exit status if it ended first."""
        end = time.monotonic() + within
        while b" listening " not in self._output():
            status = None if self._pid is None else (await self._ask({"do": "poll", "pid": self._pid}))["status"]
            if status is not None:
                self._pid = None
                return int(status)
            assert time.monotonic() < end, f"the daemon does not listen: {self._output()[-2000:].decode()}"
            await asyncio.sleep(0.05)
        return None

    async def command(self, *arguments: str) -> int:
        """Runs another command beside the daemon. Returns its exit status."""
        pid = await self._fork(*arguments)
        while True:
            status = (await self._ask({"do": "poll", "pid": pid}))["status"]
            if status is not None:
                return int(status)
            await asyncio.sleep(0.01)

    async def listening(self) -> None:
        """Waits until the daemon that was started last can be reached."""
        try:
            await until(lambda: b" listening " in self._output(), within=20.0)
        except AssertionError:
            printed = self._output()[-2000:].decode(errors="replace")
            raise AssertionError(
                f"the daemon does not listen {await self._fate()}: {printed or 'it printed nothing'}"
            ) from None

    async def _fate(self) -> str:
        if self._pid is None:
            return "after a real start"
        status = (await self._ask({"do": "poll", "pid": self._pid}))["status"]
        return "and runs" if status is None else f"and has ended with {status}"

    def _output(self) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(self._said_before)
            return log.read()

    @property
    def log(self) -> str:
        """All of standard output and error."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    async def _fork(self, *arguments: str) -> int:
        asked = {
            "do": "fork",
            "arguments": ["--config", str(self._config), *arguments],
            "log": str(self.log_path),
            "folder": str(self._folder),
        }
        return int((await self._ask(asked))["pid"])

    async def _ask(self, asked: Mapping[str, object]) -> dict[str, Any]:
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        async with self._asking:
            self._server.stdin.write(json.dumps(asked).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await self._server.stdout.readline())
        return answer


def main() -> None:
    """Serves forks until standard input ends, then ends what still runs."""
    import wa_relay.cli.app
    import wa_relay.cli.control
    import wa_relay.daemon  # noqa: F401 - loaded for those who are forked

    gc.collect()
    gc.freeze()
    running: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        answer = _do(asked, running)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _do(asked: Mapping[str, Any], running: set[int]) -> dict[str, Any]:
    match asked["do"]:
        case "fork":
            pid = os.fork()
            if pid == 0:
                _become(asked)
            running.add(pid)
            return {"pid": pid}
        case "end":
            os.kill(asked["pid"], asked["signal"])
            return {"status": _reap(asked["pid"], running, wait=True)}
        case "poll":
            return {"status": _reap(asked["pid"], running, wait=False)}
    return {}


def _reap(pid: int, running: set[int], *, wait: bool) -> int | None:
    ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    if not ended:
        return None
    running.discard(pid)
    return os.waitstatus_to_exitcode(status)


def _become(asked: Mapping[str, Any]) -> None:
    """Turns the child into the command that was asked for; never returns."""
    code = 70
    try:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.chdir(asked["folder"])
        sys.stdin = os.fdopen(0)
        from wa_relay.cli.app import run

        run(asked["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
