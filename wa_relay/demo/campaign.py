"""The campaign of the demo: its customers, how their calls end, and the texts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wa_relay.standins.elevenlabs import CHAT_EVENTS, Agent, Recipient
from wa_relay.standins.twilio import Template

AGENT = Agent("agent_4701k8fcsvhaes5s1h6tw894g98s", name="Valentina", client_events=CHAT_EVENTS)
BATCH = "Campaña Octubre"


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer who is called. If `summary` is None, the stand-in makes one."""

    name: str
    phone: str
    outcome: str = "completed"
    conversation: bool = True
    summary: str | None = None

    @property
    def recipient(self) -> Recipient:
        """The customer as a recipient of a batch."""
        return Recipient(
            self.phone,
            {"client_name": self.name},
            outcome=self.outcome,
            conversation=self.conversation,
            summary=self.summary,
        )


ANA = Customer("Ana García", "+573138539155")
LUIS = Customer(
    "Luis Rojas", "+573001112233", summary="Luis atendió la llamada y quiere saber el horario antes de decidir."
)
MARTA = Customer("Marta Díaz", "+573004445566", outcome="voicemail")
JORGE = Customer("Jorge Peña", "+573107778899", outcome="failed", conversation=False)
SARA = Customer("Sara Muñoz", "+573152223344", summary="Sara atendió la llamada y dijo que está ocupada.")
DIEGO = Customer("Diego Torres", "+573209990011")
CALLED = (ANA, LUIS, MARTA, JORGE, SARA)
"""The customers of the batch, in its order; the campaign's backend reports Diego's call."""

_COMPLETED = "Hola {}, soy Valentina. Gracias por atender nuestra llamada. ¿Te quedó alguna duda sobre el plan Premium?"
_VOICEMAIL = "Hola {}, te llamamos y no te encontramos. ¿Te contamos por aquí del plan Premium?"
TEMPLATES = {
    "completed": Template("HX" + "c0" * 16, _COMPLETED.format("{{1}}"), {"1": "Ana"}, name="despues_de_la_llamada"),
    "voicemail": Template("HX" + "d1" * 16, _VOICEMAIL.format("{{1}}"), {"1": "Ana"}, name="buzon_de_voz"),
}
OPENINGS: Mapping[str, Mapping[str, Any]] = {
    f"opening.{outcome}": {
        "body": body.format("{client_name}"),
        "content_sid": TEMPLATES[outcome].sid,
        "content_variables": {"1": "{client_name}"},
    }
    for outcome, body in (("completed", _COMPLETED), ("voicemail", _VOICEMAIL))
}
"""The configuration's openings: an approved template each, since a call opens no 24-hour window."""


def backend_report(customer: Customer) -> dict[str, Any]:
    """The report of a campaign's backend after a call that it made itself."""
    return {
        "agent_id": AGENT.agent_id,
        "agent_name": AGENT.name,
        "batch_name": BATCH,
        "recipient": {
            "phone_number": customer.phone,
            "status": customer.outcome,
            "conversation_id": "conv_5501k8pjchj6fnvamdmbsvdq5ptv",
        },
        "call_metadata": {"client_name": customer.name, "client_id": 42, "group_name": BATCH},
    }
