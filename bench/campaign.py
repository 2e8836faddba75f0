"""A campaign on PostgreSQL: `python -m bench.campaign [--conversations 100000] [--calls 10000]`.

Three daemons, five senders, a database in which many customers have been written to, and calls whose openings are all
due at once. A fifth of the customers answer and get a reply. One daemon is killed every ten seconds and started again.
At the end Twilio's journal shows whether a customer got two openings, or none, and the figures show what the limit was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import psycopg

from bench.processes import Process, cpu_of
from bench.product import AGENT, API_TOKEN
from tests.balancer import Balancer
from tests.e2e.stage import OVERRIDES, until
from tests.engines import Cluster
from wa_relay.ledger import server
from wa_relay.moments import stamp
from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, ElevenLabsStandin
from wa_relay.standins.port import free_port
from wa_relay.standins.twilio import Delays, TwilioStandin

HOSTS = 3
SENDERS = tuple(f"whatsapp:+1415523888{number}" for number in range(1, 6))
RATE = 80.0
OPENING = "Hola otra vez"
KILL_EVERY = 10.0
ANSWERING = 0.2
LONGEST = 1800.0
BUSY = 0.85
"""The share of a processor from which a process counts as the limit."""

SEED = (
    "set session_replication_role = replica",
    """
    insert into conversation_state (id, phone_number, client_name, elevenlabs_conversation_id, agent_id, started_at,
        last_message_at, call_id, created_at, sender)
    select n, '+57300' || lpad(n::text, 7, '0'), 'Ana García', 'conv_' || n, %(agent)s, %(stamp)s, %(stamp)s, n,
        %(then)s, (%(senders)s::text[])[1 + n %% 5]
    from generate_series(1, %(conversations)s) n""",
    """
    insert into addresses (address, kind, conversation_id, known_since)
    select phone_number, 'phone', id, %(then)s from conversation_state""",
    """
    insert into calls (id, elevenlabs_conversation_id, conversation_id, phone_number, agent_id, outcome, source,
        ended_at, recorded_at, summary)
    select id, 'conv_' || id, id, phone_number, agent_id, 'completed', 'push', %(then)s, %(then)s, 'Preguntó.'
    from conversation_state""",
    """
    insert into conversation_messages (id, conversation_id, direction, kind, content, status, call_id, created_at,
        attempted_at, accepted_at, delivered_at, twilio_message_id, sent_at, sender)
    select id, id, 'outbound', 'opening', 'Hola', 'delivered', id, %(then)s, %(then)s, %(then)s, %(then)s,
        'SM' || lpad(to_hex(id), 32, '0'), %(stamp)s, sender
    from conversation_state""",
    """
    insert into calls (id, elevenlabs_conversation_id, conversation_id, phone_number, agent_id, outcome, source,
        ended_at, recorded_at, summary)
    select %(conversations)s + id, 'due_' || id, id, phone_number, agent_id, 'completed', 'push', %(now)s, %(now)s,
        'Preguntó.'
    from conversation_state where id <= %(calls)s""",
    "update conversation_state set call_id = %(conversations)s + id where id <= %(calls)s",
    """
    insert into conversation_messages (id, conversation_id, direction, kind, content, status, call_id, created_at,
        due_at, not_after, sender)
    select %(conversations)s + id, id, 'outbound', 'opening', 'Hola otra vez', 'queued', %(conversations)s + id,
        %(now)s, %(now)s, %(now)s + 80000, sender
    from conversation_state where id <= %(calls)s""",
    *(
        f"select setval(pg_get_serial_sequence('{table}', 'id'), (select max(id) from {table}))"
        for table in ("conversation_state", "calls", "conversation_messages")
    ),
    "set session_replication_role = origin",
    "analyze",
)
COUNT_UNCERTAIN = "select count(*) as rows from conversation_messages where status = 'uncertain' and kind = 'opening'"
COUNT_WAITING = "select count(*) as rows from conversation_messages where status in ('queued', 'sending')"

Settings = Mapping[str, Mapping[str, Any]]


class Host:
    """One daemon, and the processor time of all its lives."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        folder.mkdir()
        self.port = free_port()
        self._folder = folder
        self._process: Process | None = None
        self._spent = 0.0
        self._settings = settings

    def write(self, public_url: str) -> None:
        """Writes the configuration."""
        own: dict[str, dict[str, Any]] = {name: dict(values) for name, values in self._settings.items()}
        own["server"] = {"port": self.port, "public_url": public_url, "token": API_TOKEN}
        lines = [
            f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
            for section, values in own.items()
        ]
        lines += [f'[[sender]]\nnumber = "{number}"\nmessages_per_second = {RATE}\n' for number in SENDERS[1:]]
        config = self._folder / "config.toml"
        config.write_text("".join(lines), encoding="utf-8")
        config.chmod(0o600)

    def start(self) -> None:
        """Starts the daemon without waiting for it."""
        arguments = ["-m", "wa_relay", "--config", str(self._folder / "config.toml"), "serve"]
        self._process = Process(arguments, log=self._folder / "stderr.log")

    def kill(self) -> None:
        """Kills the daemon, as a power cut would."""
        self._spent = self.cpu
        if self._process is not None:
            self._process.kill()
            self._process = None

    @property
    def cpu(self) -> float:
        """Seconds of processor time, of all lives together."""
        return self._spent + (self._process.cpu if self._process is not None else 0.0)


class Campaign:
    """One run. The database holds `conversations`; the first `calls` of them have an opening due."""

    def __init__(self, folder: Path, conversations: int, calls: int, seed: int) -> None:
        self._folder = folder
        self._conversations = conversations
        self._calls = calls
        self._dice = random.Random(seed)
        self._cluster = Cluster(durable=True)
        self._twilio = TwilioStandin(senders=SENDERS, delays=Delays(0.2, 0.5, 1.0), enforce_window=False)
        self._agents = ElevenLabsStandin()
        self._agents.add_agent(Agent(AGENT, client_events=CHAT_EVENTS))
        self._kills = 0
        self._answered = 0

    async def run(self) -> None:
        """Plays the campaign and prints its figures; raises AssertionError for an opening that is lost or doubled."""
        try:
            url = self._cluster.create()
            began = time.monotonic()
            self._seed(url)
            print(f"{self._conversations:,} conversations made in {time.monotonic() - began:.0f} s", flush=True)
            await self._twilio.start()
            await self._agents.start()
            await self._play(url)
        finally:
            await self._agents.stop()
            await self._twilio.stop()
            self._cluster.stop()

    def _seed(self, url: str) -> None:
        now = time.time()
        server.open_for_writing(url, account_sid=self._twilio.account_sid, now=now - 86400.0).connection.close()
        values = {
            "agent": AGENT,
            "stamp": stamp(now - 7200.0),
            "then": now - 7200.0,
            "now": now,
            "senders": [sender.removeprefix("whatsapp:") for sender in SENDERS],
            "conversations": self._conversations,
            "calls": self._calls,
        }
        with closing(psycopg.connect(url, autocommit=True)) as db:
            for statement in SEED:
                db.execute(statement.encode(), values if "%(" in statement else None)

    async def _play(self, url: str) -> None:
        settings: Settings = {
            "database": {"url": url},
            "twilio": {
                "account_sid": self._twilio.account_sid,
                "auth_token": self._twilio.settings.auth_token,
                "sender": SENDERS[0],
                "base_url": self._twilio.url,
                "messages_per_second": RATE,
            },
            "elevenlabs": {"api_key": "sk_standin", "base_url": self._agents.url},
            "poll": {"enabled": False},
            "opening": {"burst_limit": 0},
            "opening.completed": {"body": OPENING},
            "reply": {"debounce_seconds": 0.5},
        }
        hosts = [Host(self._folder / f"host{number}", settings) for number in range(HOSTS)]
        async with AsyncExitStack() as opened:
            balancer = await opened.enter_async_context(Balancer([host.port for host in hosts]))
            self._twilio.configure(webhook_url=f"{balancer.url}/webhook/twilio/incoming{OVERRIDES}")
            for host in hosts:
                host.write(balancer.url)
                host.start()
                opened.callback(host.kill)
            await until(self._openings, 60.0, "no opening was sent")
            endless = [asyncio.create_task(self._answer()), asyncio.create_task(self._kill(hosts))]
            measuring = asyncio.create_task(self._measure(url, hosts))
            done, _ = await asyncio.wait([*endless, measuring], return_when=asyncio.FIRST_COMPLETED)
            for task in (*endless, measuring):
                task.cancel()
            await asyncio.gather(*endless, measuring, return_exceptions=True)
            for task in done:
                task.result()

    async def _measure(self, url: str, hosts: list[Host]) -> None:
        postmaster = self._cluster.pid
        began = reported_at = time.monotonic()
        before = self._cpu(hosts, postmaster)
        while len(self._openings()) < self._calls and not await asyncio.to_thread(self._is_over, url):
            assert time.monotonic() - began < LONGEST, f"{len(self._openings()):,} of {self._calls:,} openings"
            await asyncio.sleep(0.5)
            if (now := time.monotonic()) > reported_at + 10.0:
                reported_at = now
                print(f"{now - began:.0f} s: {len(self._openings()):,} openings", flush=True)
        seconds = time.monotonic() - began
        spent = {name: after - before[name] for name, after in self._cpu(hosts, postmaster).items()}
        self._report(url, seconds, spent)

    def _is_over(self, url: str) -> bool:
        with closing(server.open_for_reading(url)) as db:
            return int(db.execute(COUNT_WAITING).fetchone()["rows"]) == 0

    def _cpu(self, hosts: list[Host], postmaster: int) -> dict[str, float]:
        each = {f"daemon {number}": host.cpu for number, host in enumerate(hosts)}
        return {**each, "PostgreSQL": cpu_of(postmaster, family=True), "the stand-ins": cpu_of(os.getpid())}

    def _openings(self) -> list[str]:
        return [message.to for message in self._twilio.accepted() if message.body == OPENING]

    async def _answer(self) -> None:
        """Runs until cancelled: a fifth of the customers who got an opening write."""
        heard = 0
        while True:
            await asyncio.sleep(0.5)
            openings = self._openings()
            for phone in openings[heard:]:
                if self._dice.random() < ANSWERING:
                    self._answered += 1
                    await self._twilio.customer_writes(phone, "¿Cuánto cuesta?")
            heard = len(openings)

    async def _kill(self, hosts: list[Host]) -> None:
        """Runs until cancelled: kills one daemon after the other and starts it again."""
        while True:
            for host in hosts:
                await asyncio.sleep(KILL_EVERY)
                await asyncio.to_thread(host.kill)
                host.start()
                self._kills += 1

    def _report(self, url: str, seconds: float, spent: dict[str, float]) -> None:
        counts = Counter(self._openings())
        with closing(server.open_for_reading(url)) as db:
            uncertain = int(db.execute(COUNT_UNCERTAIN).fetchone()["rows"])
        twice = [phone for phone, count in counts.items() if count > 1]
        assert not twice, f"{len(twice)} customers got an opening twice"
        assert len(counts) + uncertain >= self._calls, f"{self._calls - len(counts)} lost, {uncertain} uncertain"
        print(
            f"{len(counts):,} openings in {seconds:.0f} s ({len(counts) / seconds:.0f}/s; the senders allow "
            f"{RATE * len(SENDERS):.0f}/s), {self._kills} kills, {self._answered:,} customers answered, "
            f"{uncertain} uncertain, 0 twice, 0 lost"
        )
        shares = {name: used / seconds for name, used in spent.items()}
        for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
            print(f"  {name}: {share:.2f} processors")
        all_used, cores = sum(shares.values()), os.cpu_count() or 1
        load = os.getloadavg()[0]
        busiest = max(shares, key=lambda name: shares[name])
        if len(counts) / seconds > 0.9 * RATE * len(SENDERS):
            limit = "the senders' rate"
        elif shares[busiest] >= BUSY:
            limit = busiest
        else:
            limit = f"no process alone: together they use {all_used:.2f} of {cores} processors, at a load of {load:.1f}"
        print(f"the limit: {limit}")


def main() -> None:
    """Plays the campaign."""
    parser = argparse.ArgumentParser(prog="python -m bench.campaign", description=__doc__)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wa-relay-campaign-") as folder:
        asyncio.run(Campaign(Path(folder), chosen.conversations, chosen.calls, chosen.seed).run())


if __name__ == "__main__":
    main()
