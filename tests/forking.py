"""Starts commands without their imports: a server that has done the imports forks them.

A forked command is a process of its own: pid, descriptors, environment, folder, signals and exit are those of one that
a user starts, and it is a child of the test's process. Only the imports are done before. `tests/cli/test_startup.py`,
the tests of the help and those that pass `real=True` start the interpreter.

Run as a module, this file is the server.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

ROOT = Path(__file__).parents[1]
PR_SET_CHILD_SUBREAPER = 36
REQUEST_BYTES = 200_000
SAME_WITHOUT_START = frozenset({"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS"})
"""The variables of the interpreter that mean the same to a forked command."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment with a UTF-8 terminal, without the settings of its interpreter."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_"))}
    return {**own, "LANG": "C.UTF-8", "NO_COLOR": "1", "PYTHONPATH": str(ROOT), **more}


class Started:
    """A command that runs, a child of this process."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.stdout: asyncio.StreamReader | None = None
        self._popen = popen
        self._returncode: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, the negative number of a signal, None while it runs."""
        if self._returncode is None:
            if self._popen is not None:
                self._returncode = self._popen.poll()
            else:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                self._returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self._returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills it."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Waits for its end."""
        if self.returncode is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            watched = os.pidfd_open(self.pid)
            loop.add_reader(watched, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
        return self._ended()

    def wait_blocking(self, timeout: float) -> int:
        """Waits for its end on this thread; kills it and raises `TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None:
            watched = os.pidfd_open(self.pid)
            try:
                if not select.select([watched], [], [], timeout)[0]:
                    self.kill()
                    raise subprocess.TimeoutExpired(str(self.pid), timeout)
            finally:
                os.close(watched)
        return self._ended()

    def _ended(self) -> int:
        code = self.returncode
        assert code is not None
        return code


def run(
    arguments: tuple[str, ...],
    *,
    env: Mapping[str, str],
    folder: Path,
    stdin: bytes = b"",
    timeout: float = 90.0,
    real: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end. `real` starts the interpreter."""
    with TemporaryFile() as typed, TemporaryFile() as out, TemporaryFile() as err:
        typed.write(stdin)
        typed.seek(0)
        code = start(arguments, env, folder, (typed, out, err), real=real).wait_blocking(timeout)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


async def run_async(
    arguments: tuple[str, ...], *, env: Mapping[str, str], folder: Path, stdin: bytes = b"", timeout: float = 120.0
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end beside the event loop."""
    with TemporaryFile() as typed, TemporaryFile() as out, TemporaryFile() as err:
        typed.write(stdin)
        typed.seek(0)
        started = start(arguments, env, folder, (typed, out, err))
        try:
            async with asyncio.timeout(timeout):
                code = await started.wait()
        except TimeoutError:
            started.kill()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


async def spawn(
    arguments: tuple[str, ...], *, env: Mapping[str, str], folder: Path, stderr: IO[bytes], real: bool = False
) -> Started:
    """Starts a command whose standard output is a pipe. `real` starts the interpreter."""
    reading, writing = os.pipe()
    with os.fdopen(os.open(os.devnull, os.O_RDONLY), "rb") as nothing, os.fdopen(writing, "wb") as out:
        started = start(arguments, env, folder, (nothing, out, stderr), real=real)
    started.stdout = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(started.stdout)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(reading, "rb"))
    return started


def start(
    arguments: tuple[str, ...],
    env: Mapping[str, str],
    folder: Path,
    streams: tuple[IO[bytes], IO[bytes], IO[bytes]],
    *,
    real: bool = False,
) -> Started:
    """Starts a command with these standard streams. `real` starts the interpreter."""
    if not real and _is_forkable(env):
        return Started(_server(os.getpid()).fork(arguments, env, folder, streams))
    command = (sys.executable, "-m", "wa_relay", *arguments)
    stdin, stdout, stderr = streams
    popen = subprocess.Popen(command, env=dict(env), cwd=folder, stdin=stdin, stdout=stdout, stderr=stderr)
    return Started(popen.pid, popen)


def _is_forkable(env: Mapping[str, str]) -> bool:
    """False if the interpreter itself would start in another way."""
    if any(name.startswith("PYTHON") and name not in SAME_WITHOUT_START for name in env):
        return False
    if env.get("PYTHONWARNINGS", "error") != "error" or env.get("PYTHONPATH", str(ROOT)) != str(ROOT):
        return False
    return not env.get("LC_ALL") and not env.get("LC_CTYPE") and env.get("LANG", "C.UTF-8") == "C.UTF-8"


class Server:
    """The server of one test process."""

    def __init__(self) -> None:
        self._asking, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one_at_a_time = threading.Lock()
        with there:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.forking", str(there.fileno())),
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                pass_fds=(there.fileno(),),
            )
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the server."""
        self._asking.close()
        self._process.wait()

    def fork(
        self, arguments: tuple[str, ...], env: Mapping[str, str], folder: Path, streams: tuple[IO[bytes], ...]
    ) -> int:
        """Forks a command; returns its pid."""
        asked = json.dumps({"arguments": arguments, "env": dict(env), "folder": str(folder)}).encode()
        with self._one_at_a_time:
            # The server's child forks the command and ends: the nearest subreaper inherits it.
            _be_subreaper(True)
            try:
                socket.send_fds(self._asking, [asked], [stream.fileno() for stream in streams])
                return int(self._asking.recv(64))
            finally:
                _be_subreaper(False)


@cache
def _server(_pid: int) -> Server:
    return Server()


def _be_subreaper(whether: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(whether), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def serve(asking: socket.socket) -> None:
    """Forks what is asked for until the test process ends. Returns in each forked command."""
    from wa_relay.cli.app import ENTRIES

    for entry in ENTRIES.values():
        import_module(entry.target.partition(":")[0])
    for module in ("wa_relay.daemon", "wa_relay.console.site", "wa_relay.ledger.postgres", "wa_relay.doctor"):
        import_module(module)
    gc.collect()
    gc.freeze()
    while True:
        asked, descriptors, _, _ = socket.recv_fds(asking, REQUEST_BYTES, 3)
        if not asked:
            os._exit(0)
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                asking.close()
                _become(json.loads(asked), descriptors)
                return
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        asking.send(os.read(reading, 64))
        for descriptor in (*descriptors, reading, writing):
            os.close(descriptor)


def _become(asked: Mapping[str, Any], descriptors: list[int]) -> None:
    """Gives a forked process what a command is started with."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 1024)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    if "PYTHONWARNINGS" in asked["env"]:
        warnings.simplefilter(asked["env"]["PYTHONWARNINGS"])
    sys.stdin = _stream(0, "r", "surrogateescape")
    sys.stdout = _stream(1, "w", "surrogateescape")
    sys.stderr = _stream(2, "w", "backslashreplace")
    sys.argv[1:] = asked["arguments"]


def _stream(descriptor: int, mode: str, errors: str) -> Any:
    by_line = descriptor == 2 or os.isatty(descriptor)
    return os.fdopen(descriptor, mode, 1 if by_line else -1, encoding="utf-8", errors=errors, closefd=False)


def _run_command() -> None:
    try:
        runpy.run_module("wa_relay", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        _leave(ended.code or 0)
        raise


def _leave(code: object) -> None:
    """Ends the process without the interpreter's own end, which would copy every page of memory (60 ms).

    Where warnings are errors that end is part of the test: it finds what was left open.
    """
    if isinstance(code, int) and "PYTHONWARNINGS" not in os.environ and threading.active_count() == 1:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    _run_command()
