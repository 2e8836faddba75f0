"""From settings to rules: the part of the configuration that the decisions need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast
from zoneinfo import ZoneInfo

from wa_relay.config import Config
from wa_relay.policy import OpeningText, Rules
from wa_relay.text.plain import keyword

TEXT_ONLY = "Por ahora solo puedo leer mensajes de texto. ¿Me lo puedes escribir, por favor?"
"""What somebody hears who sends a voice note, a picture or a place without a word."""


def rules_of(config: Config) -> Rules:
    """Makes the rules of a configuration. Hours become seconds, keywords their normal form."""
    quiet = config.quiet_hours
    return Rules(
        timezone=ZoneInfo(config.general.timezone),
        openings={
            outcome: OpeningText(message.body, message.content_sid, message.content_variables)
            for outcome, message in config.opening.messages.items()
        },
        default_name=config.opening.default_name,
        max_call_age=config.poll.max_call_age_hours * 3600.0,
        min_gap=config.opening.min_gap_hours * 3600.0,
        burst_limit=config.opening.burst_limit,
        push_grace=config.poll.push_grace_seconds,
        quiet=(quiet.start, quiet.end) if quiet.start is not None and quiet.end is not None else None,
        debounce=config.reply.debounce_seconds,
        max_length=config.reply.max_length,
        fallback=config.reply.fallback,
        text_only=TEXT_ONLY,
        unknown_sender=cast("Literal['ignore', 'fallback', 'agent']", config.reply.unknown_sender),
        unknown_agent_id=config.reply.unknown_sender_agent_id,
        opt_out_keywords=_keywords(config.opt_out.keywords),
        return_keywords=_keywords(config.opt_out.return_keywords),
        confirmation=config.opt_out.confirmation,
        divisor=config.time_divisor,
    )


def _keywords(words: Iterable[str]) -> frozenset[str]:
    # A word without a letter would stand for every message that has none, a picture among them.
    return frozenset(filter(None, map(keyword, words)))
