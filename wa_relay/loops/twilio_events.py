"""The consequences of an event at Twilio, whatever reports it: a webhook, a look-up, a fetched receipt or the sweep.

Each function logs the event, wakes the loops that have work because of it, and raises the alarms that a person
must see. The ledger has stored the event before.
"""

from __future__ import annotations

import logging

from wa_relay import metrics
from wa_relay.ledger.inbox import Received
from wa_relay.ledger.receipts import Noted
from wa_relay.ledger.send_results import Finished
from wa_relay.logs import say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.health_signs import Signs
from wa_relay.model import Inbound, Moment, Receipt


def follow_receipt(wakers: Wakers, receipt: Receipt, noted: Noted, *, by: str | None = None) -> None:
    """Follows up a stored receipt. `by` says for the log how it came, if not by the status webhook."""
    if noted.alarm:
        warn("alarm", message=noted.message_id, what=noted.alarm)
    if noted.changed:
        metrics.count_receipt(receipt.status)
        say(
            "receipt",
            level=logging.WARNING if noted.status == "failed" else logging.INFO,
            message=noted.message_id,
            sid=receipt.sid,
            status=receipt.status,
            code=noted.error_code,
            by=by,
        )
    if noted.message_id is not None and (noted.changed or noted.freed):
        wakers.board.announce(noted.message_id)
    if noted.freed:
        wakers.send.ring()


def follow_inbound(
    wakers: Wakers, signs: Signs, inbound: Inbound, received: Received, now: Moment, *, listed: bool = False
) -> bool:
    """Follows up a stored message of a customer. Returns False if a sweep listed it and it was known already."""
    if listed and received.effect in ("duplicate", "before_fence"):
        return False
    if listed:
        signs.found_by_listing.add(now, inbound.sid)
    elif received.effect == "duplicate" and inbound.sid is not None:
        # Its webhook was only slower than the sweep.
        signs.found_by_listing.discard(inbound.sid)
    say(
        "message_found" if listed else "message_received",
        conversation=received.conversation_id,
        message=received.message_id,
        sid=inbound.sid,
        effect=received.effect,
        phone=inbound.phone,
        text=inbound.text,
    )
    if inbound.attachment is not None and inbound.attachment.url is not None:
        wakers.media.ring()
    if received.effect == "turn" and received.due_at is not None:
        wakers.turn.ring_at(received.due_at, now)
    elif received.effect in ("opted_out", "notice"):
        wakers.send.ring()
    return True


def follow_lookup(wakers: Wakers, finished: Finished) -> bool:
    """Follows up a look-up of an uncertain send. Returns True if the send is decided."""
    if finished.alarm:
        warn("alarm", message=finished.message_id, what=finished.alarm)
    if finished.status == "uncertain":
        return False
    say("send_adopted", message=finished.message_id, status=finished.status)
    wakers.board.announce(finished.message_id)
    wakers.send.ring()
    return True
