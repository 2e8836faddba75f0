"""Measures time so that a bound holds on a busy machine as well.

The kernel counts how long each thread was ready to run and waited for a processor (`/proc/PID/task/TID/schedstat`,
second figure). A stopwatch leaves out what the test's process and everything that it has started waited in this way.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path


class Stopwatch:
    """A stopwatch that starts when it is created."""

    def __init__(self) -> None:
        self._began, self._waited = time.monotonic(), waited()

    @property
    def seconds(self) -> float:
        """Seconds since the start, without those in which the test's processes waited for a processor."""
        return time.monotonic() - self._began - max(0.0, waited() - self._waited)


def used(pid: int) -> float:
    """Seconds for which a process has had a processor, over all its threads that live."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def waited() -> float:
    """Seconds for which this process and its descendants have waited for a processor, over all threads that live."""
    nanoseconds = 0
    for pid in _family():
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                nanoseconds += int(thread.read_text(encoding="ascii").split()[1])
            except (OSError, IndexError):
                continue
    return nanoseconds / 1e9


def _family() -> list[int]:
    """This process and its descendants."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            # The name of the command, in brackets, may hold anything.
            children[int(stat.rpartition(")")[2].split()[1])].append(int(entry.name))
    family = [os.getpid()]
    for pid in family:
        family.extend(children[pid])
    return family
