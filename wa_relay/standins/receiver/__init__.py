"""A receiver of alerts, played over real sockets: verifies signatures, fails or is slow on demand, records.

`ReceiverStandin` is the server with its controls; `signing.py` verifies by Standard Webhooks.
"""

from wa_relay.standins.receiver.app import Failure, ReceivedAlert, ReceiverStandin

__all__ = ["Failure", "ReceivedAlert", "ReceiverStandin"]
