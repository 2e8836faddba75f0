"""Unix sockets at any path: the kernel accepts 107 bytes, and a database may lie deeper.

A path that is too long is written through its open folder, `/proc/self/fd/N/name` (proc(5)), so that the socket is
always beside the database. A temporary folder would not do: under systemd's `PrivateTmp` the daemon has another one
than the user who calls it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wa_relay.model import RelayError

LONGEST = 100
"""Bytes of the longest address that is used unshortened; macOS accepts 103."""


class PathTooLong(RelayError):
    """The socket's path is too long, however it is written."""

    exit_code = 78


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yields the address to bind or connect to for a socket at `path`. It is valid inside the context only.

    Raises `PathTooLong`, and `OSError` if the folder can't be opened.
    """
    if _fits(str(path)):
        yield str(path)
        return
    # O_PATH: a user who may not list the folder may still open the socket in it.
    folder = os.open(path.parent, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        by_folder = f"/proc/self/fd/{folder}/{path.name}"
        if not _fits(by_folder) or not Path(f"/proc/self/fd/{folder}").exists():
            raise PathTooLong(
                f"{path} is too long a path for the control socket. Give the database a shorter one (database.path).",
                permanent=True,
            )
        yield by_folder
    finally:
        os.close(folder)


def _fits(text: str) -> bool:
    return len(os.fsencode(text)) <= LONGEST
