"""The processes that a benchmark starts, measures and ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from select import select
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
START_WITHIN = 60.0
ROOT = Path(__file__).parent.parent


class Process:
    """One process. `url` is where it listens, for those that have an address."""

    def __init__(
        self,
        arguments: list[str],
        *,
        program: str = sys.executable,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self._arguments = arguments
        self._log = log.open("ab") if log else subprocess.DEVNULL
        self._popen = subprocess.Popen(
            [program, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            cwd=ROOT,
        )
        self.pid = self._popen.pid
        self.url = ""

    def first_line(self) -> str:
        """Waits for the first line of standard output. Raises RuntimeError when none comes."""
        assert self._popen.stdout is not None
        readable, _, _ = select([self._popen.stdout], [], [], START_WITHIN)
        line = self._popen.stdout.readline().decode() if readable else ""
        if not line:
            self.kill()
            raise RuntimeError(f"no start: {' '.join(self._arguments)}")
        return line.strip()

    @property
    def ended(self) -> bool:
        """True once it has ended."""
        return self._popen.poll() is not None

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far, all threads."""
        return cpu_of(self.pid)

    @property
    def resident(self) -> float:
        """MB of resident memory now."""
        return self._status("VmRSS")

    @property
    def peak(self) -> float:
        """MB of resident memory at its peak."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1000.0 for line in lines if line.startswith(name))

    def wait(self) -> None:
        """Waits for its end. Raises RuntimeError if it failed."""
        if self._popen.wait(START_WITHIN):
            raise RuntimeError(f"exit {self._popen.returncode}: {' '.join(self._arguments)}")

    def kill(self) -> None:
        """Kills it, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Asks it to end, and waits until it has."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(20)
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        if not isinstance(self._log, int):
            self._log.close()


def cpu_of(pid: int, *, family: bool = False) -> float:
    """Seconds of processor time of a process; with `family` also of its children, those that ended included."""
    if not family:
        # The kernel's clock of a process, in nanoseconds: /proc has hundredths of a second.
        return time.clock_gettime(~pid << 3 | 2)
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return ticks / TICKS + sum(cpu_of(int(child), family=True) for child in children)


def run_json(module: str, job: Mapping[str, Any], *, beside: Callable[[], None] | None = None) -> Any:
    """Runs a module of the benchmark as a separate process: a job as JSON in, a result as JSON out.

    `beside` is called every tenth of a second while it runs.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    shown: bytes | None = json.dumps(job).encode()
    while True:
        try:
            out, _ = process.communicate(shown, timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            shown = None
            if beside is not None:
                beside()
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}")
    return json.loads(out)
