"""Stores the alerts of `alarms`, and posts all alerts to the team's own systems until they are acknowledged.

The requests are signed by Standard Webhooks. Both loops look through a reader, once a second; the ledger's writer
is asked only when something is to be stored. A receiver that is slow, broken or gone holds up other alerts for 10 s
at most, and customers never.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

import aiohttp

from wa_relay import __version__
from wa_relay.config import Config
from wa_relay.http import fetch
from wa_relay.ledger import alerts
from wa_relay.ledger.alerts import DueAlert
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.alarms import Alarms
from wa_relay.model import Moment
from wa_relay.policy import Rules

P = ParamSpec("P")
T = TypeVar("T")

LOOK_EVERY = 1.0
AT_ONCE = 8
"""Alerts that are posted side by side."""

UNANSWERED_AT_ONCE = 50
PATIENCE = 10.0
"""Seconds in which the receiver has to acknowledge an alert (contract 9.1)."""

MOST_READ = 1024
"""Bytes of the receiver's answer that are read: only its status counts."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """The receiver of alerts. `key` signs them."""

    url: str
    key: bytes = field(repr=False)


def receiver_of(url: str, secret: str) -> Receiver:
    """Makes a receiver of `alerts.url` and `alerts.secret` (`whsec_` and base64)."""
    return Receiver(url, base64.b64decode(secret.removeprefix("whsec_")))


def signed_headers(key: bytes, webhook_id: str, body: bytes, now: Moment) -> dict[str, str]:
    """The headers of one try, by Standard Webhooks: the id stays, timestamp and signature are those of the try."""
    timestamp = str(int(now))
    digest = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        "Content-Type": "application/json",
        "User-Agent": f"wa-relay/{__version__}",
    }


class AlertDelivery:
    """Raises the alerts that no single event raises, and posts all of them."""

    def __init__(
        self,
        ledger: LedgerThread,
        reader: Reader,
        clock: Callable[[], Moment],
        rules: Rules,
        receiver: Receiver,
        alarms: Alarms,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._clock = clock
        self._rules = rules
        self._receiver = receiver
        self._alarms = alarms

    async def watch(self) -> None:
        """Runs until cancelled: looks at what has to be noticed, and stores the alerts about it."""
        while True:
            try:
                await self._notice()
            except StorageUnavailable:
                pass
            except Exception as error:
                fail("alert_watch_fault", error)
            await asyncio.sleep(LOOK_EVERY)

    async def deliver(self) -> None:
        """Runs until cancelled: posts the alerts that are due."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
            while True:
                due: list[DueAlert] = []
                try:
                    # By the reader: a look every second must not take the writer's turn when nothing is due.
                    due = await self._reader.read(alerts.due_alerts, AT_ONCE, self._clock())
                    await asyncio.gather(*(self._post(http, alert) for alert in due))
                except StorageUnavailable:
                    due = []
                except Exception as error:
                    fail("alert_fault", error)
                    due = []
                if not due:
                    await asyncio.sleep(LOOK_EVERY)

    async def _notice(self) -> None:
        now = self._clock()
        for alert in self._alarms.look(now):
            try:
                await self._ledger.run(alerts.raise_alert, alert, now)
            except StorageUnavailable:
                # The alarm stays on while its condition holds, so it would never be raised again.
                self._alarms.retract(alert)
        if await self._reader.read(alerts.has_unanswered, self._rules, now):
            await self._ledger.run(alerts.raise_unanswered, UNANSWERED_AT_ONCE, now)

    async def _post(self, http: aiohttp.ClientSession, alert: DueAlert) -> None:
        evidence, acknowledged = await self._try(http, alert)
        if acknowledged:
            say("alert_sent", alert=alert.webhook_id, type=alert.type, tries=alert.tries + 1)
            await self._store(alerts.acknowledge, alert.id, evidence, self._clock())
            return
        now = self._clock()
        due_at = await self._store(alerts.put_off, alert.id, evidence, now)
        again_in = None if due_at is None else round(due_at - now, 1)
        warn("alert_not_acknowledged", alert=alert.webhook_id, type=alert.type, why=evidence, again_in=again_in)

    async def _try(self, http: aiohttp.ClientSession, alert: DueAlert) -> tuple[str, bool]:
        """Posts an alert once. Returns the result as text, and whether it is acknowledged."""
        headers = signed_headers(self._receiver.key, alert.webhook_id, alert.body, self._clock())
        try:
            answer = await fetch(
                http,
                "POST",
                self._receiver.url,
                limit=MOST_READ,
                within=PATIENCE,
                # A receiver's long answer is no reason to count its 200 as a failure.
                cut=True,
                data=alert.body,
                headers=headers,
            )
        except TimeoutError:
            return "no answer within 10 s", False
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__, False
        return f"HTTP {answer.status}", 200 <= answer.status < 300

    async def _store(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Stores the result of a try, however long the storage is away: otherwise it would be posted every second."""
        while True:
            try:
                return await self._ledger.run(operation, *args, **kwargs)
            except StorageUnavailable as error:
                warn("storage_away", message=error.message)
                await asyncio.sleep(LOOK_EVERY)


def alert_delivery_of(
    config: Config,
    rules: Rules,
    ledger: LedgerThread,
    reader: Reader,
    clock: Callable[[], Moment],
    alarms: Alarms,
) -> AlertDelivery | None:
    """Makes the loops of alerts; None without a receiver."""
    if not config.alerts.url:
        return None
    receiver = receiver_of(config.alerts.url, config.alerts.secret.reveal())
    return AlertDelivery(ledger, reader, clock, rules, receiver, alarms)
