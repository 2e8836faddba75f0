"""This daemon among others on one database: its lease, the database's clock, the lead, and its share of the rates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from wa_relay.config import Config
from wa_relay.ledger import runs
from wa_relay.ledger.faults import DatabaseFault, LeaseLost, StorageUnavailable
from wa_relay.ledger.leases import RENEW_EVERY
from wa_relay.ledger.runs import Alive, Renewed
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import say, warn
from wa_relay.model import Moment

CLOCK_LIMIT = 5.0
"""Seconds by which this host's clock may differ from the database's before `/health` is degraded."""

Settings = dict[str, object]


class SettingsDiffer(DatabaseFault):
    """The daemons on one database must agree on their account, senders and limits."""

    exit_code = 78


class DatabaseClock:
    """The database's time: this host's clock, corrected by what the last renewal found."""

    def __init__(self, clock: Callable[[], Moment]) -> None:
        self._clock = clock
        self.offset = 0.0

    def __call__(self) -> Moment:
        """Returns the time in seconds since the epoch."""
        return self._clock() + self.offset

    def local(self) -> Moment:
        """Returns this host's own time."""
        return self._clock()


class Lease:
    """Renews the lease of a run, and knows what the last renewal found. On a file there is nothing to renew."""

    def __init__(
        self, ledger: LedgerThread, clock: DatabaseClock, on_daemons: Callable[[int], None], *, shared: bool
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._on_daemons = on_daemons
        self.shared = shared
        self.leading = asyncio.Event()
        self.settled = asyncio.Event()
        self.daemons: tuple[Alive, ...] = ()
        if not shared:
            self.leading.set()
            self.settled.set()

    @property
    def clock_offset(self) -> float:
        """Seconds by which this host's clock is ahead of the database's."""
        return -self._clock.offset

    async def begin(self) -> None:
        """Makes the first renewal, which also decides the lead."""
        if self.shared:
            await self._renew()

    async def run(self) -> None:
        """Renews until it is cancelled. While the database is away it tries again."""
        while self.shared:
            await asyncio.sleep(RENEW_EVERY)
            try:
                await self._renew()
            except LeaseLost:
                return
            except StorageUnavailable as error:
                warn("storage_away", message=error.message)

    async def _renew(self) -> None:
        renewed = await self._ledger.run(runs.renew, self._clock())
        # All daemons go by one clock: a host that is a minute ahead would expire openings and leases of the others.
        self._clock.offset = await self._ledger.run(_measure_offset, self._clock.local)
        self._note(renewed)

    def _note(self, renewed: Renewed) -> None:
        if renewed.lost:
            warn("taken_over", daemons=renewed.lost, sends=renewed.sends, turns=renewed.turns)
        if renewed.leads and not self.leading.is_set():
            say("leads")
            self.leading.set()
        self.daemons = renewed.daemons
        # Each daemon takes its share of the sender's rate, which is Twilio's for all of them together.
        self._on_daemons(max(1, len(renewed.daemons)))
        self.settled.set()


def _measure_offset(ledger: Ledger, local: Callable[[], Moment]) -> float:
    """Seconds by which the database's clock is ahead of this host's.

    Measured in the writer's thread: an operation may have waited there for seconds before its turn.
    """
    began = local()
    at = ledger.db.now(began)
    return at - (began + local()) / 2.0


def settings_of(config: Config) -> str:
    """The settings that the daemons on one database compare, as JSON: `must` be equal, and those that should."""
    must = {
        "twilio.account_sid": config.twilio.account_sid,
        "twilio.sender": config.twilio.sender,
        "twilio.messaging_service_sid": config.twilio.messaging_service_sid,
        "twilio.messages_per_second": config.twilio.messages_per_second,
        "opening.burst_limit": config.opening.burst_limit,
        "opening.daily_limit": config.opening.daily_limit,
        "sender": [sender.model_dump() for sender in config.senders],
    }
    should = {
        f"{table}.{key}": value
        for table in ("opening", "quiet_hours", "reply", "opt_out", "handover")
        for key, value in getattr(config, table).model_dump().items()
        if f"{table}.{key}" not in must
    }
    return json.dumps({"must": must, "should": should}, sort_keys=True, default=str)


def compare_settings(own: str, theirs: str | None) -> list[str]:
    """Names the settings that should agree and do not; raises `SettingsDiffer` for those that must."""
    if theirs is None or theirs == "{}":
        return []
    mine, other = json.loads(own), json.loads(theirs)
    differing = {
        kind: [key for key in sorted(mine[kind]) if mine[kind][key] != other.get(kind, {}).get(key)]
        for kind in ("must", "should")
    }
    if differing["must"]:
        raise SettingsDiffer(
            f"a daemon with other settings runs on this database: {', '.join(differing['must'])}. Give all daemons "
            "the same, or stop the others first.",
            permanent=True,
        )
    return differing["should"]
