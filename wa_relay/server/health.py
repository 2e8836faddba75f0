"""How the daemon fares, as `/health` and `/metrics` show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from wa_relay import __version__
from wa_relay.ledger.control import Pause, QueueHealth
from wa_relay.model import Moment
from wa_relay.moments import optional_stamp

Status = Literal["ok", "degraded", "down"]
AWAY_AFTER = 3
"""Failures in a row after which a service counts as away."""


@dataclass(frozen=True, slots=True)
class Health:
    """A look at the daemon. `queue` is None when the database does not answer."""

    status: Status
    uptime: float
    queue: QueueHealth | None
    database: str
    polling: bool
    last_poll_at: Moment | None
    poll_failures: int
    upstreams: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The object of `GET /health`."""
        queue = self.queue
        return {
            "status": self.status,
            "version": __version__,
            "uptime_seconds": round(self.uptime, 3),
            "database": self.database,
            "paused": queue.paused if queue else None,
            "queue": {
                "pending": queue.pending if queue else None,
                "oldest_seconds": _rounded(queue.oldest_seconds) if queue else None,
                "uncertain": queue.uncertain if queue else None,
                "dead": queue.dead if queue else None,
            },
            "poller": {
                "enabled": self.polling,
                "last_success_at": optional_stamp(self.last_poll_at),
                "consecutive_failures": self.poll_failures,
            },
            "upstreams": {
                name: {"status": "away" if failures >= AWAY_AFTER else "ok", "consecutive_failures": failures}
                for name, failures in self.upstreams.items()
            },
        }


def judge(queue: QueueHealth | None, failures: list[int]) -> Status:
    """`down` if nothing can be stored; `degraded` if a person should look; else `ok`."""
    if queue is None:
        return "down"
    if queue.uncertain or queue.paused or any(count >= AWAY_AFTER for count in failures):
        return "degraded"
    return "ok"


def metrics_text(health: Health) -> str:
    """Prometheus' text format (version 0.0.4): counts only, nobody's number."""
    queue, pauses = health.queue, ("operator", "burst", "account")
    paused: Pause | None = queue.paused if queue else None
    counts = (queue.pending, queue.uncertain, queue.dead, queue.oldest_seconds) if queue else (0, 0, 0, 0)
    gauges: list[tuple[str, str, float | None]] = [
        ("wa_relay_up", "1 while something can be stored", float(health.status != "down")),
        ("wa_relay_uptime_seconds", "Seconds since the start", health.uptime),
        ("wa_relay_queue_pending", "Messages that wait or are being sent", counts[0]),
        ("wa_relay_queue_uncertain", "Sends that need a person's decision", counts[1]),
        ("wa_relay_queue_dead", "Messages that failed in the last 24 hours", counts[2]),
        ("wa_relay_queue_oldest_seconds", "Age of the oldest that waits", counts[3]),
        ("wa_relay_poll_failures", "Poll rounds that failed in a row", health.poll_failures),
    ]
    lines = []
    for name, words, value in gauges:
        lines += [f"# HELP {name} {words}.", f"# TYPE {name} gauge", f"{name} {float(value or 0):g}"]
    lines += ["# HELP wa_relay_paused 1 for the pause in force.", "# TYPE wa_relay_paused gauge"]
    lines += [f'wa_relay_paused{{by="{name}"}} {int(paused == name)}' for name in pauses]
    return "\n".join(lines) + "\n"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


__all__ = ["Health", "judge", "metrics_text"]
