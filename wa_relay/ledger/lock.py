"""One daemon per database: a lock file beside it, freed by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wa_relay.ledger.faults import AlreadyServed, DatabaseUnusable


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a database. `since` is RFC 3339; `control` the path of its control socket."""

    pid: int
    since: str
    control: str | None = None


class DatabaseLock:
    """The exclusive right to write to one database, held until `release` or the process' end."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._descriptor: int | None = None

    def take(self, since: str, patience: float = 0.0, give_up: Callable[[], bool] = lambda: False) -> None:
        """Takes the lock, or raises `AlreadyServed` that names the holder.

        A holder that can't be reached is a daemon that is starting, or a command that changes one thing. `take`
        blocks until it is done: for at most `patience` seconds, and no longer once `give_up` returns true.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseUnusable(
                f"the lock file {self.path} can't be opened: {error.strerror}. "
                "Check that the folder exists and that this user may write to it."
            ) from error
        end = time.monotonic() + patience
        while not _locked(descriptor):
            if time.monotonic() >= end or give_up() or _serves(self.holder()):
                os.close(descriptor)
                raise AlreadyServed(self._refusal())
            time.sleep(0.02)
        self._descriptor = descriptor
        self.announce(Holder(os.getpid(), since))

    def announce(self, holder: Holder) -> None:
        """Writes who holds the lock, for the commands that look for the daemon."""
        assert self._descriptor is not None
        text = json.dumps({"pid": holder.pid, "since": holder.since, "control": holder.control})
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def release(self) -> None:
        """Frees the lock; the file stays, since removing it would race with the next holder."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Holder | None:
        """Who says to hold the lock; None when the file says nothing that can be read."""
        try:
            data = json.loads(self.path.read_text())
            return Holder(int(data["pid"]), str(data["since"]), data.get("control"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _refusal(self) -> str:
        holder = self.holder()
        who = f" (pid {holder.pid} since {holder.since})" if holder else ""
        return f"wa-relay is already running{who} on this database. Stop it first; one daemon serves one database."


def _serves(holder: Holder | None) -> bool:
    """True for a daemon that lives: what a killed one wrote stays until the next holder has written."""
    if holder is None or holder.control is None:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        pass
    return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
