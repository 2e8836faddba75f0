"""The two services as the shipped stand-ins play them: separate processes that answer at once."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from bench.processes import Process
from bench.product import AGENT
from bench.twilio_form import phone

CHAT_EVENTS = (
    "agent_response",
    "conversation_initiation_metadata",
    "ping",
    "agent_chat_response_part",
    "agent_response_correction",
    "agent_response_complete",
)


class Twilio:
    """The Twilio stand-in. It delivers nothing, so that a message is one request."""

    def __init__(self) -> None:
        self.process = Process(["-m", "wa_relay.standins", "twilio", "--no-delivery", "--no-window"])
        self.url = json.loads(self.process.first_line())["url"]

    def accepted(self) -> dict[str, list[float]]:
        """The times at which it took each customer's messages."""
        times: dict[str, list[float]] = {}
        for message in ask(f"{self.url}/_standin/accepted")["accepted"]:
            times.setdefault(message["to"], []).append(message["at"])
        return times


class ElevenLabs:
    """The ElevenLabs stand-in, with one agent that says when an answer is complete."""

    def __init__(self) -> None:
        self.process = Process(["-m", "wa_relay.standins", "elevenlabs"])
        self.url = self.process.first_line().rpartition(" ")[2]
        self.control("settings", {"gateway": True})
        self.control("agent", {"agent_id": AGENT, "client_events": CHAT_EVENTS})

    def control(self, name: str, body: dict[str, Any]) -> Any:
        """Uses one of the stand-in's controls."""
        return ask(f"{self.url}/_standin/{name}", body)


def settings(twilio: Twilio, elevenlabs: ElevenLabs, transport: str) -> dict[str, dict[str, Any]]:
    """The product's configuration between these two."""
    return {
        "twilio": {"base_url": twilio.url},
        "elevenlabs": {"base_url": elevenlabs.url, "transport": transport},
    }


def delays(sent_at: dict[str, float], accepted: dict[str, list[float]]) -> list[float]:
    """Seconds from each customer's webhook to Twilio's acceptance of the answer, in order."""
    return sorted(
        accepted[phone(int(customer))][-1] - at for customer, at in sent_at.items() if phone(int(customer)) in accepted
    )


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Uses a control of a stand-in; returns its answer."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=60) as answer:
        return json.loads(answer.read())
