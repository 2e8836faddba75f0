"""Unix sockets at any path: the kernel takes 107 bytes of one, and a database may lie deeper.

A path that is too long is spelt by way of its open folder, `/proc/self/fd/N/name` (proc(5)), so that
the socket still stands beside the database: a temporary folder is another one under systemd's
`PrivateTmp` than in the shell of who calls the daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wa_relay.model import RelayError

LONGEST = 100
"""Bytes of an address that is used as it is; macOS takes 103."""


class PathTooLong(RelayError):
    """No address of the socket is short enough."""

    exit_code = 78


@contextmanager
def address(path: Path) -> Iterator[str]:
    """What to bind or to connect to for a socket at `path`, good while the context lasts.

    Raises `PathTooLong`, and `OSError` when the folder can't be opened.
    """
    if _fits(str(path)):
        yield str(path)
        return
    # Not opened to be read: who may not list the folder may still reach into it.
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
