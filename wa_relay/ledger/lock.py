"""One daemon per database file, whatever path leads to it: a lock on the file itself, which the kernel frees.

The lock is flock(2) on the database file, so it belongs to the file (device and inode): a symbolic link, a hard link, a
bind mount and a relative path all meet it. SQLite takes its own locks on the same file by fcntl(2); Linux keeps the two
kinds apart. There is one trap: when a process closes *any* descriptor of a file, the kernel drops all its fcntl locks
on that file, and SQLite would continue without them while another program truncates its log. So a descriptor of the
database is opened before SQLite opens the file and closed after SQLite has closed it (`take`, `release`), a lock that
this process holds already is refused without opening anything, and nothing else may open the file (see
`file.open_for_reading`).

The holder is named in `<database>.lock`, beside the path by which it opened the database. Commands that know the file
by another path find that one through the kernel's table of locks (`/proc/locks`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wa_relay.ledger.faults import AlreadyServed, DatabaseUnusable

Inode = tuple[int, int]
"""Device and inode of a file: they identify it under any name."""

_held: dict[Inode, int] = {}
"""The files that this process holds, each with its descriptor."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a database. `since` is RFC 3339; `control` is the path of its control socket."""

    pid: int
    since: str
    control: str | None = None


class DatabaseLock:
    """The exclusive right to write to one database, held until `release` or the end of the process."""

    def __init__(self, database: Path) -> None:
        self.database = Path(os.path.realpath(database))
        self.path = _record_of(self.database)
        self._descriptor: int | None = None
        self._inode: Inode | None = None

    def take(self, since: str, patience: float = 0.0, give_up: Callable[[], bool] = lambda: False) -> None:
        """Takes the lock, or raises `AlreadyServed` that names the holder. Creates an empty file if it is missing.

        A holder that can't be reached is a daemon that is starting, or a command that changes one thing. `take`
        blocks until it is done: for at most `patience` seconds, and no longer once `give_up` returns true.
        """
        end = time.monotonic() + patience
        descriptor: int | None = None
        try:
            while True:
                if not self._is_held_here():
                    descriptor = self._open() if descriptor is None else descriptor
                    if self._lock(descriptor):
                        descriptor = None
                        break
                if time.monotonic() >= end or give_up() or _serves(self.holder()):
                    raise AlreadyServed(self._refusal())
                time.sleep(0.02)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        self.announce(Holder(os.getpid(), since))

    def announce(self, holder: Holder) -> None:
        """Writes who holds the lock, for the commands that look for the daemon."""
        text = json.dumps({"pid": holder.pid, "since": holder.since, "control": holder.control})
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseUnusable(
                f"the file {self.path} can't be written: {error.strerror}. "
                "Check that this user may write to the folder of the database."
            ) from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as record:
            record.write(text)

    def release(self) -> None:
        """Frees the lock. Every SQLite connection of this process to the file must be closed before.

        The record stays, emptied, since removing it would race with the next holder.
        """
        if self._descriptor is None:
            return
        with suppress(OSError):
            os.truncate(self.path, 0)
        if self._inode is not None:
            _held.pop(self._inode, None)
        os.close(self._descriptor)
        self._descriptor = None

    def holder(self) -> Holder | None:
        """The holder as it announced itself; None where that can't be read."""
        return _read(_record_of(path_in_use(self.database) or self.database))

    def _is_held_here(self) -> bool:
        """True while this process holds the file: opening and closing it here would drop SQLite's own locks."""
        try:
            return _inode_of(os.stat(self.database)) in _held
        except OSError:
            return False

    def _lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        found = _inode_of(os.fstat(descriptor))
        try:
            replaced = _inode_of(os.stat(self.database)) != found
        except OSError:
            replaced = True
        if replaced:
            raise AlreadyServed(f"the database {self.database} was replaced just now. Try again.")
        self._descriptor = descriptor
        self._inode = found
        _held[found] = descriptor
        return True

    def _open(self) -> int:
        try:
            try:
                return os.open(self.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except PermissionError:
                return os.open(self.database, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DatabaseUnusable(
                f"the database {self.database} can't be opened: {error.strerror}. "
                "Check that the folder exists and that this user may write to it."
            ) from error

    def _refusal(self) -> str:
        holder = self.holder()
        who = f" (pid {holder.pid} since {holder.since})" if holder else ""
        return f"wa-relay is already running{who} on this database. Stop it first; one daemon serves one database."


def descriptor_of(database: Path) -> int | None:
    """The descriptor of a file whose lock this process holds, None for any other. It must not be closed."""
    try:
        return _held.get(_inode_of(os.stat(database)))
    except OSError:
        return None


def path_in_use(database: Path) -> Path | None:
    """Returns the path by which the holder of this file's lock opened it; None if it is free or that can't be seen.

    SQLite finds its log by the path. So where a hard link or a bind mount gives the file another path, that one leads
    past everything that is not yet in the main file.
    """
    try:
        inode = _inode_of(os.stat(database))
    except OSError:
        return None
    for pid in _pids_with_lock(inode):
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    path = Path(os.readlink(f"/proc/{pid}/fd/{name}"))
                    if _inode_of(os.stat(path)) == inode:
                        return path
    return None


def _pids_with_lock(inode: Inode) -> Iterator[int]:
    """The processes that hold a flock on a file, as far as this process may see them."""
    device, number = inode
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{number}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            yield int(fields[4])


def _record_of(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _inode_of(found: os.stat_result) -> Inode:
    return found.st_dev, found.st_ino


def _read(record: Path) -> Holder | None:
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
        return Holder(int(data["pid"]), str(data["since"]), data.get("control"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _serves(holder: Holder | None) -> bool:
    """True for a daemon that lives: what a killed one wrote stays until the next holder has written."""
    if holder is None or holder.control is None:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        pass
    return True
