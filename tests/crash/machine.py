"""The crash machine: a daemon that is killed at random moments while everything around it continues."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import big_ledger
from tests.crash import weather
from tests.crash.daemons import Daemons
from tests.crash.judge import ENDS, judge
from tests.crash.people import GREETING, Crowd, answer
from tests.crash.rest import at_rest
from tests.crash.settings import hurried
from tests.crash.traffic import KINDS, SALES, SALES_AGENT, SENDERS, TEMPLATE
from tests.crash.verdict import DIVISOR, Verdict
from tests.e2e.stage import AGENT, OVERRIDES, TOKEN, until
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.file import open_for_reading
from wa_relay.ledger.triggers import MOVES
from wa_relay.standins.elevenlabs import Agent, ElevenLabsStandin
from wa_relay.standins.port import free_port
from wa_relay.standins.twilio import PLAYABLE, Delays, Fault, TwilioStandin

HOLD = 600.0 / DIVISOR
EARLY, LIFE, SLOWNESS, LONGEST = 0.2, 0.6, 4.0, 2.4
"""The share of kills that fall into the start, and the most seconds that a daemon lives after it.

On a busy machine it lives longer, in proportion to its start: the kills have to meet work, not only starts.
"""

CHECKED = 3e-5
"""Seconds for each of the earlier people by which a daemon lives longer: it sends nothing until the file is checked."""

MEETS_ALL = 500
"""The number of kills from which a run must meet every fault, move and kind of traffic."""

SETTLE = 90.0
"""Seconds without faults, and without another message at Twilio, within which all work must end.

The pauses between retries are not divided.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a run; `real` kills hit a daemon that was started as a user starts it. `kinds` are its traffic.

    The database holds `people` customers of earlier months, with ten messages each.
    """

    kills: int
    seed: int
    real: int
    kinds: frozenset[str] = frozenset(KINDS)
    people: int = 0


@dataclass(slots=True)
class Outcome:
    """A run's verdict and its numbers. `starts` are the seconds from each start to the moment it listened."""

    verdict: Verdict
    kills: int
    real: int
    seconds: float
    settled_after: float
    starts: Sequence[float]


@contextlib.contextmanager
def without_complaints() -> Iterator[None]:
    """Silences a stand-in whose client was killed, or that hangs until it is stopped."""
    loggers = [logging.getLogger(name) for name in ("aiohttp.server", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Machine:
    """One run in one folder."""

    def __init__(self, folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
        self._folder, self._plan, self._say = folder, plan, say
        self._dice = random.Random(f"kills {plan.seed}")
        self._twilio = TwilioStandin(
            senders=SENDERS, templates=(TEMPLATE,), delays=Delays(0.05, 0.05, 0.1), enforce_window=False
        )
        self._agents = ElevenLabsStandin()
        for agent in (AGENT, SALES_AGENT):
            self._agents.add_agent(Agent(agent.agent_id, first_message=GREETING, client_events=agent.client_events))
        self._agents.answers = answer
        self._agents.settings.webhook_calls = self._agents.settings.webhook_texts = True
        self._port = free_port()
        self._url, self._config = f"http://127.0.0.1:{self._port}", folder / "config.toml"
        self._database = folder / "wa-relay.db"
        self._daemons = Daemons(folder, self._config, {"WA_RELAY_TIME_DIVISOR": str(DIVISOR)})
        self._kills = 0
        self._starts: list[float] = []
        self._earlier: Mapping[str, int] = {}

    async def run(self) -> Outcome:
        """Kills as often as planned, lets everything settle, and judges."""
        with without_complaints():
            return await self._run()

    async def _run(self) -> Outcome:
        began = time.monotonic()
        await self._twilio.start()
        await self._agents.start()
        self._twilio.configure(webhook_url=f"{self._url}/webhook/twilio/incoming{OVERRIDES}")
        self._agents.settings.webhook_url = f"{self._url}/webhook/elevenlabs/post-call"
        self._point_at(self._twilio.url)
        crowd = Crowd(
            self._twilio, self._agents, self._daemons, self._url, self._read, self._plan.seed, self._plan.kinds
        )
        try:
            await crowd.write_history()
            if self._plan.people:
                self._earlier = await asyncio.to_thread(self._make_earlier_people)
            await asyncio.sleep(1.1)  # Twilio's times are whole seconds: a call from before must have an earlier one
            self._daemons.start(real=True)
            await self._late_acceptance_after_a_decision(crowd)
            await self._daemons.end(signal.SIGKILL)
            await self._storm(crowd)
            settled = await self._settle(crowd)
            for name, service in (("twilio", self._twilio), ("agents", self._agents)):
                (self._folder / f"{name}.jsonl").write_text(service.journal.lines(), encoding="utf-8")
            verdict = judge(self._twilio, self._agents, crowd.known, self._read, self._daemons.log, kills=self._kills)
            if settled is None:
                verdict.broken.insert(0, f"not settled {SETTLE:.0f} s after the last fault")
            self._missed(verdict)
            seconds = time.monotonic() - began
            return Outcome(
                verdict, self._kills, self._daemons.real_starts, seconds, settled or SETTLE, tuple(self._starts)
            )
        finally:
            await crowd.close()
            await self._daemons.close()
            await self._agents.stop()
            await self._twilio.stop()

    async def _storm(self, crowd: Crowd) -> None:
        weather.break_things(self._twilio, self._agents, self._plan.seed)
        around = [
            asyncio.create_task(weather.unsettle(self._twilio, self._agents, random.Random(self._plan.seed))),
            *(
                asyncio.create_task(weather.take_turns(self._twilio, operation, random.Random(self._plan.seed)))
                for operation in weather.TURNS
            ),
            asyncio.create_task(weather.stop_template(self._twilio, random.Random(self._plan.seed))),
            asyncio.create_task(crowd.arrive()),
            asyncio.create_task(crowd.operate(HOLD)),
        ]
        real = set(self._dice.sample(range(self._plan.kills), min(self._plan.real, self._plan.kills)))
        every = min(max(200, self._plan.kills // 20), self._plan.kills)
        while self._kills < self._plan.kills:
            if self._kills % every == every // 2:
                await self._without_network()
            await self._life(real=self._kills in real)
            if self._kills % 100 == 0:
                self._say(f"{self._kills} kills, {len(self._twilio.journal.entries('accepted'))} accepted")
        crowd.busy = False
        for task in around[: 2 + len(weather.TURNS)]:
            task.cancel()
        await asyncio.gather(*around, return_exceptions=True)
        for service in (self._twilio, self._agents):
            await service.up()
        weather.calm(self._twilio, self._agents)

    async def _life(self, *, real: bool) -> None:
        self._daemons.start(real=real)
        if self._dice.random() < EARLY:
            await asyncio.sleep(self._dice.uniform(0.0, 1.0 if real else 0.3))
        else:
            began = time.monotonic()
            await self._daemons.listening()
            self._starts.append(time.monotonic() - began)
            started = 0.0 if real else self._starts[-1]
            longest = min(max(LIFE, SLOWNESS * started), LONGEST) + CHECKED * self._plan.people
            await asyncio.sleep(self._dice.uniform(0.0, longest))
        await self._daemons.end(signal.SIGKILL)
        self._kills += 1

    async def _without_network(self) -> None:
        """Lives of a daemon whose requests never reach Twilio: a black hole (F2), no TLS (F3), no name (F23)."""
        with weather.black_hole() as hole:
            await self._stopped_life(hole, 5.5)
        for address in (f"https://127.0.0.1:{self._twilio.port}", weather.NOWHERE):
            await self._stopped_life(address, 0.8)
        self._point_at(self._twilio.url)

    async def _stopped_life(self, twilio: str, seconds: float) -> None:
        """A life that ends as a user ends it: a send that still waits for a connection is known not to be sent."""
        self._point_at(twilio)
        self._daemons.start()
        await self._daemons.listening()
        await asyncio.sleep(seconds)
        code = await self._daemons.end(signal.SIGTERM)
        assert code == 0, f"exit status {code} after SIGTERM"

    async def _late_acceptance_after_a_decision(self, crowd: Crowd) -> None:
        """Twilio takes a message after a person had it sent again, while `pause` still holds the second send."""
        await self._daemons.listening()
        self._twilio.faults.next("create", Fault("F8", seconds=HOLD + 3.0, hold=0.1))
        number = crowd.call_once()
        message = await until(lambda: crowd.uncertain_now(number))
        crowd.known.resent.add(message)
        assert await self._daemons.command("pause") == 0
        assert await self._daemons.command("resolve", str(message), "--resend", "--yes") == 0
        phone = crowd.known.calls[number]
        await until(lambda: self._twilio.accepted(phone))
        await until(lambda: self._status(message) in ENDS)
        assert await self._daemons.command("resume") == 0

    def _status(self, message: int) -> str:
        with contextlib.closing(self._read()) as db:
            found = db.execute("select status from conversation_messages where id = ?", (message,)).fetchone()
        return str(found[0])

    async def _settle(self, crowd: Crowd) -> float | None:
        """Ends the daemon as a user does. Returns the seconds until all work had ended, None if that took too long."""
        self._daemons.start(real=True)
        began = moved = time.monotonic()
        taken = 0
        while not self._at_rest(crowd):
            if (now_taken := len(self._twilio.journal.entries("accepted"))) != taken:
                taken, moved = now_taken, time.monotonic()
            if time.monotonic() > moved + SETTLE:
                await self._daemons.end(signal.SIGTERM)
                return None
            await asyncio.sleep(0.2)
        settled = time.monotonic() - began
        code = await self._daemons.end(signal.SIGTERM)
        assert code == 0, f"exit status {code} after SIGTERM"
        return settled

    def _at_rest(self, crowd: Crowd) -> bool:
        return self._database.exists() and at_rest(self._read, self._twilio, crowd.known)

    def _make_earlier_people(self) -> dict[str, int]:
        """Fills the database with people of whom nothing is expected. Returns the last id of each table then."""
        big_ledger.make(self._database, self._plan.people)
        with contextlib.closing(sqlite3.connect(self._database, isolation_level=None)) as db:
            # As if it had been made now, for the account of the stand-in.
            db.execute("update relay set fence = ?, account_sid = ?", (time.time(), self._twilio.account_sid))
            return {table: db.execute(f"select max(id) from {table}").fetchone()[0] for table in big_ledger.FILLED}

    def _read(self) -> Queries:
        db = open_for_reading(self._database)
        for table, last in self._earlier.items():
            # Shadows the table: whoever judges sees what came after the earlier people.
            db.execute(f"create temp view {table} as select * from main.{table} where id > {last}")
        return db

    def _missed(self, verdict: Verdict) -> None:
        """What a run must have met; otherwise it proves nothing. A short run meets the rarest kinds only by chance."""
        if self._plan.kills < MEETS_ALL:
            return
        kinds = {key.partition(" ")[0] for key in verdict.hit}
        wanted = {kind for kinds_of in PLAYABLE.values() for kind in kinds_of}
        edges = {f"{old} -> {new}" for old, new in MOVES}
        kinds |= {key for key in verdict.hit if key.startswith("agent ")}
        wanted |= {f"agent {fault.kind}" for fault in weather.AGENT_FAULTS}
        wanted |= {f"traffic {kind}" for kind in self._plan.kinds}
        kinds |= {key for key, count in verdict.hit.items() if key.startswith("traffic ") and count}
        for name in sorted((wanted - kinds) | {edge for edge in edges if not verdict.hit[edge]}):
            verdict.broken.append(f"never met: {name}")
        for fault, marks in CONNECTION_FAULTS.items():
            if not any(verdict.hit[mark] for mark in marks):
                verdict.broken.append(f"never met: {fault}")

    def _point_at(self, twilio: str) -> None:
        own: dict[str, dict[str, object]] = {
            "server": {"port": self._port, "public_url": self._url, "token": TOKEN},
            "database": {"path": str(self._database)},
            "twilio": {
                "account_sid": self._twilio.account_sid,
                "auth_token": self._twilio.settings.auth_token,
                "sender": self._twilio.senders[0],
                "base_url": twilio,
                # Few at once, so that a kill finds few on the wire.
                "messages_per_second": 15,
            },
            "[sender]": {
                "number": SALES,
                "agent_ids": [SALES_AGENT.agent_id],
                "messages_per_second": 15,
            },
            **hurried(self._agents.url),
            "opening.voicemail": {"content_sid": TEMPLATE.sid},
            "opening.voicemail.content_variables": {"1": "{client_name}"},
        }
        lines = (
            f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
            for section, values in own.items()
        )
        self._config.write_text("".join(lines), encoding="utf-8")
        self._config.chmod(0o600)


CONNECTION_FAULTS = {
    "F1": ("ClientConnectorError",),
    "F2": ("ConnectionTimeoutError", "SocketTimeoutError"),
    "F3": ("ClientConnectorSSLError", "ClientConnectorCertificateError"),
    "F23": ("ClientConnectorDNSError",),
}
"""The code of a move for each fault on the way to Twilio."""
