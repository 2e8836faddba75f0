"""The checks of a new message that Twilio makes at once, in its order and with its codes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from wa_relay.model import Moment
from wa_relay.phone import address
from wa_relay.standins.twilio.state import FAILURES, World

LONGEST_BODY = 1600
_LONGEST_VALIDITY = 36_000
_REPEATABLE = frozenset({"MediaUrl", "PersistentAction"})
FIELDS = _REPEATABLE | frozenset(
    (
        *("To", "From", "MessagingServiceSid", "Body", "ContentSid", "ContentVariables", "StatusCallback"),
        *("ValidityPeriod", "ScheduleType", "SendAt", "ContentRetention", "AddressRetention", "SmartEncoded"),
        *("ShortenUrls", "SendAsMms", "RiskCheck", "TrafficType", "ProvideFeedback", "Attempt", "MaxPrice"),
        *("ForceDelivery", "ApplicationSid", "FallbackFrom", "MessageIntent"),
    )
)
"""The parameters of a new message, by Twilio's OpenAPI description and its client."""

_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_NOT_IN_A_VALUE = re.compile(r"[\n\r\t]| {5}")


class Refusal(Exception):
    """A request that Twilio refuses: HTTP status, Twilio's code, its message."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


@dataclass(frozen=True, slots=True)
class Order:
    """A message that may be made. `sender` is None when a Messaging Service will choose it."""

    to: str
    sender: str | None
    service: str | None
    body: str
    media_urls: tuple[str, ...]
    callback: str
    content_sid: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    scheduled: bool = False
    validity: int | None = None


def fields_of(body: bytes, *, strict: bool, known: Collection[str] = FIELDS) -> dict[str, list[str]]:
    """Reads a form. `strict` refuses names that Twilio does not know, which it would pass over in silence."""
    fields: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    if not strict:
        return fields
    for name, values in fields.items():
        if name not in known:
            raise Refusal(400, 20001, f"strict stand-in: Twilio has no parameter {name!r} here, is it misspelt?")
        if len(values) > 1 and name not in _REPEATABLE:
            raise Refusal(400, 20001, f"strict stand-in: the parameter {name!r} is given {len(values)} times")
    return fields


def order_of(
    fields: dict[str, list[str]],
    world: World,
    senders: Collection[str],
    *,
    trial: bool = False,
    late_opt_out: bool = False,
) -> Order:
    """Checks a request for a message. Raises `Refusal`.

    `trial` refuses free text; with `late_opt_out` an opted-out customer is refused by receipt only.
    """
    one = {name: values[-1] for name, values in fields.items()}
    to = _receiver(one)
    service = _service(one)
    sender = _sender(one, to, service, senders)
    content_sid, body, media = one.get("ContentSid", ""), one.get("Body", ""), tuple(fields.get("MediaUrl", ()))
    if not content_sid and not body.strip() and not media:
        raise Refusal(400, 21602, "Message body is required.")
    if len(body) > LONGEST_BODY:
        raise Refusal(400, 21617, f"The concatenated message body exceeds the {LONGEST_BODY} character limit")
    if trial and not content_sid:
        raise Refusal(400, 21654, "ContentSid Required")
    variables = _variables(one, content_sid, world)
    callback = one.get("StatusCallback", "")
    if callback and not _callable(callback):
        raise Refusal(400, 21609, f"The 'StatusCallback' URL {callback} is not a valid URL.")
    if not late_opt_out and world.contact(to.removeprefix("whatsapp:")).opted_out:
        raise Refusal(400, 21610, "Attempt to send to unsubscribed recipient")
    scheduled = one.get("ScheduleType") == "fixed" and service is not None
    text = "" if content_sid else body
    validity = _validity(one.get("ValidityPeriod"))
    trouble = world.trouble(sender, content_sid, "response")
    if trouble is not None:
        text = FAILURES.get(str(trouble.code), f"The request was refused with {trouble.code}")
        raise Refusal(trouble.status, int(trouble.code), text)
    files = () if content_sid else media
    return Order(to, sender, service, text, files, callback, content_sid, variables, scheduled, validity)


def _validity(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _LONGEST_VALIDITY:
        raise Refusal(400, 21624, f"The ValidityPeriod {text} has to be between 1 and {_LONGEST_VALIDITY} seconds")
    return int(text)


def _receiver(one: dict[str, str]) -> str:
    to = one.get("To", "")
    if not to:
        raise Refusal(400, 21604, "A 'To' phone number is required.")
    prefixed = to if to.startswith("whatsapp:") else f"whatsapp:{to}"
    if address(prefixed) is None:
        raise Refusal(400, 21211, f"The 'To' number {to} is not a valid phone number.")
    return to


def _service(one: dict[str, str]) -> str | None:
    service = one.get("MessagingServiceSid") or None
    if service is not None and not _SERVICE.fullmatch(service):
        raise Refusal(400, 21701, f"The Messaging Service {service} was not found")
    return service


def _sender(one: dict[str, str], to: str, service: str | None, senders: Collection[str]) -> str | None:
    sender = one.get("From") or None
    if sender is None and service is None:
        raise Refusal(400, 21603, "A 'From' phone number is required.")
    if sender is not None and sender not in senders and sender.startswith("whatsapp:"):
        raise Refusal(400, 63007, "Twilio could not find a Channel with the specified From address")
    if sender is not None and sender.startswith("whatsapp:") != to.startswith("whatsapp:"):
        raise Refusal(400, 21910, "Invalid From and To pair. From and To should be of the same channel")
    if sender is not None and sender not in senders:
        raise Refusal(400, 63007, "Twilio could not find a Channel with the specified From address")
    if sender is not None and sender == to:
        raise Refusal(400, 63031, "Channel message cannot have same From and To")
    return sender


def _variables(one: dict[str, str], content_sid: str, world: World) -> dict[str, str]:
    given = one.get("ContentVariables")
    if not content_sid:
        if given:
            raise Refusal(400, 21654, "ContentSid Required")
        return {}
    template = world.templates.get(content_sid)
    if template is None:
        raise Refusal(400, 21655, "The ContentSid is Invalid")
    try:
        read = json.loads(given) if given else {}
    except ValueError:
        read = None
    if not isinstance(read, dict) or not all(_is_value(value) for value in read.values()):
        raise Refusal(400, 21656, "The Content Variables parameter is invalid.")
    if set(read) - template.places:
        raise Refusal(400, 21656, "The Content Variables parameter is invalid: the template has no such variable.")
    return dict(read)


def _is_value(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not _NOT_IN_A_VALUE.search(value)


def _callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(_HOST.fullmatch(host) or ":" in host)


class Rate:
    """A limit of messages a second, counted over the last second; a third is one in three seconds. None: no limit."""

    def __init__(self) -> None:
        self._times: dict[str, list[Moment]] = {}

    def check(self, sender: str, limit: float | None, now: Moment, *, sandbox: bool = False) -> None:
        """Counts a message of a sender, or raises `Refusal` with 429; the sandbox has a different code."""
        if limit is None:
            return
        times = [at for at in self._times.get(sender, ()) if now - at < max(1.0, 1.0 / limit)]
        self._times[sender] = times
        if len(times) >= max(1.0, limit):
            if sandbox:
                raise Refusal(429, 63018, f"Account exceeded the {limit:g} rps rate limit")
            raise Refusal(429, 20429, "Too Many Requests")
        times.append(now)
