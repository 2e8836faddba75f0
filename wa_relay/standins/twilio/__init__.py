"""Twilio's WhatsApp, played over real sockets: REST API, receipts, webhooks, the 24-hour window, faults.

`TwilioStandin` is the server, `director.py` its controls, `routes.py` what is answered, `delivery.py` what follows.
"""

from wa_relay.standins.twilio.app import TwilioStandin
from wa_relay.standins.twilio.customers import Attachment, Delivery
from wa_relay.standins.twilio.director import AcceptedMessage
from wa_relay.standins.twilio.faults import FAULTS, PLAYABLE, WAYS, Fault
from wa_relay.standins.twilio.settings import Delays, Settings
from wa_relay.standins.twilio.state import SANDBOX, Contact, Fate, Template

__all__ = [
    "FAULTS",
    "PLAYABLE",
    "SANDBOX",
    "WAYS",
    "AcceptedMessage",
    "Attachment",
    "Contact",
    "Delays",
    "Delivery",
    "Fate",
    "Fault",
    "Settings",
    "Template",
    "TwilioStandin",
]
