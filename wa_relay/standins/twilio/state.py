"""The stand-in's contacts, templates and messages, and how these move. Pure: the moment is an argument."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import uuid4

from wa_relay.model import Moment
from wa_relay.standins.twilio.attachments import Serving

WINDOW = 24 * 3600.0
"""Seconds in which free text may be sent after the customer's last message (Twilio's WhatsApp pages)."""

PAIR_BURST, PAIR_SECONDS = 45, 6.0
"""Messages to one customer: the burst, then seconds for each (Meta's pair rate limit)."""

Direction = Literal["inbound", "outbound-api", "outbound-reply"]
FINAL = frozenset({"read", "failed", "undelivered", "canceled"})
CANCELABLE = frozenset({"accepted", "scheduled", "queued"})
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Medium:
    """A file of a message."""

    sid: str
    content_type: str
    data: bytes = b""
    serving: Serving | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """An approved, or not yet approved, text with `{{1}}`-like places. `variables` are its samples.

    With `buttons` it is one with quick replies.
    """

    sid: str
    body: str
    variables: dict[str, str] = field(default_factory=dict)
    approval: str = "approved"
    category: str = "UTILITY"
    name: str = "opening"
    language: str = "es"
    buttons: tuple[str, ...] = ()

    @property
    def places(self) -> frozenset[str]:
        """The names of the variables in its text."""
        return frozenset(_PLACEHOLDER.findall(self.body))

    def shown(self, values: dict[str, str]) -> str:
        """The text as the customer sees it; a missing value shows the sample."""
        known = {**self.variables, **values}
        return _PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), self.body)


@dataclass(frozen=True, slots=True)
class Contact:
    """A customer at the other end. `last_inbound` opens the window; `reachable=False` stays at `sent`.

    `user_id` is the BSUID (`CO.1A2b…`), which inbound messages and receipts carry, and by which a message reaches the
    customer too, also by an earlier one. `also` are further addresses: another spelling of the number. `wa_id` is the
    `WaId` where it is not the number's digits.
    """

    phone: str
    whatsapp: bool = True
    blocked: bool = False
    opted_out: bool = False
    sandbox_expired: bool = False
    reachable: bool = True
    reads: bool = True
    name: str = "Ana Prueba"
    user_id: str = ""
    last_inbound: Moment | None = None
    wa_id: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One message as Twilio keeps it. Addresses with their `whatsapp:`; `shown` is what the customer sees."""

    number: int
    sid: str
    direction: Direction
    to: str
    sender: str | None
    body: str
    status: str
    created_at: Moment
    updated_at: Moment
    sent_at: Moment | None = None
    service: str | None = None
    error_code: int | str | None = None
    error_message: str | None = None
    media: tuple[Medium, ...] = ()
    callback: str = ""
    content_sid: str = ""
    content_variables: dict[str, str] = field(default_factory=dict)
    shown: str = ""
    validity: int | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error code that every message of a sender, a template or the account meets, until it is taken away.

    `how` says whether it comes in the response, with the HTTP `status`, or by receipt.
    """

    code: int | str
    how: Literal["response", "receipt"] = "receipt"
    status: int = 400


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings by which the world decides what becomes of a message. `users_per_day` is Meta's messaging limit."""

    enforce_window: bool = True
    pair_limit: bool = False
    users_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of a message: the last status it reaches, or the code with which it fails."""

    last: Literal["queued", "sent", "delivered", "read"] = "read"
    code: int | str | None = None
    status: Literal["undelivered", "failed"] = "undelivered"


SANDBOX = "whatsapp:+14155238886"
SANDBOX_TEMPLATE = Template(
    "HXb5b62575e6e4ff6129ad7c8efe1f983e",
    "Your appointment is coming up on {{1}} at {{2}}",
    {"1": "12/1", "2": "3pm"},
    name="appointment_reminders",
    language="en",
)
"""The sandbox's appointment reminder, which every account has."""


FAILURES: dict[str, str] = {
    "20003": "Authenticate",
    "21610": "Attempt to send to unsubscribed recipient",
    "21655": "The ContentSid is Invalid",
    "21656": "The Content Variables parameter is invalid.",
    "63007": "Twilio could not find a Channel with the specified From address",
    "30036": "Validity Period Expired",
    "63013": "This message send failed because it violates Channel provider's policy.",
    "63014": "User has blocked the channel sender.",
    "63015": "Channel Sandbox can only send messages to phone numbers that have joined the Sandbox",
    "63016": "Failed to send freeform message because you are outside the allowed window.",
    "63018": "Rate limit exceeded for Channel",
    "63024": "Invalid message recipient",
    "63027": "Template does not exist for a language and locale",
    "63028": "Number of parameters provided does not match the expected number of parameters",
    "63038": "Account exceeded the daily messages limit",
    "63040": "Template rejected",
    "63041": "Template paused",
    "63042": "Template disabled",
    "63049": "Meta chose not to deliver this WhatsApp marketing message",
    "63051": "The WhatsApp Business Account was locked",
    "63058": "WhatsApp users of this country can't be reached",
}
_UNUSABLE = {"rejected": 63040, "paused": 63041, "disabled": 63042}


class World:
    """Everything that the stand-in remembers."""

    def __init__(self, templates: tuple[Template, ...] = (), service_sender: str = SANDBOX) -> None:
        """`service_sender` is the one that a Messaging Service chooses."""
        self._service_sender = service_sender
        self.contacts: dict[str, Contact] = {}
        self.templates: dict[str, Template] = {template.sid: template for template in templates}
        self.messages: dict[str, Message] = {}
        self._numbers: dict[str, int] = {}
        self._by_address: dict[str, list[str]] = {}
        self._fates: dict[str, list[Fate]] = {}
        self._pairs: dict[str, tuple[float, Moment]] = {}
        self.troubles: dict[str, Trouble] = {}
        """By a sender's address or a template's SID, "" for the account."""
        self._aliases: dict[str, str] = {}
        self._windows: dict[str, dict[str, Moment]] = {}
        self._reached: dict[str, dict[str, Moment]] = {}

    def contact(self, phone: str) -> Contact:
        """The customer with that number or user id; one that has WhatsApp and never wrote, if not known."""
        known = self.contacts.get(phone) or self.contacts.get(self._aliases.get(phone, ""))
        return known or Contact(phone)

    def change_contact(self, phone: str, **changes: object) -> Contact:
        """Changes what a customer is like; a new user id leaves the earlier one known."""
        changed = replace(self.contact(phone), **changes)  # type: ignore[arg-type]
        self.contacts[changed.phone] = changed
        for other in (changed.user_id, *changed.also):
            if other and other != changed.phone:
                self._aliases[other] = changed.phone
        return changed

    def service_sender(self, to: str) -> str:
        """The sender that a Messaging Service chooses: the one that the customer wrote to last, or the first."""
        windows = self._windows.get(self.contact(to.removeprefix("whatsapp:")).phone)
        return max(windows, key=windows.__getitem__) if windows else self._service_sender

    def trouble(self, sender: str | None, content_sid: str, how: str) -> Trouble | None:
        """The trouble that a message meets in that way."""
        if not self.troubles:
            return None
        for subject in (content_sid or None, sender, ""):
            found = self.troubles.get(subject) if subject is not None else None
            if found is not None and found.how == how:
                return found
        return None

    def add(
        self,
        direction: Direction,
        to: str,
        sender: str | None,
        body: str,
        status: str,
        now: Moment,
        *,
        media: tuple[Medium, ...] = (),
        callback: str = "",
        service: str | None = None,
        template: tuple[str, dict[str, str], str] = ("", {}, ""),
        validity: int | None = None,
    ) -> Message:
        """Makes a message with a new SID. `template` is its SID, its values and the resulting text."""
        content_sid, variables, shown = template
        message = Message(
            number=len(self._numbers) + 1,
            sid=("MM" if media else "SM") + uuid4().hex,
            direction=direction,
            to=to,
            sender=sender,
            body=body,
            status=status,
            created_at=now,
            updated_at=now,
            sent_at=now if direction == "inbound" else None,
            service=service,
            media=media,
            callback=callback,
            content_sid=content_sid,
            content_variables=variables,
            shown=shown or body,
            validity=validity,
        )
        self.messages[message.sid] = message
        self._numbers[message.sid] = message.number
        for address in {to, sender or self.service_sender(to)}:
            self._by_address.setdefault(address, []).append(message.sid)
        return message

    def number_of(self, sid: str) -> int | None:
        """The place of a message in the order of all, also of a deleted one."""
        return self._numbers.get(sid)

    def newest_first(self, *addresses: str) -> list[Message]:
        """The messages that name all of these addresses, newest first."""
        if not addresses:
            return list(reversed(self.messages.values()))
        fewest = min((self._by_address.get(address, []) for address in addresses), key=len)
        return [self.messages[sid] for sid in reversed(fewest) if sid in self.messages]

    def move(self, sid: str, status: str, now: Moment, code: int | str | None = None) -> Message | None:
        """Gives a message its next status; None when it was deleted, canceled or has failed meanwhile."""
        message = self.messages.get(sid)
        if message is None or message.status in FINAL:
            return None
        sent_at = now if message.sent_at is None and code is None else message.sent_at
        meaning = FAILURES.get(str(code), "") if code is not None else None
        moved = replace(
            message,
            status=status,
            sender=message.sender or self.service_sender(message.to),
            updated_at=now,
            sent_at=sent_at,
            error_code=code,
            error_message=meaning or None,
        )
        self.messages[sid] = moved
        return moved

    def change(self, message: Message) -> None:
        """Keeps a changed message in the place of the one with its SID."""
        self.messages[message.sid] = message

    def delete(self, sid: str) -> None:
        """Forgets a message, but not its place in the order."""
        self.messages.pop(sid, None)

    def inbound(self, phone: str, now: Moment, sender: str = "") -> None:
        """Notes that the customer wrote to a sender, which opens the window there; without a sender, at all of them."""
        contact = self.contact(phone).phone
        self.change_contact(contact, last_inbound=now)
        if sender:
            self._windows.setdefault(contact, {})[sender] = now
        else:
            self._windows.pop(contact, None)

    def plan(self, phone: str, fate: Fate, times: int = 1) -> None:
        """Sets the fate of the next messages to a customer, to all of them for an empty phone."""
        self._fates.setdefault(phone, []).extend([fate] * times)

    def fate_of(self, message: Message, now: Moment, rules: Rules) -> Fate:
        """Decides the fate of a message, by the plan, its customer, its template and the window."""
        phone = message.to.removeprefix("whatsapp:")
        for key in (phone, ""):
            if self._fates.get(key):
                return self._fates[key].pop(0)
        contact = self.contact(phone)
        code = _refused_by(contact) or self._refused(message, contact, now, rules)
        if code is not None:
            return Fate(code=code)
        if not contact.reachable:
            return Fate(last="sent")
        return Fate(last="read" if contact.reads else "delivered")

    def _refused(self, message: Message, contact: Contact, now: Moment, rules: Rules) -> int | str | None:
        sender = message.sender or self.service_sender(message.to)
        trouble = self.trouble(sender, message.content_sid, "receipt")
        if trouble is not None:
            return trouble.code
        template = self.templates.get(message.content_sid)
        if template is not None and template.approval in _UNUSABLE:
            return _UNUSABLE[template.approval]
        open_now = self._in_window(contact, sender, now)
        if template is None and rules.enforce_window and not open_now:
            return 63016
        if rules.pair_limit and self._over_pair_limit(message.to, now):
            return 63018
        if rules.users_per_day is not None and template is not None and not open_now:
            return self._over_daily_limit(contact.phone, sender, now, rules.users_per_day)
        return None

    def _in_window(self, contact: Contact, sender: str, now: Moment) -> bool:
        """The window is open only at the sender that the customer wrote to."""
        if contact.last_inbound is None or now - contact.last_inbound >= WINDOW:
            return False
        windows = self._windows.get(contact.phone)
        return windows is None or now - windows.get(sender, -WINDOW) < WINDOW

    def _over_daily_limit(self, phone: str, sender: str, now: Moment, most: int) -> int | None:
        reached = {one: at for one, at in self._reached.get(sender, {}).items() if now - at < WINDOW}
        over = phone not in reached and len(reached) >= most
        if not over:
            reached[phone] = now
        self._reached[sender] = reached
        return 63018 if over else None

    def _over_pair_limit(self, to: str, now: Moment) -> bool:
        left, at = self._pairs.get(to, (float(PAIR_BURST), now))
        left = min(float(PAIR_BURST), left + (now - at) / PAIR_SECONDS)
        over = left < 1
        self._pairs[to] = (left if over else left - 1, now)
        return over


def _refused_by(contact: Contact) -> int | None:
    if not contact.whatsapp:
        return 63024
    if contact.opted_out:
        return 21610
    if contact.blocked:
        return 63014
    return 63015 if contact.sandbox_expired else None
