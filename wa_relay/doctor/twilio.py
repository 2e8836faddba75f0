"""The Twilio account, its clock, the sender and the templates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import aiohttp

from wa_relay.channel.content import Template, Templates
from wa_relay.channel.transport import last_headers
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.config import Config, Twilio
from wa_relay.doctor.check import LIMIT, Check, ask, skipped
from wa_relay.doctor.upstreams import failed
from wa_relay.model import Moment, UpstreamError
from wa_relay.text.safe import one_line

ACCOUNT, CLOCK, SENDER = "Twilio account", "clock", "Twilio sender"
NAMES = (ACCOUNT, CLOCK, SENDER)
SANDBOX = "whatsapp:+14155238886"
SKEW = 60.0
"""Seconds by which the clock may be off: the age of a call and of a webhook's signature are measured by it."""

WAITING = frozenset({"received", "pending"})


async def examine(config: Config, clock: Callable[[], Moment], end: float) -> list[Check]:
    """Asks Twilio until the loop's time is `end`."""
    twilio, sender = config.twilio, _sender(config.twilio)
    asked = {outcome: each.content_sid for outcome, each in config.opening.messages.items() if each.content_sid}
    names = [_name(outcome) for outcome in asked]
    if not twilio.account_sid or not twilio.auth_token:
        why = "needs twilio.account_sid and twilio.auth_token"
        return [*skipped((ACCOUNT, CLOCK), why), sender, *skipped(names, why)]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        account, skew = await _account(http, twilio, clock, end)
        if account.status == "fail":
            return [account, skew, sender, *skipped(names, "Twilio rejects the account")]
        templates = await asyncio.gather(*(_template(http, config, outcome, end) for outcome in asked))
    return [account, skew, sender, *templates]


def _name(outcome: str) -> str:
    return f"opening.{outcome}"


async def _account(
    http: aiohttp.ClientSession, twilio: Twilio, clock: Callable[[], Moment], end: float
) -> tuple[Check, Check]:
    channel = TwilioChannel.of(http, twilio, list_timeout=LIMIT)
    try:
        status = await ask(channel.check(), "Twilio", end)
    except UpstreamError as error:
        found = _refused(error)
    else:
        found = _standing(twilio.account_sid, status)
    headers = last_headers.get()
    return found, clock_check(headers.get("Date") if headers else None, clock())


def _refused(error: UpstreamError) -> Check:
    if error.status == 404:
        return Check(ACCOUNT, "fail", "there is no such Twilio account (HTTP 404)", "correct twilio.account_sid")
    return failed(
        ACCOUNT, "Twilio", error, credentials="twilio.account_sid and twilio.auth_token", address="twilio.base_url"
    )


def _standing(account_sid: str, status: str) -> Check:
    if status == "active":
        return Check(ACCOUNT, "ok", f"{account_sid} is active")
    return Check(ACCOUNT, "fail", f"{account_sid} is {one_line(status)}", "see the Twilio console for the reason")


def clock_check(date: str | None, now: Moment) -> Check:
    """Compares this machine's clock with the `Date` of Twilio's answer."""
    try:
        off = now - parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, TypeError, OverflowError):
        off = None
    if off is None:
        return Check(CLOCK, "skipped", "Twilio sent no time")
    if abs(off) < SKEW:
        return Check(CLOCK, "ok", "agrees with Twilio's")
    message = f"is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} Twilio's"
    return Check(CLOCK, "warn", message, "synchronise the clock (NTP): timedatectl set-ntp true")


def _sender(twilio: Twilio) -> Check:
    if not twilio.sender and not twilio.messaging_service_sid:
        return Check(SENDER, "skipped", "needs twilio.sender or twilio.messaging_service_sid")
    if not twilio.sender:
        return Check(SENDER, "ok", f"the messaging service {twilio.messaging_service_sid} chooses it")
    if twilio.sender == SANDBOX:
        fix = "enough for a test; for customers, register your own WhatsApp sender with Twilio"
        message = f"{twilio.sender} is the sandbox: it reaches only phones that have joined it in the last 3 days"
        return Check(SENDER, "warn", message, fix)
    return Check(SENDER, "ok", twilio.sender)


async def _template(http: aiohttp.ClientSession, config: Config, outcome: str, end: float) -> Check:
    twilio, opening, name = config.twilio, config.opening.messages[outcome], _name(outcome)
    templates = Templates(
        http,
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token.reveal(),
        base_url=twilio.base_url,
        timeout=LIMIT,
    )
    try:
        found = await ask(templates.find(opening.content_sid), "Twilio", end)
    except UpstreamError as error:
        return failed(name, "Twilio", error, credentials="twilio.auth_token", address="twilio.base_url")
    if found is None:
        fix = f"correct opening.{outcome}.content_sid"
        return Check(name, "fail", f"the account has no template {opening.content_sid}", fix)
    return judge_template(outcome, found, opening.content_variables)


def judge_template(outcome: str, template: Template, variables: Mapping[str, str]) -> Check:
    """Says if a template can be sent: its approval, and its variables beside those of the configuration."""
    name, called = _name(outcome), f"the template {one_line(template.name)}"
    if template.approval in WAITING:
        return Check(
            name, "warn", f"{called} is being reviewed by WhatsApp", "wait for the approval: until then openings fail"
        )
    if template.approval != "approved":
        why = f" ({one_line(template.rejection)})" if template.rejection else ""
        fix = f"submit it for approval in the Twilio console, or set opening.{outcome}.content_sid to another one"
        return Check(name, "fail", f"{called} is {one_line(template.approval)}{why}", fix)
    fix = f"correct opening.{outcome}.content_variables"
    if unknown := sorted(set(variables) - template.places):
        return Check(name, "fail", f"{called} has no variable {', '.join(unknown)} (21656)", fix)
    if missing := sorted(template.places - set(variables)):
        return Check(name, "warn", f"{called} also needs {', '.join(missing)}: without them its samples are sent", fix)
    return Check(name, "ok", f"{called} is approved")
