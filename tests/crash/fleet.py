"""Several daemons on one PostgreSQL database, behind a balancer: starts them, kills or stops them, and times the
takeovers."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.daemons import Daemons
from wa_relay.ledger import server
from wa_relay.ledger.engine import Queries
from wa_relay.standins.port import free_port

EARLY = 0.2
"""The share of kills that fall into a start."""

LIFE, SLOWNESS, LONGEST = 3.0, 4.0, 15.0
"""The most seconds that a daemon lives after its start, unless it is stopped.

On a busy machine it lives longer, in proportion to its start: the kills have to meet work, not only starts.
"""

STOPS = 0.04
"""The share of lives in which the process is stopped for longer than its lease."""

AWAY = (10.5, 13.0)
"""Seconds for which a daemon is stopped or cut off: its lease lasts 10 s."""

STEP = 0.05
"""Seconds between two measurements of a takeover's time."""

SELECT_TAKEOVERS = "select seen_at, ended_at from runs where ended_at > seen_at order by id"

Span = tuple[float, float]
Settings = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Host:
    """One daemon, with its own configuration and port; `up` lists the times in which it could work."""

    daemons: Daemons
    port: int
    up: list[Span] = field(default_factory=list)
    since: float | None = None

    def rises(self) -> None:
        """The daemon can work from this moment on."""
        self.since = time.time()

    def falls(self) -> None:
        """The daemon can't work any more: it is killed, stopped or cut off."""
        if self.since is not None:
            self.up.append((self.since, time.time()))
        self.since = None


class Fleet:
    """The hosts. `seen` counts their faults and how their starts ended."""

    def __init__(self, folder: Path, urls: list[str], env: dict[str, str], dice: random.Random) -> None:
        self._dice = dice
        self._urls = urls
        self.seen: Counter[str] = Counter()
        self.hosts: list[Host] = []
        for number in range(len(urls)):
            own = folder / f"host{number}"
            own.mkdir()
            self.hosts.append(Host(Daemons(own, own / "config.toml", env), free_port()))

    @property
    def log(self) -> str:
        """The daemons' whole output, host by host."""
        return "\n".join(host.daemons.log for host in self.hosts)

    def configure(self, settings: Settings) -> None:
        """Writes the configurations."""
        for host, url in zip(self.hosts, self._urls, strict=True):
            own: Settings = {name: dict(values) for name, values in settings.items()}
            own["server"]["port"] = host.port
            own["database"] = {"url": url}
            lines = (
                f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
                for section, values in own.items()
            )
            config = host.daemons._config
            config.write_text("".join(lines), encoding="utf-8")
            config.chmod(0o600)

    async def close(self) -> None:
        """Ends everything."""
        for host in self.hosts:
            await host.daemons.close()

    async def live(self, host: Host, over: Callable[[], bool]) -> None:
        """Kills one daemon again and again until `over`; sometimes stops it for longer than its lease first."""
        while not over():
            began = time.monotonic()
            host.daemons.start()
            if self._dice.random() < EARLY:
                await asyncio.sleep(self._dice.uniform(0.0, 0.4))
            elif (status := await host.daemons.listens_or_ended()) is not None:
                # Only a server that is away may end a start.
                self.seen[f"start ended with {status}"] += 1
                await asyncio.sleep(0.3)
                continue
            elif self._dice.random() < STOPS:
                await self._stop(host)
            else:
                host.rises()
                started = time.monotonic() - began
                await asyncio.sleep(self._dice.uniform(0.0, min(max(LIFE, SLOWNESS * started), LONGEST)))
            host.falls()
            await host.daemons.end(signal.SIGKILL)
            self.seen["kill"] += 1

    async def _stop(self, host: Host) -> None:
        await asyncio.sleep(self._dice.uniform(0.3, LIFE))
        host.daemons.signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(*AWAY))
        host.daemons.signal(signal.SIGCONT)
        self.seen["stop"] += 1
        await asyncio.sleep(self._dice.uniform(0.5, 4.0))

    async def start_all(self) -> None:
        """Starts every daemon and waits until it listens."""
        for host in self.hosts:
            host.daemons.start()
        for host in self.hosts:
            assert await host.daemons.listens_or_ended() is None, host.daemons.log[-2000:]
            host.rises()

    async def stop_all(self) -> None:
        """Ends every daemon as a user does."""
        for host in self.hosts:
            host.falls()
            code = await host.daemons.end(signal.SIGTERM)
            assert code == 0, f"exit status {code} after SIGTERM\n{host.daemons.log[-2000:]}"


def read_from(url: str) -> Callable[[], Queries]:
    """Returns a function that opens the database for the judge."""
    return lambda: server.open_for_reading(url)


def takeovers(url: str, hosts: list[Host], away: list[Span]) -> list[float]:
    """Seconds from the last sign of life of each lost run until another run ended it, the shortest first.

    Only time in which a takeover was possible counts: the server was up, and so was another daemon.
    """
    with closing(server.open_for_reading(url)) as db:
        runs = [(float(row["seen_at"]), float(row["ended_at"])) for row in db.execute(SELECT_TAKEOVERS)]
    up = [span for host in hosts for span in host.up]
    return sorted(_covered(run, up, away) for run in runs)


def _covered(run: Span, up: list[Span], away: list[Span]) -> float:
    steps = int((run[1] - run[0]) / STEP)
    times = (run[0] + STEP * step for step in range(steps))
    return STEP * sum(_within(at, up) and not _within(at, away) for at in times)


def _within(at: float, spans: list[Span]) -> bool:
    return any(since <= at < until for since, until in spans)
