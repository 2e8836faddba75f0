"""Alarms: conditions that no single event shows (failing webhooks and rounds, a full disk), raised as alerts when they
begin."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from wa_relay import policy
from wa_relay.config import Config
from wa_relay.loops.health_signs import Signs
from wa_relay.model import Moment
from wa_relay.policy import Alert

DISK_EVERY = 10.0
"""Seconds between two looks at the disk."""


def database_folder(config: Config) -> Path | None:
    """The folder of the database file; None if the database is on a server."""
    return None if config.database.url else config.database.path.parent


class Alarms:
    """Looks at the daemon's signs. An alarm is raised when its cause begins, and again only after it has ended.

    `poll_failures` gives the rounds of the poller that failed in a row; `folder` is `database_folder`.
    """

    def __init__(self, signs: Signs, poll_failures: Callable[[], int], folder: Path | None) -> None:
        self._signs = signs
        self._poll_failures = poll_failures
        self._folder = folder
        self._on: set[str] = set()
        self._disk_looked_at = 0.0
        self._disk: tuple[int, int] | None = None

    def look(self, now: Moment) -> list[Alert]:
        """Returns the alerts of the alarms that began since the last look."""
        new = []
        for alert, is_on in self._conditions(now):
            if is_on and alert.subject not in self._on:
                new.append(alert)
            (self._on.add if is_on else self._on.discard)(alert.subject)
        return new

    def retract(self, alert: Alert) -> None:
        """Withdraws an alarm whose alert could not be stored: the next look raises it again."""
        self._on.discard(alert.subject)

    def _conditions(self, now: Moment) -> Iterator[tuple[Alert, bool]]:
        for cause, recent in (
            ("found_by_listing", self._signs.found_by_listing),
            ("refused_signatures", self._signs.refused_signatures),
        ):
            yield Alert("webhook.failing", cause, {"cause": cause}), recent.reached(now)
        failures = self._poll_failures()
        yield Alert("poller.failing", "poller", {"failures": failures}), failures >= policy.FAILURES_IN_A_ROW
        free, total = self._space(now)
        yield Alert("disk.low", "disk", {"free_bytes": free, "total_bytes": total}), policy.disk_is_low(free, total)

    def _space(self, now: Moment) -> tuple[int, int]:
        if self._folder is None:
            return policy.LEAST_FREE_BYTES, policy.LEAST_FREE_BYTES
        if self._disk is None or not 0.0 <= now - self._disk_looked_at < DISK_EVERY:
            usage = shutil.disk_usage(self._folder)
            self._disk, self._disk_looked_at = (usage.free, usage.total), now
        return self._disk
