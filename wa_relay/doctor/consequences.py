"""Removes findings that follow from other findings. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wa_relay.doctor import account, daemon, database, elevenlabs, public
from wa_relay.doctor.check import Check


def settle(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Marks as skipped what one fault makes several checks find, so that each fault is named once."""
    found = list(checks)
    by_name = {check.name: check for check in found}
    for name, by, why in _followed(by_name):
        by_name[name] = replace(by_name[name], status="skipped", message=why.format(by=by), fix=None)
    return tuple(by_name[check.name] for check in found)


def _followed(checks: dict[str, Check]) -> Iterable[tuple[str, str, str]]:
    """Yields the check that follows, the one that it follows from, and what to say instead."""

    def at(name: str) -> Check:
        return checks.get(name) or Check(name, "ok", "")

    key, poller, url = at(elevenlabs.KEY), at(daemon.POLLER), at(public.URL)
    if key.found and poller.found:
        if key.cause == "service":
            yield elevenlabs.KEY, poller.name, "can't be asked at the moment: see {by}"
        else:
            yield poller.name, key.name, "fails because of {by}"
    twilio = at(account.ACCOUNT)
    if twilio.cause == "credentials" and url.cause == "signature":
        yield url.name, twilio.name, "whether webhooks arrive unchanged can't be checked without {by}"
    hold = at(database.PAUSES)
    if hold.cause == "account_hold":
        first = next((each for each in checks.values() if each.found and each.name.startswith("Twilio")), None)
        if first is not None:
            yield hold.name, first.name, "sending is held because of {by}"
    runs = at(daemon.DAEMON)
    if runs.cause == "no_daemon" and url.found:
        yield runs.name, url.name, "no daemon runs on this database: see {by}"
