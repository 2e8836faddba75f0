"""The content of the health, and which clients see it."""

from __future__ import annotations

from wa_relay.ledger.runs import Alive
from wa_relay.server.health import Health

DAEMON = Alive(run=1, host="relay-1", pid=7, version="0.1.0", since=1.0, last_seen_at=2.0, leader=True)


def health() -> Health:
    return Health("ok", "i", 1.0, None, True, None, 0, {}, daemons=(DAEMON,))


def test_strangers_see_neither_daemons_nor_templates_nor_the_poller() -> None:
    assert not {"daemons", "templates", "poller"} & set(health().to_json(inside=False))


def test_inside_the_daemons_are_named() -> None:
    (shown,) = health().to_json(inside=True)["daemons"]
    assert (shown["host"], shown["pid"], shown["leader"]) == ("relay-1", 7, True)
