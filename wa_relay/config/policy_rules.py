"""From settings to rules: the part of the configuration that the decisions need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from wa_relay.config import Config, Handover, OpeningMessage, Reply
from wa_relay.model import WEEKDAYS, Span
from wa_relay.phone import address
from wa_relay.policy import OpeningText, Rules
from wa_relay.text.keywords import opt_out_phrases, request_forms

HOUR = 3600.0

PRESETS: Mapping[str, tuple[str, Mapping[str, tuple[Span, ...]]]] = {
    "ley-2300": (
        "CO",
        {
            **dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), ((7 * 60, 19 * 60),)),
            "sat": ((8 * 60, 15 * 60),),
            "sun": (),
        },
    ),
}
"""For each preset the country whose holidays count, and the hours of every day (Ley 2300 de 2023, article 3)."""


def rules_of(config: Config) -> Rules:
    """Makes the rules of a configuration. Hours become seconds, keywords their normal form."""
    holidays, hours = PRESETS.get(config.quiet_hours.preset, ("", {}))
    days = {**hours, **config.quiet_hours.days}
    quiet = config.quiet_hours
    return Rules(
        timezone=ZoneInfo(config.general.timezone),
        openings={outcome: _opening(message) for outcome, message in config.opening.messages.items()},
        default_name=config.opening.default_name,
        max_call_age=config.poll.max_call_age_hours * HOUR,
        min_gap=config.opening.min_gap_hours * HOUR,
        burst_limit=config.opening.burst_limit,
        daily_limit=config.opening.daily_limit,
        push_grace=config.poll.push_grace_seconds,
        quiet=(quiet.start, quiet.end) if quiet.start is not None and quiet.end is not None else None,
        hours={WEEKDAYS.index(day): spans for day, spans in days.items()},
        holidays=quiet.holidays or holidays,
        zone=quiet.zone,
        default_sender=address(config.twilio.sender) or "",
        senders={agent: address(sender.number) or "" for sender in config.senders for agent in sender.agent_ids},
        own_numbers=_own_numbers(config),
        confirmation=config.opt_out.confirmation,
        opt_out_keywords=request_forms(config.opt_out.keywords),
        return_keywords=request_forms(config.opt_out.return_keywords),
        opt_out_phrases=opt_out_phrases() if config.opt_out.phrases else frozenset(),
        alerts=frozenset(config.alerts.events) if config.alerts.url else frozenset(),
        transcribes=config.media.voice_notes == "transcribe",
        # A gateway takes text alone.
        files_to_agent=config.media.files == "agent" and config.elevenlabs.transport == "websocket",
        media_kept=config.media.keep_days * 24 * HOUR,
        divisor=config.time_divisor,
        **_reply_rules(config.reply),
        **_handover_rules(config.handover),
    )


def _own_numbers(config: Config) -> frozenset[str]:
    """Our numbers without `whatsapp:`; none with a messaging service, whose senders are not known here."""
    if config.twilio.messaging_service_sid:
        return frozenset()
    written = (config.twilio.sender, *(sender.number for sender in config.senders))
    return frozenset(number for number in map(address, written) if number is not None)


def _opening(message: OpeningMessage) -> OpeningText:
    return OpeningText(
        body=message.body,
        content_sid=message.content_sid,
        content_variables=message.content_variables,
        delay=message.delay_seconds,
        min_call=message.min_call_seconds,
        when=message.when,
    )


def _reply_rules(reply: Reply) -> dict[str, Any]:
    return {
        "debounce": reply.debounce_seconds,
        "max_length": reply.max_length,
        "fallback": reply.fallback,
        "text_only": reply.text_only,
        "typing": reply.typing,
        "ask_again": reply.ask_again,
        "max_turns_per_hour": reply.max_turns_per_hour,
        "reopen": OpeningText("", reply.reopen_content_sid, reply.reopen_content_variables),
        "unknown_sender": reply.unknown_sender,
        "unknown_agent_id": reply.unknown_sender_agent_id,
    }


def _handover_rules(handover: Handover) -> dict[str, Any]:
    return {
        "handover_keywords": request_forms(handover.keywords),
        "handover_tool": handover.tool,
        "handover_on_failure": handover.on_failure,
        "handover_notice": handover.notice,
        "handover_return_after": handover.return_after_hours * HOUR,
        "handover_wait": handover.wait_minutes * 60,
        "handover_unanswered": handover.unanswered_minutes * 60,
    }
