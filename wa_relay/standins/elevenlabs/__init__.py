"""ElevenLabs' agents, played over real sockets: batches that move through time, text sessions, webhooks, faults.

`ElevenLabsStandin` is the server with its controls, `director.py` says what they are, `routes.py` what is answered.
"""

from wa_relay.standins.elevenlabs.app import ElevenLabsStandin
from wa_relay.standins.elevenlabs.faults import BAD_GATEWAY, SERVER_ERROR, TOO_MANY, UNAUTHORIZED, UNPROCESSABLE, Fault
from wa_relay.standins.elevenlabs.scenarios import Scenario
from wa_relay.standins.elevenlabs.stage import Settings, Transcript
from wa_relay.standins.elevenlabs.state import CHAT_EVENTS, DEFAULT_EVENTS, Agent, Recipient, WorkspaceWebhook
from wa_relay.standins.elevenlabs.talk import Asked, File

__all__ = [
    "BAD_GATEWAY",
    "CHAT_EVENTS",
    "DEFAULT_EVENTS",
    "SERVER_ERROR",
    "TOO_MANY",
    "UNAUTHORIZED",
    "UNPROCESSABLE",
    "Agent",
    "Asked",
    "ElevenLabsStandin",
    "Fault",
    "File",
    "Recipient",
    "Scenario",
    "Settings",
    "Transcript",
    "WorkspaceWebhook",
]
