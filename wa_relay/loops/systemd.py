"""Reports the daemon's state to systemd: ready, alive, stopping (sd_notify(3)).

Outside systemd (`NOTIFY_SOCKET` is not set) nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping

from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread


def notify(state: str, env: Mapping[str, str]) -> None:
    """Sends one state, `READY=1` for example, to the socket that `NOTIFY_SOCKET` names.

    A socket that can't be reached is ignored: systemd then acts on its own time-outs.
    """
    address = env.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # An address that begins with @ is in the abstract namespace.
    target = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), target)


def watchdog_seconds(env: Mapping[str, str]) -> float | None:
    """Returns the time after which systemd takes this process for hung, None without a watchdog."""
    microseconds, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6


@contextlib.asynccontextmanager
async def watchdog(ledger: LedgerThread, env: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Feeds systemd's watchdog as long as the context lasts."""
    seconds = watchdog_seconds(env)
    if seconds is None:
        yield
        return
    task = asyncio.create_task(_feed(ledger, seconds / 2, env), name="watchdog")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _feed(ledger: LedgerThread, pause: float, env: Mapping[str, str]) -> None:
    """Feeds after each commit: neither a hung event loop nor a hung writing thread gets here.

    A database that refuses (disk full, locked) does not hang: the daemon stays up and recovers.
    """
    while True:
        with contextlib.suppress(StorageUnavailable):
            await ledger.run(_do_nothing)
        notify("WATCHDOG=1", env)
        await asyncio.sleep(pause)


def _do_nothing(_ledger: Ledger) -> None:
    """An operation for the sake of its commit."""
