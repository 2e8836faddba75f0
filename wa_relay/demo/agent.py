"""The text answers of the stand-in's agent, by the words of the question, in Spanish. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from wa_relay.standins.elevenlabs import Asked

PRICE = "El plan Premium cuesta $99.900 al mes y el Básico $49.900. ¿Cuál te interesa más?"
PICTURE = "Sí, en la foto se ve bien: es el equipo del plan Premium, el de la luz verde. ¿Te ayudo a instalarlo?"
_PRICE_WORDS = r"precios?|cuestan?|cuanto|costos?|valor|tarifas?"
_ANSWERS = (
    (r"no (me )?(interesa|quiero|gracias)", "Entiendo, gracias por decírmelo. Si cambias de idea, aquí estoy."),
    (
        r"horarios?|que hora|a que horas|abren|atienden|cuando|sabados?|domingos?",
        "Atendemos de lunes a viernes de 8 a. m. a 6 p. m. y los sábados hasta el mediodía. ¿Qué día te queda mejor?",
    ),
    (r"gracias", "¡Con mucho gusto! Aquí estoy si tienes otra pregunta."),
    (
        r"premium",
        "¡Excelente elección! El plan Premium incluye soporte las 24 horas y cuesta $99.900 al mes. ¿Te lo activo?",
    ),
    (
        r"basico",
        "El plan Básico incluye soporte en horario de oficina y cuesta $49.900 al mes. ¿Te lo activo?",
    ),
    (r"incluye|que trae|beneficios?", "Los dos planes traen internet y telefonía; el Premium, soporte las 24 horas."),
    (r"si|interesa|quiero|claro|listo|dale|bueno|ok", "¡Qué bien! ¿Prefieres el plan Básico o el Premium?"),
    (r"no", "Entiendo. ¿Hay algo que te gustaría saber antes de decidir?"),
    (r"adios|chao|hasta luego", "¡Hasta luego! Que tengas un buen día."),
    (r"alta", "¡Qué bueno tenerte de vuelta! ¿Qué te gustaría saber de los planes?"),
    (r"hola|buen[oa]s|quien", "¡Hola! Soy Valentina, hablamos hace un momento por teléfono. ¿Qué te gustaría saber?"),
)
_OTHERWISE = (
    "Como te conté en la llamada, puedo ayudarte con los planes Básico y Premium. ¿Te cuento precios u horario?"
)


def answering(price_answer: str | None = None) -> Callable[[Asked], str]:
    """Makes the agent; `price_answer` replaces its usual answer about the price."""

    def answer(asked: Asked) -> str:
        if asked.files:
            return PICTURE
        question = _plain(asked.text)
        if _in(_PRICE_WORDS, question):
            return price_answer or PRICE
        return next((reply for pattern, reply in _ANSWERS if _in(pattern, question)), _OTHERWISE)

    return answer


def _in(pattern: str, question: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", question) is not None


def _plain(text: str) -> str:
    """Takes case and accents out of a text."""
    return "".join(c for c in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(c))
