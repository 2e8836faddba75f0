"""Texts of calls and chats: the phone call's transcript and summary, and the agent's answers in text. Pure.

The default answers are those of a Colombian campaign; the customer's name in them shows that the agent
knows the call.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from wa_relay.model import NAME_VARIABLES, Scalar

Spoken = tuple[str, str]
"""A line's speaker (`agent` or `user`) and text."""

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class File:
    """A file that was uploaded, without its bytes. `size` is in bytes."""

    name: str
    content_type: str
    size: int
    sha256: str
    file_id: str = ""
    conversation_id: str = ""

    def of(self, file_id: str, conversation_id: str) -> File:
        """The same file, kept under an id for a conversation."""
        return replace(self, file_id=file_id, conversation_id=conversation_id)


@dataclass(frozen=True, slots=True)
class Asked:
    """The input of an agent: the user's text and all that came with it.

    `context` are the contextual updates that hold, oldest first. `files` came with the text.
    """

    text: str
    agent_id: str = ""
    conversation_id: str = ""
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    context: tuple[str, ...] = ()
    files: tuple[File, ...] = ()


Answering = Callable[[Asked], str]

_REPLIES = (
    (
        ("precio", "cuesta", "cuanto", "vale", "costo"),
        "{who}el plan Premium cuesta $99/mes y el plan Básico $49/mes. ¿Cuál te interesa más?",
    ),
    (("premium",), "¡Excelente elección{comma}! El plan Premium incluye soporte 24/7. ¿Te lo activo hoy mismo?"),
    (("basico",), "{who}el plan Básico cuesta $49/mes e incluye soporte en horario de oficina. ¿Te lo activo?"),
    (("gracias",), "Con mucho gusto{comma}. Aquí estoy si tienes otra pregunta."),
    (("horario", "hora", "cita"), "{who}atendemos de lunes a viernes de 8 a. m. a 6 p. m. ¿Qué día te queda mejor?"),
    (
        ("interesa", "quiero", "claro", "listo"),
        "¡Qué bien{comma}! ¿Prefieres el plan Básico de $49/mes o el Premium de $99/mes?",
    ),
    (("hola", "buenas", "buenos"), "¡Hola{comma}! ¿En qué te puedo ayudar con lo que hablamos por teléfono?"),
)
_OTHERWISE = "{who}como te conté en la llamada, puedo ayudarte con los planes Básico y Premium. ¿Qué te gustaría saber?"


def default_answer(asked: Asked) -> str:
    """Answers in Spanish, by a word of what was asked, and by the customer's name where it is known."""
    name = name_in(asked.variables)
    who, comma = (f"{name}, ", f", {name}") if name else ("", "")
    question = plain(asked.text)
    template = next((reply for keys, reply in _REPLIES if any(key in question for key in keys)), _OTHERWISE)
    if asked.files:
        template = "{who}" + _seen(asked.files)
    reply = template.format(who=who, comma=comma)
    return reply[:1].upper() + reply[1:]


def _seen(files: tuple[File, ...]) -> str:
    """A sentence about the files, which shows that they arrived."""
    kinds = ["el PDF" if file.content_type == "application/pdf" else "la imagen" for file in files]
    listed = " y ".join(f"{kind} ({file.size} bytes)" for kind, file in zip(kinds, files, strict=True))
    return f"ya vi {listed}. ¿Qué te gustaría saber?"


def from_table(table: Mapping[str, str]) -> Answering:
    """Answers by the first word of the table that is in the question; with the default answers for the rest.

    The answers may hold `{{variables}}`. A question with a file is looked up by the file's type first.
    """

    def answer(asked: Asked) -> str:
        types = " ".join(file.content_type for file in asked.files)
        question = plain(f"{types} {asked.text}" if types else asked.text)
        found = next((reply for key, reply in table.items() if plain(key) in question), None)
        return default_answer(asked) if found is None else filled(found, asked.variables)

    return answer


def plain(text: str) -> str:
    """Takes case and accents out of a text."""
    return "".join(c for c in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(c))


def name_in(variables: Mapping[str, Scalar]) -> str:
    """The customer's first name, "" when no variable holds it."""
    full = next((str(variables[key]) for key in NAME_VARIABLES if variables.get(key)), "")
    return full.split()[0] if full.split() else ""


def transcript(outcome: str, variables: Mapping[str, Scalar]) -> tuple[Spoken, ...]:
    """Returns the transcript of a phone call with that outcome."""
    name = name_in(variables)
    greeting = f"Hola{', ' + name if name else ''}, ¿cómo estás?"
    if outcome == "voicemail":
        return (("agent", greeting), ("user", "Deja tu mensaje después del tono."))
    return (
        ("agent", greeting),
        ("user", "Hola, bien, gracias."),
        ("agent", "Te llamo para contarte de nuestros planes Básico y Premium."),
        ("user", "Me interesa el Premium. ¿Me puedes escribir por WhatsApp?"),
        ("agent", "Claro que sí. Te escribo enseguida."),
    )


def summary(outcome: str, variables: Mapping[str, Scalar]) -> str:
    """The analysis of a phone call in two sentences."""
    name = name_in(variables) or "La persona"
    if outcome == "voicemail":
        return "Respondió un buzón de voz."
    return f"{name} atendió la llamada y se interesó por el plan Premium. Pidió que le escribieran por WhatsApp."


def placeholders(text: str) -> list[str]:
    """The names of the `{{variables}}` in a text."""
    return _PLACEHOLDER.findall(text) if "{{" in text else []


def filled(text: str, variables: Mapping[str, Scalar]) -> str:
    """Fills `{{variables}}` in; unknown ones stay."""
    if "{{" not in text:
        return text
    return _PLACEHOLDER.sub(lambda match: str(variables.get(match[1], match[0])), text)
