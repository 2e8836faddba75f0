"""Finds out whether a daemon runs on a database: here alone, by connecting to its control socket."""

from __future__ import annotations

import socket
from pathlib import Path

from wa_relay.ledger.lock import DatabaseLock, Holder
from wa_relay.server.unix_socket import PathTooLong, address

CONNECT_SECONDS = 1.0


def find_daemon(database: Path) -> Holder | None:
    """Returns the daemon that serves this database, or None.

    A killed daemon leaves its entry in the lock file and may leave its socket: only a connection proves
    that one is alive.
    """
    holder = DatabaseLock(database).holder()
    if holder is None or holder.control is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            with address(Path(holder.control)) as reachable:
                probe.connect(reachable)
        except (OSError, PathTooLong):
            return None
    return holder
