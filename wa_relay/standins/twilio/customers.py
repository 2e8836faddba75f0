"""What customers write: the message, the signed webhook, its fallback, and what is sent because of the answer."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from wa_relay.standins.twilio import shapes
from wa_relay.standins.twilio.connection import Answer, overrides_of
from wa_relay.standins.twilio.delivery import deliver, steps_of
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.state import Medium, Message

_FORM = "application/x-www-form-urlencoded"
_MOST_REPLIES = 10
_KINDS = {"image": "image", "audio": "audio", "video": "video", "text": "contacts", "application": "document"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a customer's message reached the webhook. `status` None: it did not; `attempts` 0: nobody was called.

    `twiml` is the answer's body, `replies` the SIDs of what was sent because of it, `fallback` the fallback's status.
    """

    sid: str
    form: Mapping[str, str]
    status: int | None = None
    attempts: int = 0
    twiml: str = ""
    error: str = ""
    replies: tuple[str, ...] = ()
    fallback: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a customer sends."""

    content_type: str = "image/jpeg"
    data: bytes = b"\xff\xd8\xff\xe0 stand-in"


def write(
    stage: Stage,
    phone: str,
    body: str,
    *,
    media: Attachment | None = None,
    button: str | None = None,
    location: tuple[float, float] | None = None,
    fields: Mapping[str, str] | None = None,
    to: str = "",
) -> tuple[Message, dict[str, str]]:
    """Makes the inbound message, which opens the window, and the form that tells it."""
    now = stage.clock()
    files = (Medium("ME" + uuid4().hex, media.content_type, media.data),) if media else ()
    message = stage.world.add(
        "inbound", to or stage.senders[0], f"whatsapp:{phone}", body or button or "", "received", now, media=files
    )
    stage.world.inbound(phone, now)
    form = _form(stage, message, phone, button, location)
    form.update(fields or {})
    stage.journal.note("inbound", sid=message.sid, phone=phone, body=message.body, form=form)
    return message, form


async def tell(stage: Stage, form: dict[str, str]) -> Delivery:
    """Calls the webhook with a form, then the fallback if need be, and sends what the answer says."""
    sid = form["MessageSid"]
    fault = stage.faults.take("webhook")
    if fault is not None:
        stage.journal.note("fault", operation="webhook", fault=fault.kind, how=fault.way, sid=sid)
    if not stage.settings.webhook_url or (fault and fault.way == "never"):
        return Delivery(sid, form)
    if fault and fault.way == "reverse":
        await stage.let_pass(form["From"], fault.seconds)
    answer = await _call(stage, stage.settings.webhook_url, form)
    stage.passed(form["From"])
    if fault and fault.way == "duplicate":
        answer = await _call(stage, stage.settings.webhook_url, form)
    fallback = None
    told = answer
    if not answer.ok and stage.settings.fallback_url:
        bare, _ = overrides_of(stage.settings.webhook_url)
        told = await _call(stage, stage.settings.fallback_url, {**form, "ErrorCode": "11200", "ErrorUrl": bare})
        fallback = told.status
    replies = _reply(stage, form, told) if told.ok else ()
    return Delivery(sid, form, answer.status, answer.attempts, answer.body, answer.error, replies, fallback)


async def _call(stage: Stage, url: str, form: Mapping[str, str]) -> Answer:
    answer = await stage.caller.post(url, form, stage.settings.auth_token, _FORM)
    stage.journal.note(
        "webhook",
        sid=form["MessageSid"],
        url=url,
        answer=answer.status,
        body=answer.body,
        attempts=answer.attempts,
        error=answer.error,
        seconds=answer.seconds,
    )
    return answer


def _reply(stage: Stage, form: Mapping[str, str], answer: Answer) -> tuple[str, ...]:
    sids = []
    for text in reply_texts(answer.content_type, answer.body)[:_MOST_REPLIES]:
        made = stage.world.add("outbound-reply", form["From"], form["To"], text, "queued", stage.clock())
        note_accepted(stage, made)
        stage.go(deliver(stage, made, steps_of(stage, made)))
        sids.append(made.sid)
    return tuple(sids)


def note_accepted(stage: Stage, made: Message) -> None:
    """Writes an outbound message into the journal: the truth about what was sent how often."""
    stage.journal.note(
        "accepted",
        sid=made.sid,
        to=made.to,
        body=made.body,
        shown=made.shown,
        content_sid=made.content_sid,
        content_variables=made.content_variables,
        callback=made.callback,
        direction=made.direction,
    )


def reply_texts(content_type: str, body: str) -> list[str]:
    """The messages that an answer asks for: TwiML's, or all of a plain text. Broken XML asks for none."""
    if content_type == "text/plain":
        return [body] if body.strip() else []
    if content_type not in ("text/xml", "application/xml") or "<!" in body:
        return []
    try:
        root = ET.fromstring(body.encode())  # noqa: S314 (no DTD passes the line above)
    except ET.ParseError:
        return []
    verbs = root.findall("Message") if root.tag == "Response" else []
    texts = [(verb.findtext("Body") if verb.find("Body") is not None else verb.text) or "" for verb in verbs]
    return [text.strip() for text in texts if text.strip()]


def _form(
    stage: Stage, message: Message, phone: str, button: str | None, location: tuple[float, float] | None
) -> dict[str, str]:
    contact = stage.world.contact(phone)
    context: dict[str, str] = {"ProfileName": contact.name}
    form: dict[str, str] = {}
    if message.media:
        path = f"{shapes.account_path(stage.account_sid)}/Messages/{message.sid}/Media/{message.media[0].sid}"
        form |= {"MediaContentType0": message.media[0].content_type, "MediaUrl0": stage.url + path}
    if button is not None:
        form |= {"ButtonText": button, "ButtonPayload": button, "Forwarded": "false", "FrequentlyForwarded": "false"}
        context |= {"ButtonText": button, "Forwarded": "false", "FrequentlyForwarded": "false"}
        form |= _replied_to(stage, message)
    if location is not None:
        place = {"Latitude": str(location[0]), "Longitude": str(location[1])}
        form |= place
        context |= place
    numbered = phone.startswith("+")
    user_id = contact.user_id if numbered else phone
    if user_id:
        form["ExternalUserId"] = f"whatsapp:{user_id}"
    if numbered:
        form["WaId"] = context["WaId"] = phone[1:]
    channel = {"type": "whatsapp", "data": {"context": dict(sorted(context.items()))}}
    return form | {
        "SmsMessageSid": message.sid,
        "NumMedia": str(len(message.media)),
        "ProfileName": contact.name,
        "MessageType": _kind(message, button, location),
        "SmsSid": message.sid,
        "SmsStatus": "received",
        "Body": message.body,
        "To": message.to,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": message.sid,
        "AccountSid": stage.account_sid,
        "ChannelMetadata": json.dumps(channel, ensure_ascii=False, separators=(",", ":")),
        "From": message.sender or "",
        "ApiVersion": shapes.VERSION,
    }


def _replied_to(stage: Stage, message: Message) -> dict[str, str]:
    """The message whose button was tapped: the last one to the person."""
    for one in stage.world.newest_first(message.sender or ""):
        if one.to == message.sender:
            return {"OriginalRepliedMessageSid": one.sid, "OriginalRepliedMessageSender": message.to}
    return {}


def _kind(message: Message, button: str | None, location: tuple[float, float] | None) -> str:
    if message.media:
        return _KINDS.get(message.media[0].content_type.partition("/")[0], "document")
    if button is not None:
        return "interactive"
    return "location" if location is not None else "text"
