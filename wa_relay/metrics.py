"""The metrics of `GET /metrics`, by prometheus-client. No label holds a number, a name or a text.

They belong to the process, as prometheus-client's own do. Every value of a label is there from the start, with 0: an
alert on a metric that appears with its first event misses that event. docs/metrics.md lists them, and a test compares
the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from wa_relay.model import ReceiptStatus, Source

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PAUSES = ("operator", "burst", "account")
OUTCOMES = ("completed", "voicemail", "failed", "cancelled", "unusable_number")
KINDS = ("opening", "reply", "notice", "human")
SEND_RESULTS = ("accepted", "refused", "failed", "uncertain")
TURN_RESULTS = ("answered", "failed", "silent")
WEBHOOK_CODES: Mapping[str, tuple[int, ...]] = {
    "/webhook/twilio/incoming": (200, 400, 403, 413, 415, 422, 500, 503),
    "/webhook/twilio/status": (204, 400, 403, 413, 415, 422, 500, 503),
    "/webhook/elevenlabs/post-call": (200, 400, 403, 413, 415, 422, 500, 503),
}

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 45.0, 90.0)

# Without it, each counter and histogram would have a second series for the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]
_registry = CollectorRegistry()
ProcessCollector(registry=_registry)

UP = Gauge("wa_relay_up", "1 while something can be stored", registry=_registry)
QUEUE_PENDING = Gauge("wa_relay_queue_pending", "Messages that wait or are being sent", registry=_registry)
QUEUE_OLDEST = Gauge("wa_relay_queue_oldest_seconds", "Age of the oldest message that waits", registry=_registry)
QUEUE_UNCERTAIN = Gauge("wa_relay_queue_uncertain", "Sends that need a person's decision", registry=_registry)
QUEUE_DEAD = Gauge("wa_relay_queue_dead", "Messages that failed by a fault in the last 24 hours", registry=_registry)
PAUSED = Gauge("wa_relay_paused", "1 for the pause in force", ("by",), registry=_registry)
POLL_FAILURES = Gauge("wa_relay_poll_failures", "Poll rounds that failed in a row", registry=_registry)

WEBHOOKS = Counter("wa_relay_webhooks", "Answered webhooks", ("route", "code"), registry=_registry)
SENDS = Counter("wa_relay_sends", "Attempts to send a message", ("kind", "result"), registry=_registry)
TURNS = Counter("wa_relay_turns", "Turns put to the agent", ("result",), registry=_registry)
CALLS = Counter("wa_relay_calls", "Calls by their first report", ("source", "outcome"), registry=_registry)
RECEIPTS = Counter("wa_relay_receipts", "Receipts that changed a message", ("status",), registry=_registry)

WEBHOOK_SECONDS = Histogram(
    "wa_relay_webhook_seconds", "From a webhook's head to its answer", ("route",), buckets=FAST, registry=_registry
)
COMMIT_SECONDS = Histogram("wa_relay_commit_seconds", "The commit of a group", buckets=FAST, registry=_registry)
TURN_SECONDS = Histogram(
    "wa_relay_turn_seconds", "From the question to the agent's answer", buckets=SLOW, registry=_registry
)
SEND_SECONDS = Histogram("wa_relay_send_seconds", "One request to send a message", buckets=SLOW, registry=_registry)

# Looked up once: `labels` takes a lock and costs more than counting.
_webhooks = {
    (route, code): WEBHOOKS.labels(route, str(code)) for route, codes in WEBHOOK_CODES.items() for code in codes
}
_webhook_seconds = {route: WEBHOOK_SECONDS.labels(route) for route in WEBHOOK_CODES}
_sends = {(kind, result): SENDS.labels(kind, result) for kind in KINDS for result in SEND_RESULTS}
_turns = {result: TURNS.labels(result) for result in TURN_RESULTS}
_calls = {(source, outcome): CALLS.labels(source, outcome) for source in get_args(Source) for outcome in OUTCOMES}
_receipts = {status: RECEIPTS.labels(status) for status in get_args(ReceiptStatus)}
_paused = {by: PAUSED.labels(by) for by in PAUSES}


def count_webhook(route: str, code: int, seconds: float) -> None:
    """Counts an answered webhook. `route` is one of `WEBHOOK_CODES`."""
    (_webhooks.get((route, code)) or WEBHOOKS.labels(route, str(code))).inc()
    _webhook_seconds[route].observe(seconds)


def count_send(kind: str, result: str, seconds: float) -> None:
    """Counts one request to send a message; a message of a kind that is not listed is not counted."""
    if (counter := _sends.get((kind, result))) is not None:
        counter.inc()
        SEND_SECONDS.observe(seconds)


def count_turn(result: str, seconds: float) -> None:
    """Counts a turn that ended: `answered`, `failed` or `silent`."""
    _turns[result].inc()
    TURN_SECONDS.observe(seconds)


def count_call(source: Source, outcome: str) -> None:
    """Counts a call that was not known before, or one whose number can't be used (`unusable_number`)."""
    if (counter := _calls.get((source, outcome))) is not None:
        counter.inc()


def count_receipt(status: str) -> None:
    """Counts a receipt that changed its message."""
    if (counter := _receipts.get(status)) is not None:
        counter.inc()


def set_pause(by: str | None) -> None:
    """Shows the pause in force, if there is one."""
    for name, gauge in _paused.items():
        gauge.set(name == by)


def exposition() -> bytes:
    """Returns all metrics in Prometheus' text format."""
    return generate_latest(_registry)
