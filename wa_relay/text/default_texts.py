"""The default texts for customers, in Spanish."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DefaultTexts:
    """The default texts for customers. The settings replace each of them."""

    opening: str
    fallback: str
    text_only: str
    opt_out_confirmation: str
    handover_notice: str


DEFAULT_TEXTS = DefaultTexts(
    opening="Hola {client_name}, gracias por atender nuestra llamada. ¿Te quedó alguna duda?",
    fallback="En este momento no podemos responderte. Te escribiremos pronto.",
    # For a video, a sticker, or any other attachment that the agent can't read.
    text_only="Por ahora solo puedo leer mensajes de texto. ¿Me lo puedes escribir, por favor?",
    opt_out_confirmation="Listo, no te escribiremos más. Escribe ALTA si cambias de idea.",
    handover_notice="Te va a escribir una persona de nuestro equipo por aquí.",
)
