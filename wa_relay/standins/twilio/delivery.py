"""The delivery of an accepted message: its statuses by timers, reported by signed callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from wa_relay.standins.twilio.connection import Answer
from wa_relay.standins.twilio.settings import Stage
from wa_relay.standins.twilio.state import Message

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_STEPS = ("sent", "delivered", "read")


@dataclass(frozen=True, slots=True)
class Step:
    """A status that comes `after` a number of seconds; `code` is that of a failure."""

    status: str
    after: float
    code: int | str | None = None


def steps_of(stage: Stage, message: Message) -> list[Step]:
    """Plans the fate of a message that was just accepted; nothing while delivery is off."""
    delays = stage.settings.delays
    if delays is None or message.status == "scheduled":
        return []
    settings = stage.settings
    fate = stage.world.fate_of(message, stage.clock(), settings.rules)
    if fate.code is None and message.validity is not None and message.validity < settings.queue_seconds:
        return [Step("failed", delays.sent or 0.0, 30036)]
    if fate.last == "queued" and fate.code is None:
        return []
    if fate.code is not None:
        return [Step(fate.status, delays.sent or 0.0, fate.code)]
    steps = []
    for status in _STEPS[: _STEPS.index(fate.last) + 1]:
        after = {"sent": delays.sent, "delivered": delays.delivered, "read": delays.read}[status]
        if after is None:
            break
        steps.append(Step(status, after))
    return steps


async def deliver(stage: Stage, message: Message, steps: Sequence[Step], way: str = "") -> None:
    """Moves a message through its steps. `way` is how fault F21 spoils the callbacks."""
    if way == "reverse":
        await _reversed(stage, message, steps)
        return
    for step in steps:
        await asyncio.sleep(step.after)
        if not await progress(stage, message.sid, step.status, step.code, way):
            return


async def deliver_early(stage: Stage, message: Message, steps: Sequence[Step], reported: asyncio.Event) -> None:
    """Takes the first step at once; sets `reported` when its callback is answered, and goes on as usual."""
    try:
        step = steps[0]
        moved = stage.world.move(message.sid, step.status, stage.clock(), step.code)
        if moved is not None:
            stage.journal.note("status", sid=moved.sid, status=moved.status, code=step.code)
            await call_back(stage, moved)
    finally:
        reported.set()
    await deliver(stage, message, steps[1:], "early")


async def progress(stage: Stage, sid: str, status: str, code: int | str | None = None, way: str = "") -> bool:
    """Gives a message a status and reports it; False if the message can't take it any more."""
    moved = stage.world.move(sid, status, stage.clock(), code)
    if moved is None:
        return False
    stage.journal.note("status", sid=sid, status=status, code=code)
    if way != "never":
        for _ in range(2 if way == "duplicate" else 1):
            # beside, because a slow listener does not hold a message up
            stage.go(call_back(stage, moved))
    return True


async def call_back(stage: Stage, message: Message) -> Answer | None:
    """Posts a message's present status to its StatusCallback, if it has one."""
    if not message.callback:
        return None
    form = receipt_form(stage, message)
    answer = await stage.caller.post(message.callback, form, stage.settings.auth_token, _FORM)
    stage.journal.note(
        "callback",
        sid=message.sid,
        status=message.status,
        code=message.error_code,
        url=message.callback,
        form=form,
        answer=answer.status,
        tries=answer.tries,
        error=answer.error,
        seconds=answer.seconds,
    )
    return answer


def receipt_form(stage: Stage, message: Message) -> dict[str, str]:
    """The form of a status callback."""
    contact = stage.world.contact(message.to.removeprefix("whatsapp:"))
    form = {
        "ChannelPrefix": "whatsapp",
        "ApiVersion": "2010-04-01",
        "MessageStatus": message.status,
        "SmsSid": message.sid,
        "SmsStatus": message.status,
        "ChannelInstallSid": "XE" + "1" * 32,
        "To": message.to,
        "From": message.sender or stage.senders[0],
        "MessageSid": message.sid,
        "AccountSid": stage.account_sid,
        "ChannelToAddress": contact.phone[:-4] + "X" * 4,
    }
    if message.service:
        form["MessagingServiceSid"] = message.service
    if message.status == "sent":
        form["StructuredMessage"] = "false"
    if message.status in ("delivered", "read") and contact.user_id:
        form["ExternalUserId"] = f"whatsapp:{contact.user_id}"
    if message.error_code is not None:
        form["ErrorCode"] = str(message.error_code)
        if message.error_message:
            form["ErrorMessage"] = form["ChannelStatusMessage"] = message.error_message
    return form


async def _reversed(stage: Stage, message: Message, steps: Sequence[Step]) -> None:
    """The statuses in their order at Twilio, the callbacks in the reverse one, each after the other's answer."""
    moved = []
    for step in steps:
        await asyncio.sleep(step.after)
        one = stage.world.move(message.sid, step.status, stage.clock(), step.code)
        if one is not None:
            stage.journal.note("status", sid=one.sid, status=one.status, code=one.error_code)
            moved.append(one)
    for one in reversed(moved):
        await call_back(stage, one)
