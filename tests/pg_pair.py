"""Two PostgreSQL servers of Debian, the second a synchronous standby: the first is killed, the second promoted."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from wa_relay.standins.port import free_port

INSTALLED = Path("/usr/lib/postgresql")
OPTIONS = (
    "listen_addresses = '127.0.0.1'",
    "wal_level = replica",
    "hot_standby = on",
    "max_wal_senders = 8",
    "shared_buffers = '64MB'",
    "max_connections = 100",
)


def programs() -> Path | None:
    """The folder of the newest server that is installed, None without one."""
    found = sorted(INSTALLED.glob("*/bin"), key=lambda each: int(each.parent.name)) if INSTALLED.exists() else []
    return found[-1] if found else None


@dataclass(slots=True)
class _Server:
    data: Path
    port: int


class Pair:
    """A primary and its synchronous standby. `url` names both, so that libpq finds the one that takes writes."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None, "no PostgreSQL server is installed (apt-get install postgresql)"
        self._bin = found
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.folder = Path(tempfile.mkdtemp(prefix="wa-relay-pair-"))
        if os.geteuid() == 0:
            account = pwd.getpwnam(self._user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._numbers = itertools.count(1)
        self._generation = itertools.count(1)
        self._primary = _Server(self.folder / "0", free_port())
        self._run("initdb", "--pgdata", str(self._primary.data), "--auth", "trust", "--username", self._user)
        self._configure(self._primary)
        self._start(self._primary)
        self._standby = self._follow(free_port())
        self._killed = False

    def create(self) -> str:
        """Makes an empty database and returns its address, which names both servers."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"create database {name}")
        ports = sorted((self._primary.port, self._standby.port))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://{self._user}@{hosts}/{name}?target_session_attrs=read-write"

    def kill_server(self) -> None:
        """Kills the primary, as a power cut would."""
        pid = int((self._primary.data / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + 20.0
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, "the primary does not end"
            time.sleep(0.02)
        self._killed = True

    def start_server(self) -> None:
        """Promotes the standby, and makes a new standby in the place of the old primary."""
        if not self._killed:
            return
        self._killed = False
        gone, self._primary = self._primary, self._standby
        # A primary waits for its synchronous standby, and the new one has none yet.
        self._run("pg_ctl", "promote", "--wait", "--pgdata", str(self._primary.data))
        self._execute("alter system set synchronous_standby_names = ''", "select pg_reload_conf()")
        shutil.rmtree(gone.data)
        self._standby = self._follow(gone.port)

    def stop(self) -> None:
        """Ends both and removes their files."""
        for each in (self._standby, self._primary):
            if (each.data / "postmaster.pid").exists():
                self._run("pg_ctl", "stop", "--mode", "immediate", "--pgdata", str(each.data))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _follow(self, port: int) -> _Server:
        """Makes a standby, and lets every commit wait for it once it follows."""
        made = _Server(self.folder / str(next(self._generation)), port)
        source = f"host=127.0.0.1 port={self._primary.port} user={self._user} application_name=standby"
        self._run("pg_basebackup", "--pgdata", str(made.data), "--write-recovery-conf", "--checkpoint", "fast",
                  "--dbname", source)  # fmt: skip
        self._configure(made)
        self._start(made)
        end = time.monotonic() + 30.0
        while not self._execute("select 1 from pg_stat_replication where state = 'streaming'"):
            assert time.monotonic() < end, "the standby does not follow"
            time.sleep(0.05)
        self._execute("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
        return made

    def _configure(self, each: _Server) -> None:
        lines = (*OPTIONS, f"port = {each.port}", f"unix_socket_directories = '{self.folder}'")
        with (each.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def _start(self, each: _Server) -> None:
        log = str(self.folder / f"{each.data.name}.log")
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(each.data), "--log", log)

    def _execute(self, *statements: str) -> bool:
        """Runs statements on the primary; true if the last one returned a row."""
        url = f"postgresql://{self._user}@127.0.0.1:{self._primary.port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.description is not None and cursor.fetchone() is not None

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self._user, "--", *command]
        # pg_ctl's server keeps what it inherits open: nothing is read from it.
        done = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False, timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} ended with {done.returncode}"
