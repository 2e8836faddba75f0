"""The form of a customer's message: the parameters of Twilio's inbound webhook, kind by kind. Pure.

The sets of fields are those of published captures. Stickers, videos, reactions, list choices and advertisements were
never captured: theirs follow Twilio's documentation. Reactions may not arrive in reality.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from wa_relay.standins.twilio import shapes
from wa_relay.standins.twilio.attachments import Attachment, kind_of
from wa_relay.standins.twilio.state import Contact, Message


@dataclass(frozen=True, slots=True)
class Referral:
    """The advertisement through which a customer came."""

    headline: str = ""
    body: str = ""
    source_url: str = ""
    source_id: str = "120200000000000001"
    source_type: str = "ad"
    click_id: str = "ARAkLkA8rmlFeiCktEJQ"

    def form(self) -> dict[str, str]:
        """Its parameters."""
        return {
            "ReferralHeadline": self.headline,
            "ReferralBody": self.body,
            "ReferralSourceUrl": self.source_url,
            "ReferralSourceId": self.source_id,
            "ReferralSourceType": self.source_type,
            "ReferralCtwaClid": self.click_id,
        }


@dataclass(frozen=True, slots=True)
class Written:
    """A customer's message.

    `button` is the text of a tapped button, `button_payload` its payload (otherwise the text); `choice` is the id and
    the title of a list's entry. `location` is latitude and longitude. `reply_to` is the SID of the message that is
    answered or reacted to. `reaction` is an emoji, or "" for one that arrives with an empty body. `hidden` leaves out
    the number: only the user id is shown. `service` is the Messaging Service that the message came through.
    `fields` change the form at the end.
    """

    body: str = ""
    media: Attachment | None = None
    button: str | None = None
    button_payload: str = ""
    choice: tuple[str, str] | None = None
    location: tuple[float, float] | None = None
    label: str = ""
    address: str = ""
    reply_to: str = ""
    reaction: str | None = None
    referral: Referral | None = None
    forwarded: bool | None = None
    often_forwarded: bool = False
    hidden: bool = False
    service: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The value of `Body`: a document's is its name."""
        if self.media is not None:
            return self.body or self.media.name
        return self.body or self.button or (self.choice[1] if self.choice else "") or self.reaction or ""

    @property
    def kind(self) -> str:
        """The value of `MessageType`."""
        if self.media is not None:
            return kind_of(self.media.content_type)
        if self.button is not None or self.choice is not None:
            return "interactive"
        if self.location is not None:
            return "location"
        return "text" if self.reaction is None else "reaction"


def form_of(account_sid: str, url: str, message: Message, written: Written, contact: Contact) -> dict[str, str]:
    """The form of a message. `url` is the base of media addresses."""
    form, context = _particulars(written)
    context["ProfileName"] = contact.name
    if message.media:
        path = f"{shapes.account_path(account_sid)}/Messages/{message.sid}/Media/{message.media[0].sid}"
        form |= {"MediaContentType0": message.media[0].content_type, "MediaUrl0": url + path}
    if written.reply_to:
        form |= {"OriginalRepliedMessageSid": written.reply_to, "OriginalRepliedMessageSender": message.to}
    if contact.user_id:
        form["ExternalUserId"] = f"whatsapp:{contact.user_id}"
    if (message.sender or "").startswith("whatsapp:+"):
        number = contact.wa_id or (message.sender or "").removeprefix("whatsapp:+")
        form["WaId"] = context["WaId"] = number
    if written.service:
        form["MessagingServiceSid"] = written.service
    channel = {"type": "whatsapp", "data": {"context": dict(sorted(context.items()))}}
    return form | {
        "SmsMessageSid": message.sid,
        "NumMedia": str(len(message.media)),
        "ProfileName": contact.name,
        "MessageType": written.kind,
        "SmsSid": message.sid,
        "SmsStatus": "received",
        "Body": message.body,
        "To": message.to,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": message.sid,
        "AccountSid": account_sid,
        "ChannelMetadata": json.dumps(channel, ensure_ascii=False, separators=(",", ":")),
        "From": message.sender or "",
        "ApiVersion": shapes.VERSION,
        **written.fields,
    }


def _particulars(written: Written) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of this kind of message alone: in the form, and in the channel's context."""
    form: dict[str, str] = {}
    context: dict[str, str] = {}
    if written.button is not None:
        form |= {"ButtonText": written.button, "ButtonPayload": written.button_payload or written.button}
        context["ButtonText"] = written.button
    if written.choice is not None:
        form |= {"ListId": written.choice[0], "ListTitle": written.choice[1]}
        context |= {"ListId": written.choice[0], "ListTitle": written.choice[1]}
    if written.location is not None:
        place = {"Latitude": str(written.location[0]), "Longitude": str(written.location[1])}
        place |= {name: value for name, value in (("Label", written.label), ("Address", written.address)) if value}
        form |= place
        context |= place
    if written.referral is not None:
        form |= written.referral.form()
    if written.media is not None and written.media.content_type == "text/vcard":
        context["Origin"] = "other"
    if written.forwarded is not None or written.button is not None or written.reply_to:
        marks = {
            "Forwarded": str(bool(written.forwarded)).lower(),
            "FrequentlyForwarded": str(written.often_forwarded).lower(),
        }
        form |= marks
        context |= marks
    return form, context
