"""What the stand-in knows: contacts, templates and messages, and how these move. Pure: the moment is an argument."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import uuid4

from wa_relay.model import Moment

WINDOW = 24 * 3600.0
"""Seconds in which free text may be sent after the customer's last message (Twilio's WhatsApp pages)."""

PAIR_BURST, PAIR_SECONDS = 45, 6.0
"""Messages to one person: so many at once, then one in so many seconds (Meta's pair rate limit)."""

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


@dataclass(frozen=True, slots=True)
class Template:
    """An approved, or not yet approved, text with `{{1}}`-like places. `variables` are its samples."""

    sid: str
    body: str
    variables: dict[str, str] = field(default_factory=dict)
    approval: str = "approved"
    category: str = "UTILITY"
    name: str = "opening"
    language: str = "es"

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
    """A person at the other end. `last_inbound` opens the window; `reachable=False` stays at `sent`."""

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


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a message: the last status it reaches, or the code with which it fails."""

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
    "30036": "Validity Period Expired",
    "63013": "This message send failed because it violates Channel provider's policy.",
    "63014": "User has blocked the channel sender.",
    "63015": "Channel Sandbox can only send messages to phone numbers that have joined the Sandbox",
    "63016": "Failed to send freeform message because you are outside the allowed window.",
    "63018": "Rate limit exceeded for Channel",
    "63024": "Invalid message recipient",
    "63040": "Template rejected",
    "63041": "Template paused",
    "63042": "Template disabled",
    "63049": "Meta chose not to deliver this WhatsApp marketing message",
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
        self._by_person: dict[str, list[str]] = {}
        self._fates: dict[str, list[Fate]] = {}
        self._pairs: dict[str, tuple[float, Moment]] = {}

    def contact(self, phone: str) -> Contact:
        """The person with that number or user id; one that has WhatsApp and never wrote, if not known."""
        return self.contacts.get(phone) or Contact(phone)

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
    ) -> Message:
        """Makes a message of its own SID. `template` is its SID, its values and the text that is seen."""
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
        )
        self.messages[message.sid] = message
        self._numbers[message.sid] = message.number
        for person in {to, sender or self._service_sender}:
            self._by_person.setdefault(person, []).append(message.sid)
        return message

    def number_of(self, sid: str) -> int | None:
        """The place of a message in the order of all, also of a deleted one."""
        return self._numbers.get(sid)

    def newest_first(self, *persons: str) -> list[Message]:
        """The messages that name all of these addresses, newest first."""
        if not persons:
            return list(reversed(self.messages.values()))
        fewest = min((self._by_person.get(person, []) for person in persons), key=len)
        return [self.messages[sid] for sid in reversed(fewest) if sid in self.messages]

    def move(self, sid: str, status: str, now: Moment, code: int | str | None = None) -> Message | None:
        """Gives a message its next status; None when it was deleted, canceled or has failed meanwhile."""
        message = self.messages.get(sid)
        if message is None or message.status in FINAL:
            return None
        sent_at = now if message.sent_at is None and code is None else message.sent_at
        words = FAILURES.get(str(code), "") if code is not None else None
        moved = replace(
            message,
            status=status,
            sender=message.sender or self._service_sender,
            updated_at=now,
            sent_at=sent_at,
            error_code=code,
            error_message=words or None,
        )
        self.messages[sid] = moved
        return moved

    def change(self, message: Message) -> None:
        """Keeps a changed message in the place of the one with its SID."""
        self.messages[message.sid] = message

    def delete(self, sid: str) -> None:
        """Forgets a message, but not its place in the order."""
        self.messages.pop(sid, None)

    def inbound(self, phone: str, now: Moment) -> None:
        """Notes that the person wrote, which opens the window."""
        self.contacts[phone] = replace(self.contact(phone), last_inbound=now)

    def plan(self, phone: str, fate: Fate, times: int = 1) -> None:
        """Settles what becomes of the next messages to a person, to anybody for an empty phone."""
        self._fates.setdefault(phone, []).extend([fate] * times)

    def fate_of(self, message: Message, now: Moment, *, enforce_window: bool, pair_limit: bool = False) -> Fate:
        """What becomes of a message, by what was planned, by its person, its template and the window."""
        phone = message.to.removeprefix("whatsapp:")
        for key in (phone, ""):
            if self._fates.get(key):
                return self._fates[key].pop(0)
        contact = self.contact(phone)
        code = _refused_by(contact)
        template = self.templates.get(message.content_sid)
        if code is None and template is not None:
            code = _UNUSABLE.get(template.approval)
        if code is None and template is None and enforce_window and not _in_window(contact, now):
            code = 63016
        if code is None and pair_limit and self._over_pair_limit(message.to, now):
            code = 63018
        if code is not None:
            return Fate(code=code)
        if not contact.reachable:
            return Fate(last="sent")
        return Fate(last="read" if contact.reads else "delivered")

    def _over_pair_limit(self, to: str, now: Moment) -> bool:
        left, at = self._pairs.get(to, (float(PAIR_BURST), now))
        left = min(float(PAIR_BURST), left + (now - at) / PAIR_SECONDS)
        over = left < 1
        self._pairs[to] = (left if over else left - 1, now)
        return over


def _refused_by(contact: Contact) -> int | None:
    if not contact.whatsapp:
        return 63024
    if contact.blocked:
        return 63014
    return 63015 if contact.sandbox_expired else None


def _in_window(contact: Contact, now: Moment) -> bool:
    return contact.last_inbound is not None and now - contact.last_inbound < WINDOW
