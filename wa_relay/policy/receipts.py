"""Concludes from Twilio's list and receipts what happened to a message."""

from __future__ import annotations

from collections.abc import Sequence

from wa_relay.model import Listed, Moment
from wa_relay.policy.rules import Rules
from wa_relay.policy.send_timing import HOLD

CLOCK_TOLERANCE = 5.0
"""Seconds by which Twilio's clock may differ from ours when its list is compared with a send."""


def match_unclear(
    listed: Sequence[Listed], rules: Rules, *, phone: str, body: str | None, attempted_at: Moment
) -> list[Listed]:
    """Returns the messages of Twilio's list that may be an uncertain send.

    Direction `outbound-api`, exactly this customer, made at the time of the send, and the same
    text; a template's text in the list is not what was sent (`body` None), so there time decides.
    The list's times are whole seconds and of another clock, which may be behind ours.
    """
    # A message that was sent after the hold is another one; the last seconds allow for the clocks' difference.
    latest = attempted_at + rules.scaled(HOLD - CLOCK_TOLERANCE) - 1.0
    return [
        message
        for message in listed
        if message.direction == "outbound-api"
        and message.to == phone
        and message.created_at is not None
        and attempted_at - CLOCK_TOLERANCE <= message.created_at <= latest
        and (body is None or message.body == body)
    ]


RANK = {"accepted": 0, "scheduled": 1, "queued": 2, "sending": 3, "sent": 4, "delivered": 6, "read": 7}
"""Twilio's statuses by how far a message got; `failed` and `undelivered` have no rank: they end it."""

FAILURES = frozenset({"failed", "undelivered", "canceled"})


def receipt_moves(status: str, known: str) -> str | None:
    """The outbox status that a receipt leads to from `known`, None when it changes nothing.

    Receipts come in any order and repeatedly: a message only moves up, and one that was delivered can no longer fail.
    """
    if status in FAILURES:
        return "failed" if known in ("sending", "uncertain", "sent", "queued") else None
    order = ("queued", "sending", "uncertain", "sent", "delivered", "read")
    target = {"delivered": "delivered", "read": "read"}.get(status, "sent" if status in RANK else None)
    if target is None or known not in order:
        return None
    return target if order.index(target) > order.index(known) else None
