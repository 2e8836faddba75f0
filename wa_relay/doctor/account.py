"""The Twilio account, and the clock by the services' time."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import aiohttp

from wa_relay.channel.transport import last_headers
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.config import Twilio
from wa_relay.doctor.check import LIMIT, Check, ask
from wa_relay.doctor.service_failures import failed
from wa_relay.model import Moment, UpstreamError
from wa_relay.text.escaping import one_line

ACCOUNT, CLOCK = "Twilio account", "clock"
SKEW = 30.0
"""Seconds by which the clock may be off: the age of a call and of a webhook's signature are measured by it."""

_API_KEY = re.compile(r"SK[0-9a-fA-F]{32}")


async def examine(
    http: aiohttp.ClientSession, twilio: Twilio, clock: Callable[[], Moment], end: float
) -> tuple[Check, float | None]:
    """Asks for the account. Returns the checks, and by how many seconds this clock is ahead of Twilio's."""
    if _API_KEY.fullmatch(twilio.auth_token.reveal()):
        fix = "set twilio.auth_token to the account's auth token (Twilio console, Account Info)"
        message = "twilio.auth_token is an API key (SK…): it can't check the signatures of webhooks"
        return Check(ACCOUNT, "fail", message, fix, cause="credentials"), None
    channel = TwilioChannel.of(http, twilio, list_timeout=LIMIT)
    try:
        status = await ask(channel.check(), "Twilio", end)
    except UpstreamError as error:
        found = _refused(error)
    else:
        found = _standing(twilio.account_sid, status)
    headers = last_headers.get()
    return found, seconds_ahead(headers.get("Date") if headers else None, clock())


def _refused(error: UpstreamError) -> Check:
    if error.status == 404:
        message = "there is no such Twilio account (HTTP 404)"
        return Check(ACCOUNT, "fail", message, "correct twilio.account_sid", cause="credentials")
    return failed(
        ACCOUNT, "Twilio", error, credentials="twilio.account_sid and twilio.auth_token", address="twilio.base_url"
    )


def _standing(account_sid: str, status: str) -> Check:
    if status == "active":
        return Check(ACCOUNT, "ok", f"{account_sid} is active")
    return Check(ACCOUNT, "fail", f"{account_sid} is {one_line(status)}", "see the Twilio console for the reason")


def seconds_ahead(date: str | None, now: Moment) -> float | None:
    """Returns by how many seconds `now` is ahead of a header `Date`; None without one that can be read."""
    try:
        return now - parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, TypeError, OverflowError):
        return None


def clock_check(offsets: dict[str, float | None]) -> Check:
    """Judges this machine's clock. `offsets` are seconds ahead of each service, None if it sent no time."""
    known = {service: off for service, off in offsets.items() if off is not None}
    if not known:
        return Check(CLOCK, "skipped", "neither service sent its time; compare: timedatectl")
    service, off = max(known.items(), key=lambda each: abs(each[1]))
    if abs(off) <= SKEW:
        return Check(CLOCK, "ok", f"agrees with that of {' and '.join(known)}")
    message = f"is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} that of {service}"
    return Check(CLOCK, "warn", message, "synchronise the clock (NTP): timedatectl set-ntp true")
