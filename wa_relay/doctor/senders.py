"""The WhatsApp senders and the messaging service: are they the account's, and where do their webhooks lead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from wa_relay.channel.setup import AccountSetup, Hook, SenderSetup, ServiceSetup
from wa_relay.config import Config
from wa_relay.doctor.check import Check, ask, skipped
from wa_relay.doctor.service_failures import unreadable
from wa_relay.doctor.settings import SANDBOX
from wa_relay.model import UpstreamError
from wa_relay.text.escaping import one_line

SENDER, WEBHOOK, SERVICE = "Twilio sender", "Twilio webhook", "messaging service"
NAMES = (SENDER, WEBHOOK)
OVERRIDES = "#rc=5&rp=all&ct=2000&rt=3000"
"""Twilio's connection overrides: five more tries, at whatever fault, with its shortest useful limits."""

PATH = "/webhook/twilio/incoming"
IN_CONSOLE = "Twilio console, Messaging, Senders, WhatsApp senders"
SERVICE_IN_CONSOLE = "Twilio console, Messaging, Services, Integration"
SANDBOX_IN_CONSOLE = "Twilio console, Messaging, Try it out, WhatsApp sandbox settings"
_NO_RETRIES = re.compile(r"(?:^|&)rc=0(?:&|$)")
_POLICY = re.compile(r"(?:^|&)rp=([^&]*)")
_SERVER_FAULTS = frozenset({"all", "5xx"})


def names(config: Config) -> list[str]:
    """The names of the checks, for a set-up that can't be asked for."""
    service = [SERVICE] if config.twilio.messaging_service_sid else []
    return [*service, *(_name_check(SENDER, number, config) for number in _numbers(config)), WEBHOOK]


async def examine(setup: AccountSetup, config: Config, end: float) -> list[Check]:
    """Asks Twilio until the loop's time is `end`."""
    numbers, sid = _numbers(config), config.twilio.messaging_service_sid
    if not numbers and not sid:
        return skipped(NAMES, "needs twilio.sender or twilio.messaging_service_sid")
    service, checks = await _service(setup, sid, end) if sid else (None, [])
    try:
        listed = {each.address: each for each in await ask(setup.senders(), "Twilio", end)}
    except UpstreamError as error:
        checks += [unreadable(_name_check(SENDER, number, config), "Twilio", error, IN_CONSOLE) for number in numbers]
        listed = None
    if service is not None:
        return [*checks, *_check_service_senders(config, service, listed)]
    if sid:
        return [*checks, *(_check_sender(config, number, listed) for number in numbers if listed is not None)]
    return [*checks, *_check_senders(config, listed)]


def _numbers(config: Config) -> list[str]:
    own = [config.twilio.sender] if config.twilio.sender else []
    return [*own, *(each.number for each in config.senders)]


def _name_check(what: str, number: str, config: Config) -> str:
    return what if number == config.twilio.sender else f"{what} {number.removeprefix('whatsapp:')}"


async def _service(setup: AccountSetup, sid: str, end: float) -> tuple[ServiceSetup | None, list[Check]]:
    try:
        found = await ask(setup.service(sid), "Twilio", end)
    except UpstreamError as error:
        return None, [unreadable(name, "Twilio", error, SERVICE_IN_CONSOLE) for name in (SERVICE, WEBHOOK)]
    if found is None:
        message = f"the account has no messaging service {sid}"
        missing = Check(SERVICE, "fail", message, "correct twilio.messaging_service_sid")
        return None, [missing, *skipped((WEBHOOK,), "needs the messaging service")]
    return found, []


def _check_senders(config: Config, listed: dict[str, SenderSetup] | None) -> Iterator[Check]:
    """Returns the senders without a messaging service: each has a separate webhook."""
    for number in _numbers(config):
        webhook = _name_check(WEBHOOK, number, config)
        if number == SANDBOX:
            yield Check(
                _name_check(SENDER, number, config), "ok", f"{number} is the sandbox, for phones that joined it"
            )
            where = f"the sandbox's webhook can't be read; {SANDBOX_IN_CONSOLE}, has to be:\n{address(config)}"
            yield Check(webhook, "skipped", where)
            continue
        if listed is None:
            yield Check(webhook, "skipped", f"can't be read; {IN_CONSOLE}, has to be:\n{address(config)}")
            continue
        yield _check_sender(config, number, listed)
        found = listed.get(number)
        if found is None:
            yield Check(webhook, "skipped", "needs a sender of the account")
        else:
            yield judge_hook(webhook, "the sender", found.hook, config, IN_CONSOLE)


def _check_service_senders(
    config: Config, service: ServiceSetup, listed: dict[str, SenderSetup] | None
) -> Iterator[Check]:
    known = [number for number in _numbers(config) if listed is None or number in listed or number == SANDBOX]
    lacking = [number for number in known if number not in service.senders]
    if lacking:
        message = f"the messaging service does not contain the sender {', '.join(lacking)}"
        yield Check(SERVICE, "fail", message, "add it: Twilio console, Messaging, Services, Sender Pool")
    elif not known and not service.senders:
        message = "the messaging service contains no WhatsApp sender"
        yield Check(SERVICE, "fail", message, "add one: Twilio console, Messaging, Services, Sender Pool")
    else:
        yield Check(SERVICE, "ok", service.sid)
    if listed is not None:
        yield from (_check_sender(config, number, listed) for number in _numbers(config))
    if not service.uses_sender_hook:
        yield _check_service_hook(config, service)
        return
    for number in known or sorted(service.senders):
        webhook = _name_check(WEBHOOK, number, config) if known else f"{WEBHOOK} {number.removeprefix('whatsapp:')}"
        if listed is None or number not in listed:
            yield Check(webhook, "skipped", f"can't be read; {IN_CONSOLE}, has to be:\n{address(config)}")
        else:
            yield judge_hook(webhook, "the sender", listed[number].hook, config, IN_CONSOLE)


def _check_service_hook(config: Config, service: ServiceSetup) -> Check:
    if not service.hook.url:
        message = "the messaging service has no request URL: Twilio drops what customers write"
        fix = f"{SERVICE_IN_CONSOLE}: send a webhook to this address"
        return Check(WEBHOOK, "fail", f"{message}\n{address(config)}", fix)
    return judge_hook(WEBHOOK, "the messaging service", service.hook, config, SERVICE_IN_CONSOLE)


def _check_sender(config: Config, number: str, listed: dict[str, SenderSetup]) -> Check:
    name, found = _name_check(SENDER, number, config), listed.get(number)
    if number == SANDBOX:
        return Check(name, "ok", f"{number} is the sandbox, for phones that joined it")
    if found is None:
        key = "twilio.sender" if name == SENDER else "[[sender]]"
        known = ", ".join(sorted(listed)) or "none"
        message = f"{number} is not a WhatsApp sender of this account"
        return Check(name, "fail", message, f"correct {key}; the account's senders are: {one_line(known)}")
    if found.status.partition(":")[0] != "ONLINE":
        reasons = f" ({one_line('; '.join(found.offline_reasons))})" if found.offline_reasons else ""
        message = f"{number} is {one_line(found.status)}{reasons}: it can't send"
        return Check(name, "fail", message, f"see the sender in the {IN_CONSOLE}")
    return Check(name, "ok", number)


def address(config: Config) -> str:
    """Returns what to enter at Twilio as the webhook for incoming messages."""
    return f"{config.server.public_url}{PATH}{OVERRIDES}"


def judge_hook(name: str, whose: str, hook: Hook, config: Config, where: str) -> Check:
    """Checks if a webhook for incoming messages leads to this relay, as POST and with retries."""
    enter, it = f"{where}: enter this address", f"\n{address(config)}"
    if not config.server.public_url:
        return Check(name, "skipped", "needs server.public_url")
    if not hook.url:
        return Check(name, "fail", f"{whose} has no webhook for incoming messages{it}", enter)
    url, _, overrides = hook.url.partition("#")
    if problem := _find_difference(url, f"{config.server.public_url}{PATH}"):
        return Check(name, "fail", f"{whose}'s webhook has {problem}: {one_line(url)}{it}", enter)
    if hook.method != "POST":
        return Check(name, "fail", f"{whose}'s webhook uses {one_line(hook.method)}", f"{where}: set it to HTTP POST")
    if not _has_retries(overrides):
        message = f"{whose}'s webhook has no retries: a message that meets a restart comes up to a minute late{it}"
        return Check(name, "warn", message, enter)
    return Check(name, "ok", f"{whose}'s webhook leads to this relay, with retries")


def _find_difference(url: str, wanted: str) -> str | None:
    given, right = urlsplit(url), urlsplit(wanted)
    if (given.scheme, _host(url)) != (right.scheme, _host(wanted)):
        return "another host"
    return "another path" if given.path != right.path else None


def _host(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    try:
        return parts.hostname or "", parts.port or default
    except ValueError:
        return "", None


def _has_retries(overrides: str) -> bool:
    """True if Twilio tries again after a 5xx: not by default, only with `rp`."""
    policy = _POLICY.search(overrides)
    tried = set(policy[1].split(",")) if policy else set()
    return not _NO_RETRIES.search(overrides) and bool(tried & _SERVER_FAULTS)


def unread(config: Config, why: str) -> Sequence[Check]:
    """The checks that can't be made."""
    return skipped(names(config), why)
