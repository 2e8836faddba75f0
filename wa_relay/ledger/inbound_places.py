"""Where a customer's message goes, decided before it is stored. Nothing here changes the database."""

from __future__ import annotations

from typing import Literal, NamedTuple

from wa_relay import policy
from wa_relay.ledger import auto_responders, consent
from wa_relay.ledger.customers import Customer
from wa_relay.ledger.store import Ledger
from wa_relay.model import Inbound, Moment

Place = Literal[
    "turn",
    "reaction",
    "thread",
    "superseded",
    "opt_out",
    "opted_out",
    "too_late",
    "person",
    "held",
    "repeats_itself",
    "fallback",
    "unknown_sender",
]
"""A turn of the agent, the thread alone, or the rule that keeps the message from the agent."""


class Decision(NamedTuple):
    """The change of consent that a message asks for, and its place. A superseded message changes nothing."""

    change: consent.Change | None
    place: Place


def decide(ledger: Ledger, inbound: Inbound, customer: Customer, window_ends_at: Moment, now: Moment) -> Decision:
    """Decides what follows from a message of a customer whose window it keeps open until `window_ends_at`."""
    # A thumbs-up opens the window like any message, but is not a question.
    if inbound.attachment is not None and inbound.attachment.type == "reaction":
        return Decision(None, "reaction")
    change = consent.change_of(ledger.rules, inbound)
    # A sweep may bring yesterday's BAJA after today's ALTA: the later wish counts.
    if change is not None and consent.is_superseded(ledger, inbound, customer.id, customer.phone):
        return Decision(change, "superseded")
    if change == "out":
        return Decision(change, "opt_out")
    # Twilio itself has answered a message with an OptOutType.
    if inbound.opt_out is not None:
        return Decision(change, "thread")
    if customer.status == "opted_out" and change is None:
        return Decision(change, "opted_out")
    if window_ends_at <= now:
        return Decision(change, "too_late")
    return Decision(change, _place_of_question(ledger, inbound, customer, now))


def _place_of_question(ledger: Ledger, inbound: Inbound, customer: Customer, now: Moment) -> Place:
    """Returns who a message is for: a person, whoever has the conversation, the agent, or nobody."""
    if policy.is_request(ledger.rules, inbound.text):
        return "person"
    if customer.handler != "agent":
        return "held"
    # Two machines that answer each other repeat their text. A button or a caption is repeated by people, too.
    may_repeat = inbound.attachment is None and not inbound.tapped and customer.message_count >= policy.LOOP_TIMES - 1
    if may_repeat and auto_responders.repeats_itself(ledger, customer.id, inbound.text, now):
        return "repeats_itself"
    if customer.call_id is None:
        mode = ledger.rules.unknown_sender
        if mode == "fallback":
            return "fallback"
        if not customer.agent_id and mode != "agent":
            return "unknown_sender"
    return "turn"
