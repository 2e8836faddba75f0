"""The Node service of the comparison (Express, Bull, Redis, PostgreSQL) with its servers, in a separate folder.

It needs `node`, `redis-server` and Debian's PostgreSQL; `make bench-peer` installs them and the npm packages.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.processes import Process, cpu_of
from bench.product import PUBLIC
from bench.twilio_form import ACCOUNT, TOKEN
from wa_relay.standins.port import free_port

SOURCE = Path(__file__).parent / "peer"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


class PeerService:
    """PostgreSQL and Redis run until `close`; the service itself is started for each load."""

    def __init__(self, folder: Path) -> None:
        if not POSTGRES or not (SOURCE / "node_modules").is_dir():
            raise RuntimeError("the Node service is not set up: run it with `make bench-peer`")
        self._data, self._user = folder / "postgres", pwd.getpwnam("postgres")
        self._database_port, self._redis_port, self._port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._redis = subprocess.Popen(
            ["redis-server", "--port", str(self._redis_port), "--save", "", "--appendonly", "no", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        )
        self._start_postgres(folder)
        self._node: Process | None = None

    def start(self, mode: str, env: Mapping[str, str] | None = None) -> Process:
        """Empties both stores and starts the service; returns its process."""
        self._sql("drop table if exists conversation_messages, conversation_state")
        self._sql((SOURCE / "schema.sql").read_text(encoding="utf-8"))
        subprocess.run(["redis-cli", "-p", str(self._redis_port), "flushall"], check=True, stdout=subprocess.DEVNULL)
        own = {
            "MODE": mode,
            "PORT": str(self._port),
            "DATABASE_URL": f"postgres://postgres@127.0.0.1:{self._database_port}/postgres",
            "REDIS_PORT": str(self._redis_port),
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "PUBLIC_URL": PUBLIC,
            "SERVICE_TOKEN": "bench-token-0123456789abcdef",
            "NODE_ENV": "production",
        }
        self._node = Process([str(SOURCE / "server.js")], program="node", env={**own, **(env or {})})
        assert self._node.first_line().startswith("listening")
        return self._node

    def stop(self) -> None:
        """Ends the service; its stores keep running."""
        if self._node is not None:
            self._node.kill()
            self._node = None

    @property
    def cpu(self) -> float:
        """Processor seconds of the service and of both stores."""
        assert self._node is not None
        return self._node.cpu + cpu_of(self._redis.pid) + cpu_of(self._postmaster(), family=True)

    @property
    def resident(self) -> float:
        """MB of the service's own process."""
        assert self._node is not None
        return self._node.resident

    def inbound(self) -> int:
        """Stored messages of customers."""
        return int(self._sql("select count(*) from conversation_messages where direction = 'in'"))

    def close(self) -> None:
        """Ends everything."""
        self.stop()
        self._redis.terminate()
        self._redis.wait()
        self._as_postgres([str(POSTGRES[0] / "pg_ctl"), "-D", str(self._data), "-m", "immediate", "stop"])

    def _start_postgres(self, folder: Path) -> None:
        folder.chmod(0o755)
        self._data.mkdir()
        os.chown(self._data, self._user.pw_uid, self._user.pw_gid)
        self._as_postgres([str(POSTGRES[0] / "initdb"), "-D", str(self._data), "-A", "trust", "-E", "UTF8"])
        options = f"-p {self._database_port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._data}"
        log = str(self._data / "log")
        self._as_postgres([str(POSTGRES[0] / "pg_ctl"), "-D", str(self._data), "-o", options, "-l", log, "-w", "start"])

    def _postmaster(self) -> int:
        return int((self._data / "postmaster.pid").read_text(encoding="ascii").split()[0])

    def _as_postgres(self, command: list[str]) -> None:
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user.pw_uid,
            group=self._user.pw_gid,
            cwd=self._data,
        )

    def _sql(self, text: str) -> str:
        command = ["psql", "-h", "127.0.0.1", "-p", str(self._database_port), "-U", "postgres", "-qtA", "-c", text]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
