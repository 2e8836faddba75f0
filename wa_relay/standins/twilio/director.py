"""The controls of the stand-in: people, templates, settings, faults, and what customers write."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from wa_relay.model import Moment
from wa_relay.standins.journal import Entry, Journal
from wa_relay.standins.twilio import customers, delivery
from wa_relay.standins.twilio.attachments import Attachment
from wa_relay.standins.twilio.customers import Delivery
from wa_relay.standins.twilio.faults import FaultPlan
from wa_relay.standins.twilio.forms import Written
from wa_relay.standins.twilio.registry import Account, MessagingService, Registry, Sender
from wa_relay.standins.twilio.settings import Settings, Stage
from wa_relay.standins.twilio.state import Contact, Fate, Template, Trouble


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """A message that Twilio took: the truth about what was sent, and how often. `to` has no `whatsapp:`."""

    sid: str
    to: str
    body: str
    shown: str
    content_sid: str
    content_variables: Mapping[str, str]
    callback: str
    direction: str
    at: Moment
    sender: str = ""
    validity: int | None = None


class Director:
    """The controls of the stand-in for tests, the demo and benchmarks. `journal` has all events."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.account_sid, self.senders = stage.account_sid, stage.senders

    @property
    def elsewhere_url(self) -> str:
        """Another host to a client: where redirects lead. Credentials that arrive here have leaked."""
        return self._stage.elsewhere_url

    @property
    def journal(self) -> Journal:
        """All that happened."""
        return self._stage.journal

    @property
    def faults(self) -> FaultPlan:
        """The planned faults."""
        return self._stage.faults

    @property
    def settings(self) -> Settings:
        """The present settings."""
        return self._stage.settings

    def configure(self, **changes: object) -> None:
        """Changes settings while it runs, by the names of `Settings`; a new `auth_token` is a rotated one."""
        self._stage.settings = replace(self._stage.settings, **changes)  # type: ignore[arg-type]

    def contact(self, phone: str, **changes: object) -> Contact:
        """Sets the properties of a contact, by the names of `Contact`; returns the contact."""
        return self._stage.world.change_contact(phone, **changes)

    def open_window(self, phone: str, sender: str = "") -> None:
        """Opens the window as a message now would, to that sender or to all."""
        self._stage.world.inbound(phone, self._stage.clock(), sender)

    def trouble(self, subject: str, code: int | str | None, how: str = "receipt", status: int = 400) -> None:
        """Lets every message meet an error code, by `receipt` or in the `response`; None takes it away.

        `subject` is a sender (`whatsapp:+…`), a template (`HX…`), or "" for the account.
        """
        if code is None:
            self._stage.world.troubles.pop(subject, None)
            return
        if how not in ("receipt", "response"):
            raise ValueError(f"a code comes with a receipt or a response, not with {how!r}")
        way: Literal["response", "receipt"] = "response" if how == "response" else "receipt"
        self._stage.world.troubles[subject] = Trouble(code, way, status)

    @property
    def registry(self) -> Registry:
        """The account's state, its senders and messaging services, as `doctor` finds them."""
        return self._stage.registry

    def register(self, *resources: Account | Sender | MessagingService) -> None:
        """Adds or changes what the account has; a first sender replaces the stand-in's own list."""
        registry = self._stage.registry
        for one in resources:
            match one:
                case Account():
                    registry.account = one
                case Sender():
                    registry.senders = (registry.senders or {}) | {one.number: one}
                case MessagingService():
                    registry.services[one.sid] = one

    def template(self, template: Template) -> None:
        """Adds a template, or changes the one with its SID."""
        self._stage.world.templates[template.sid] = template

    def next_message(self, fate: Fate, phone: str = "", times: int = 1) -> None:
        """Sets the fate of the next messages to that customer, or to all of them."""
        self._stage.world.plan(phone, fate, times)

    def accepted(self, to: str | None = None) -> list[AcceptedMessage]:
        """Returns the messages taken for sending, replies by TwiML included, oldest first; `to` selects one phone."""
        found = [accepted_of(entry) for entry in self.journal.entries("accepted")]
        return [one for one in found if to is None or one.to == to.removeprefix("whatsapp:")]

    async def progress(self, sid: str, status: str, code: int | str | None = None) -> bool:
        """Gives a message its next status by hand, and calls back; False if it can't take one any more."""
        return await delivery.progress(self._stage, sid, status, code)

    async def customer_writes(
        self,
        phone: str,
        body: str,
        *,
        media: Attachment | str | None = None,
        fields: Mapping[str, str] | None = None,
        deliver: bool = True,
        to: str = "",
        **particulars: Any,
    ) -> Delivery:
        """Makes a customer's message and posts it to `webhook_url`; `media` may be only its content type.

        `fields` change the form; `particulars` are by the names of `Written`: `button`, `location`, `reply_to` and so
        on. Without `deliver` it is in the list only, until `redeliver`.
        """
        file = Attachment(media) if isinstance(media, str) else media
        written = Written(body, file, fields=fields or {}, **particulars)
        _, form = customers.write(self._stage, phone, written, to)
        return await customers.post(self._stage, form) if deliver else Delivery(form["MessageSid"], form)

    async def customer_burst(
        self, phone: str, bodies: Sequence[str], order: Sequence[int] = (), *, to: str = ""
    ) -> list[Delivery]:
        """Makes several messages of one customer and posts them all at once, in that order."""
        forms = [customers.write(self._stage, phone, Written(body), to)[1] for body in bodies]
        places = order or range(len(forms))
        return list(await asyncio.gather(*(customers.post(self._stage, forms[place]) for place in places)))

    def beside(self, writing: Coroutine[object, object, object]) -> None:
        """Runs something in the background."""
        self._stage.go(writing)

    async def redeliver(self, sid: str) -> Delivery:
        """Posts a customer's message, once more or for the first time. Raises KeyError for an unknown one."""
        for entry in self.journal.entries("inbound"):
            if entry.data["sid"] == sid and isinstance(entry.data["form"], dict):
                return await customers.post(self._stage, dict(entry.data["form"]))
        raise KeyError(sid)


def accepted_of(entry: Entry) -> AcceptedMessage:
    """A journal entry of kind `accepted`, typed."""
    texts = {name: value for name, value in entry.data.items() if isinstance(value, str)}
    return AcceptedMessage(
        sid=texts["sid"],
        to=texts["to"].removeprefix("whatsapp:"),
        body=texts["body"],
        shown=texts["shown"],
        content_sid=texts["content_sid"],
        content_variables=cast("dict[str, str]", entry.data["content_variables"]),
        callback=texts["callback"],
        direction=texts["direction"],
        at=entry.at,
        sender=texts["sender"],
        validity=cast("int | None", entry.data["validity"]),
    )
