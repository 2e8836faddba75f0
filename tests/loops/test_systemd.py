"""systemd is notified when the daemon is ready, alive and stopping; a hung one is not alive."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import run, stage
from tests.story import RULES
from wa_relay.ledger import file
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.systemd import notify, watchdog, watchdog_seconds

QUICK = "200000"
"""Microseconds: fed every 0.1 s."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The end of the socket that systemd would hold."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.setblocking(False)
        yield receiving


async def received(manager: socket.socket, state: str) -> None:
    async with asyncio.timeout(20):
        while (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode() != state:
            pass


def drain(manager: socket.socket) -> list[str]:
    states = []
    while True:
        try:
            states.append(manager.recv(4096).decode())
        except BlockingIOError:
            return states


def env_of(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(manager.getsockname()), **more}


def test_the_daemon_is_ready_alive_and_stopping(tmp_path: Path, manager: socket.socket) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, env=env_of(manager, WATCHDOG_USEC=QUICK), start=False) as s:
            await s.relay.start()
            await received(manager, "READY=1")
            for _ in range(3):
                await received(manager, "WATCHDOG=1")
            stopping = asyncio.create_task(s.relay.stop())
            await received(manager, "STOPPING=1")
            assert await stopping == 0

    run(scenario())


def test_a_writing_thread_that_hangs_starves_the_watchdog(tmp_path: Path, manager: socket.socket) -> None:
    async def scenario() -> None:
        opened = file.open_for_writing(tmp_path / "relay.db", account_sid="AC1", now=1.0)
        ledger = LedgerThread(Ledger(opened.connection, RULES))
        go_on = threading.Event()
        async with watchdog(ledger, env_of(manager, WATCHDOG_USEC=QUICK)):
            await received(manager, "WATCHDOG=1")
            started = threading.Event()
            hung = ledger.hand_over(hang, started, go_on)
            await asyncio.to_thread(started.wait, 10)
            # At most the one that was on its way.
            await asyncio.sleep(0.3)
            drain(manager)
            await asyncio.sleep(0.5)
            assert drain(manager) == []
            go_on.set()
            await hung
            await received(manager, "WATCHDOG=1")
        await ledger.close()

    run(scenario())


def hang(_ledger: Ledger, started: threading.Event, go_on: threading.Event) -> None:
    started.set()
    go_on.wait(20)


def test_a_socket_in_the_abstract_namespace_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind("\0wa-relay-test-notify")
        receiving.settimeout(5)
        notify("READY=1", {"NOTIFY_SOCKET": "@wa-relay-test-notify"})
        assert receiving.recv(100) == b"READY=1"


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_reachable_socket_nothing_happens(env: dict[str, str]) -> None:
    notify("READY=1", env)


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_s_time_is_read_from_the_environment(env: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(env) == seconds
