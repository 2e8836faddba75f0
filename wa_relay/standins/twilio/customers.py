"""Customers' messages: the message, the signed webhook, its fallback, and the replies that its answer orders."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

from wa_relay.standins.twilio.connection import Answer, overrides_of
from wa_relay.standins.twilio.delivery import deliver, steps_of
from wa_relay.standins.twilio.forms import Written, form_of
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.state import SANDBOX, Medium, Message

_FORM = "application/x-www-form-urlencoded"
_MOST_REPLIES = 10
OPT_OUT = {
    "STOP": frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"}),
    "START": frozenset({"START", "UNSTOP", "YES"}),
    "HELP": frozenset({"HELP", "INFO"}),
}
"""Twilio's keywords of Advanced Opt-Out, each the whole message, in any case."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of a customer's message to the webhook. `status` None: it failed; `tries` 0: there is no webhook.

    `twiml` is the answer's body, `replies` the SIDs of what was sent because of it, `fallback` the fallback's status.
    """

    sid: str
    form: Mapping[str, str]
    status: int | None = None
    tries: int = 0
    twiml: str = ""
    error: str = ""
    replies: tuple[str, ...] = ()
    fallback: int | None = None


def write(stage: Stage, phone: str, written: Written, to: str = "") -> tuple[Message, dict[str, str]]:
    """Makes the inbound message, which opens the window, and the form that reports it."""
    now, world = stage.clock(), stage.world
    contact = world.contact(phone)
    file = written.media
    files = (Medium("ME" + uuid4().hex, file.content_type, file.data, file.serving),) if file else ()
    if not phone.startswith("+") and contact.user_id != phone:
        contact = replace(contact, user_id=phone)
    shown = contact.user_id if written.hidden else phone
    message = world.add(
        "inbound", to or stage.senders[0], f"whatsapp:{shown}", written.text, "received", now, media=files
    )
    world.inbound(phone, now, message.to)
    if written.button is not None and not written.reply_to:
        written = replace(written, reply_to=_last_to(stage, message))
    form = form_of(stage.account_sid, stage.url, message, written, contact)
    form |= _opted(stage, phone, message.body)
    if contact.sandbox_expired and message.to == SANDBOX and message.body.lower().startswith("join "):
        world.change_contact(phone, sandbox_expired=False)
    stage.journal.note("inbound", sid=message.sid, phone=phone, body=message.body, form=form)
    return message, form


def _opted(stage: Stage, phone: str, text: str) -> dict[str, str]:
    """Twilio's own opt-out, where Advanced Opt-Out is on: it changes the state, and has answered."""
    if not stage.settings.advanced_opt_out:
        return {}
    kind = next((kind for kind, keywords in OPT_OUT.items() if text.strip().upper() in keywords), "")
    if kind in ("STOP", "START"):
        stage.world.change_contact(phone, opted_out=kind == "STOP")
    return {"OptOutType": kind} if kind else {}


async def post(stage: Stage, form: dict[str, str]) -> Delivery:
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
    last = answer
    if not answer.ok and stage.settings.fallback_url:
        bare, _ = overrides_of(stage.settings.webhook_url)
        last = await _call(stage, stage.settings.fallback_url, {**form, "ErrorCode": "11200", "ErrorUrl": bare})
        fallback = last.status
    replies = _reply(stage, form, last) if last.ok else ()
    return Delivery(sid, form, answer.status, answer.tries, answer.body, answer.error, replies, fallback)


async def _call(stage: Stage, url: str, form: Mapping[str, str]) -> Answer:
    answer = await stage.caller.post(url, form, stage.settings.auth_token, _FORM)
    stage.journal.note(
        "webhook",
        sid=form["MessageSid"],
        url=url,
        answer=answer.status,
        body=answer.body,
        tries=answer.tries,
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
        sender=made.sender or "",
        validity=made.validity,
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


def _last_to(stage: Stage, message: Message) -> str:
    """The message whose button was tapped: the last one to the customer."""
    for one in stage.world.newest_first(message.sender or ""):
        if one.to == message.sender:
            return one.sid
    return ""
