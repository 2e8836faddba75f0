"""Carries out a command's change: through the running daemon, or directly if none runs."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from wa_relay.cli.options import Options
from wa_relay.cli.settings import load_config
from wa_relay.config import Config
from wa_relay.config.policy_rules import rules_of
from wa_relay.ledger import runs, store, unfinished_sends
from wa_relay.ledger.faults import AlreadyServed, DatabaseMissing
from wa_relay.ledger.location import location_of
from wa_relay.ledger.lock import DatabaseLock, Holder
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment, RelayError
from wa_relay.moments import stamp
from wa_relay.server.daemon_presence import find_daemon
from wa_relay.server.unix_socket import PathTooLong, address

DAEMON_SECONDS = 10.0
Json = dict[str, Any]
Change = Callable[[Ledger, Moment], Json]


class DaemonDoesNotAnswer(RelayError):
    """A process holds the database and its control socket is silent."""

    exit_code = 75


def change(
    options: Options,
    path: str,
    body: Json,
    directly: Change,
    *,
    seconds: float = DAEMON_SECONDS,
    forbids_sends: bool = False,
) -> Json:
    """Posts `body` to `path` of the running daemon; if none runs, calls `directly` in one transaction.

    With `forbids_sends`, returns once no request that a daemon claimed earlier can still begin.
    """
    config = load_config(options)
    if location_of(config).is_shared:
        # Every daemon works from the database, so none needs to be asked.
        return _change_directly(config, directly, time.time(), forbids_sends=forbids_sends)
    if (daemon := running_daemon(config)) is not None:
        return ask(daemon, path, body, seconds)
    with holding(config):
        return _change_directly(config, directly, time.time())


def running_daemon(config: Config) -> Holder | None:
    """The daemon on the configured database, None if none runs or if several may share the database.

    Raises `DatabaseMissing` if there is no database file.
    """
    if location_of(config).is_shared:
        return None
    database = config.database.path
    if not database.exists():
        raise DatabaseMissing(f"there is no database at {database}. `wa-relay serve` creates it.", permanent=True)
    return find_daemon(database)


@contextmanager
def holding(config: Config) -> Iterator[None]:
    """Holds the lock of a database file that no daemon serves; a database on a server needs none."""
    if location_of(config).is_shared:
        yield
        return
    lock = DatabaseLock(config.database.path)
    try:
        lock.take(stamp(time.time()))
    except AlreadyServed:
        message = "another process holds the database and does not answer. Try again in a moment."
        raise DaemonDoesNotAnswer(message) from None
    try:
        yield
    finally:
        lock.release()


def change_beside_daemon(options: Options, path: str, body: Json, directly: Change) -> Json:
    """Does the same for a change that needs a daemon; raises `DaemonDoesNotAnswer` if none is alive.

    On a shared database the daemon may be on any host.
    """
    config = load_config(options)
    missing = DaemonDoesNotAnswer("no daemon is running. Start it with `wa-relay serve`, and try again.")
    if location_of(config).is_shared:

        def checked(ledger: Ledger, now: Moment) -> Json:
            if not runs.daemons_alive(ledger, now):
                raise missing
            return directly(ledger, now)

        return _change_directly(config, checked, time.time())
    database = config.database.path
    daemon = find_daemon(database) if database.exists() else None
    if daemon is None:
        raise missing
    return ask(daemon, path, body)


def open_ledger(config: Config, now: Moment) -> Ledger:
    """Opens the database for writing; the caller holds its lock, and closes the connection."""
    place = location_of(config)
    db = place.open_for_writing(account_sid="", now=now).connection
    ledger = Ledger(db, rules_of(config), forgotten=config.forgotten)
    try:
        row = ledger.need_one(store.SELECT_RELAY)
    except db.Error as error:
        db.close()
        raise place.fault_of(error) from error
    ledger.fence, ledger.epoch = row["fence"], row["epoch"]
    return ledger


def _change_directly(config: Config, directly: Change, now: Moment, *, forbids_sends: bool = False) -> Json:
    place = location_of(config)
    ledger = open_ledger(config, now)
    with closing(ledger.db) as db:
        try:
            result = _once_nothing_begins(ledger, directly, now)
            if forbids_sends:
                _wait_until_begun(ledger)
        except db.Error as error:
            raise place.fault_of(error) from error
        return result


def _once_nothing_begins(ledger: Ledger, directly: Change, now: Moment) -> Json:
    while True:
        try:
            ledger.db.begin()
            result = directly(ledger, ledger.db.now(now))
            ledger.db.commit()
            return result
        except unfinished_sends.MayBegin:
            ledger.db.rollback()
            time.sleep(unfinished_sends.LOOK_AGAIN)


def _wait_until_begun(ledger: Ledger) -> None:
    unclear, end = unfinished_sends.unfinished_sends(ledger), time.monotonic() + unfinished_sends.BEGUN_AFTER
    while unclear and time.monotonic() < end:
        time.sleep(unfinished_sends.LOOK_AGAIN)
        unclear &= unfinished_sends.unfinished_sends(ledger)


class _ControlConnection(HTTPConnection):
    """HTTP over the control socket. httpx does the same and takes 0.1 s to import, more than the rest of `pause`."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("wa-relay", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(daemon: Holder, path: str, body: Json, seconds: float = DAEMON_SECONDS) -> Json:
    """Posts to the daemon's control socket. Raises `RelayError` with its message if it refuses."""
    try:
        with (
            address(Path(str(daemon.control))) as reachable,
            closing(_ControlConnection(reachable, seconds)) as connection,
        ):
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            result: Json = json.loads(response.read())
    except (HTTPException, ValueError, OSError, PathTooLong) as error:
        raise DaemonDoesNotAnswer(f"the daemon (pid {daemon.pid}) does not answer. Try again in a moment.") from error
    if response.status != 200:
        raise RelayError(str(result.get("message", "the daemon refused the request.")), permanent=True)
    return result


def cli_actor() -> str:
    """Returns the user who decides by a command, as recorded with the decision."""
    return f"cli ({current_user()})"


def current_user() -> str:
    """Returns the user who runs the command, as recorded with a decision."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run under a user id without a name
        return f"user {os.getuid()}"
