"""Alarms: raised when their cause begins, and again only after it has ended."""

from __future__ import annotations

from pathlib import Path

from wa_relay.loops.alarms import Alarms
from wa_relay.loops.health_signs import Signs
from wa_relay.policy import disk_is_low

NOW = 1_795_000_000.0


def subjects(alarms: Alarms, now: float) -> list[str]:
    return [f"{alert.type} {alert.subject}" for alert in alarms.look(now)]


def test_three_failed_rounds_of_the_poller_are_reported_once_until_one_succeeds() -> None:
    failures = iter((2, 3, 4, 0, 3))
    alarms = Alarms(Signs(), lambda: next(failures), None)
    assert [subjects(alarms, NOW) for _ in range(5)] == [
        [],
        ["poller.failing poller"],
        [],
        [],
        ["poller.failing poller"],
    ]


def test_messages_found_only_by_listing_and_refused_signatures_are_two_subjects() -> None:
    signs = Signs()
    alarms = Alarms(signs, lambda: 0, None)
    for number in range(3):
        signs.found_by_listing.add(NOW, f"SM{number}")
    assert subjects(alarms, NOW) == ["webhook.failing found_by_listing"]
    for _ in range(5):
        signs.refused_signatures.add(NOW)
    assert subjects(alarms, NOW) == ["webhook.failing refused_signatures"]
    assert subjects(alarms, NOW + 601.0) == []


def test_an_alarm_whose_alert_was_not_stored_is_raised_again() -> None:
    alarms = Alarms(Signs(), lambda: 3, None)
    (alert,) = alarms.look(NOW)
    alarms.retract(alert)
    assert alarms.look(NOW) == [alert]


def test_a_file_system_is_low_under_five_percent_or_a_gigabyte() -> None:
    gigabyte = 1_000_000_000
    spaces = ((gigabyte - 1, 10 * gigabyte), (49 * gigabyte, 1000 * gigabyte), (gigabyte, 20 * gigabyte))
    assert [disk_is_low(*space) for space in spaces] == [True, True, False]


def test_the_disk_of_the_database_is_looked_at() -> None:
    # /proc reports a size of 0.
    (alert,) = Alarms(Signs(), lambda: 0, Path("/proc")).look(NOW)
    assert (alert.type, alert.data) == ("disk.low", {"free_bytes": 0, "total_bytes": 0})
