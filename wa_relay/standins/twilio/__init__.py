"""Twilio's WhatsApp, played over real sockets: REST API, receipts, webhooks, the 24-hour window, faults.

`TwilioStandin` is the server, `director.py` its controls, `routes.py` what is answered, `delivery.py` what follows.
"""

from wa_relay.standins.twilio.app import TwilioStandin
from wa_relay.standins.twilio.attachments import (
    IMAGE,
    STICKER,
    VIDEO,
    VOICE_NOTE,
    Attachment,
    Serving,
    contact_card,
    document,
)
from wa_relay.standins.twilio.customers import Delivery
from wa_relay.standins.twilio.director import AcceptedMessage
from wa_relay.standins.twilio.faults import FAULTS, PLAYABLE, WAYS, Fault
from wa_relay.standins.twilio.forms import Referral, Written
from wa_relay.standins.twilio.registry import Account, MessagingService, Sender
from wa_relay.standins.twilio.settings import Delays, Settings
from wa_relay.standins.twilio.state import SANDBOX, Contact, Fate, Template

__all__ = [
    "FAULTS",
    "IMAGE",
    "PLAYABLE",
    "SANDBOX",
    "STICKER",
    "VIDEO",
    "VOICE_NOTE",
    "WAYS",
    "AcceptedMessage",
    "Account",
    "Attachment",
    "Contact",
    "Delays",
    "Delivery",
    "Fate",
    "Fault",
    "MessagingService",
    "Referral",
    "Sender",
    "Serving",
    "Settings",
    "Template",
    "TwilioStandin",
    "Written",
    "contact_card",
    "document",
]
