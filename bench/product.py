"""The product as the benchmark runs it: a configuration, a database with people in it, and its process."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.processes import Process
from bench.twilio_form import ACCOUNT, SENDER, TOKEN, phone
from wa_relay.config import load
from wa_relay.config.policy_rules import rules_of
from wa_relay.ledger.indexing import index_more
from wa_relay.ledger.location import Location
from wa_relay.ledger.postgres import translated
from wa_relay.ledger.store import Ledger
from wa_relay.moments import stamp
from wa_relay.standins.port import free_port

API_TOKEN = "bench-token-0123456789abcdef"
AGENT = "agent_4701k8fcsvhaes5s1h6tw894g98s"
PUBLIC = "https://relay.example.com"
LISTENING = re.compile(r"listens on (http://\S+)")
PEOPLE = """
    insert into conversation_state (id, phone_number, client_name, elevenlabs_conversation_id, agent_id, started_at,
        last_message_at, created_at, sender)
    values (:id, :phone, 'Ana García', :key, :agent, :stamp, :stamp, :now, :sender)"""
ADDRESSES = """
    insert into addresses (address, kind, conversation_id, known_since) values (:phone, 'phone', :id, :now)"""
CALLS = """
    insert into calls (id, elevenlabs_conversation_id, conversation_id, phone_number, agent_id, outcome, source,
        ended_at, recorded_at, summary)
    values (:id, :key, :id, :phone, :agent, 'completed', 'push', :now, :now, 'Preguntó por el plan.')"""
LATEST_CALLS = "update conversation_state set call_id = id"
INBOUND = "select count(*) from conversation_messages where direction = 'inbound'"
SENT = "select count(*) from conversation_messages where direction = 'outbound' and status in ('sent', 'delivered')"


class Product:
    """One relay on a separate folder. `module` may name another way to start the same program."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Mapping[str, Any]],
        *,
        module: tuple[str, ...] = ("wa_relay",),
        env: Mapping[str, str] | None = None,
        database: Path | None = None,
        server: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config = folder, folder / "config.toml"
        self.database = database or folder / "wa-relay.db"
        self.place = Location(self.database, server)
        self._module, self._env = module, dict(env or {})
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Process | None = None
        self._write(settings)

    def _write(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        own: dict[str, dict[str, Any]] = {
            "server": {"port": self._port, "public_url": PUBLIC, "token": API_TOKEN},
            "database": {"url": self.place.url} if self.place.url else {"path": str(self.database)},
            "twilio": {
                "account_sid": ACCOUNT,
                "auth_token": TOKEN,
                "sender": f"whatsapp:{SENDER}",
                "base_url": "http://127.0.0.1:9",
                "messages_per_second": 10_000,
            },
            "elevenlabs": {"api_key": "sk_standin", "base_url": "http://127.0.0.1:9", "settle_seconds": 0.2},
            "poll": {"enabled": False},
            "opening": {"burst_limit": 0},
            "reply": {"debounce_seconds": 0.0},
        }
        for section, values in settings.items():
            own.setdefault(section, {}).update(values)
        lines = (
            f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
            for section, values in own.items()
        )
        self.config.write_text("".join(lines), encoding="utf-8")
        self.config.chmod(0o600)

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None
        return self._process

    def seed(self, people: int) -> None:
        """Makes the database, with that many called customers, whose names are in the search index already."""
        now = time.time()
        db = self.place.open_for_writing(account_sid=ACCOUNT, now=now - 60.0).connection
        rows = [
            {
                "id": customer,
                "phone": phone(customer),
                "key": f"conv_{customer}",
                "agent": AGENT,
                "sender": SENDER,
                "stamp": stamp(now),
                "now": now,
            }
            for customer in range(1, people + 1)
        ]
        db.begin()
        for sql in (PEOPLE, ADDRESSES, CALLS):
            # Each engine's connection has it, with its own marks.
            if self.place.url:
                db.connection.cursor().executemany(translated(sql), rows)  # type: ignore[attr-defined]
            else:
                db.executemany(sql, rows)  # type: ignore[attr-defined]
        db.execute(LATEST_CALLS)
        # A daemon would have taken them in as the calls came, not in the middle of the load.
        ledger = Ledger(db, rules_of(load(self.config, {}, cwd=self.folder)))
        while people and index_more(ledger, people):
            pass
        db.commit()
        if self.place.url:
            for table in ("conversation_state", "calls"):
                db.execute(f"select setval(pg_get_serial_sequence('{table}', 'id'), {people + 1})")
            db.execute("vacuum analyze")
        db.close()

    def start(self) -> float:
        """Starts it and waits for the first 200 of `/health`; returns the seconds."""
        began = time.perf_counter()
        arguments = ["-m", *self._module, "--config", str(self.config), "serve"]
        self._process = Process(arguments, env=self._env, log=self.folder / "stderr.log")
        while True:
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        return time.perf_counter() - began
            except OSError as error:
                if self._process.ended or time.perf_counter() - began > 60.0:
                    raise RuntimeError((self.folder / "stderr.log").read_text(encoding="utf-8")[-2000:]) from error
                time.sleep(0.005)

    def count(self, sql: str = INBOUND) -> int:
        """Counts rows of the database, as another process sees them."""
        with closing(self.place.open_for_reading()) as db:
            return int(db.execute(sql).fetchone()[0])

    def stop(self) -> None:
        """Ends it with SIGTERM."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
