"""The REST API's agents, batches and conversations, in their JSON. Pure.

Shapes: the service's API reference; its Python SDK reads every one of them into its models.
"""

from __future__ import annotations

from collections.abc import Mapping

from wa_relay.model import Moment
from wa_relay.standins.elevenlabs.state import Agent, Batch, Conversation, Row
from wa_relay.standins.elevenlabs.talk import Spoken

Json = dict[str, object]

AGENT_NUMBER = "+576015550100"
_PHONE_NUMBER_ID = "phnum_1001kstandin"
_TIMEZONE = "America/Bogota"
_TYPES = {400: "validation_error", 401: "authentication_error", 402: "payment_required"} | {
    403: "authorization_error",
    404: "not_found",
    409: "conflict",
    429: "rate_limit_error",
    503: "service_unavailable",
}


def batch_row(batch: Batch) -> Json:
    """A batch as the workspace's list has it."""
    return {
        "id": batch.id,
        "phone_number_id": _PHONE_NUMBER_ID,
        "phone_provider": "twilio",
        "whatsapp_params": None,
        "name": batch.name,
        "agent_id": batch.agent_id,
        "branch_id": None,
        "environment": None,
        "created_at_unix": int(batch.created_at),
        "scheduled_time_unix": int(batch.scheduled_at),
        "timezone": _TIMEZONE,
        "total_calls_dispatched": batch.dispatched,
        "total_calls_scheduled": len(batch.rows),
        "total_calls_finished": batch.finished,
        "last_updated_at_unix": int(batch.updated_at),
        "status": batch.status,
        "retry_count": batch.retries,
        "telephony_call_config": {"ringing_timeout_secs": 60, "twilio_call_recording_enabled": False},
        "target_concurrency_limit": None,
        "agent_name": batch.agent_name,
        "branch_name": None,
    }


def batch_detail(batch: Batch) -> Json:
    """A batch with all of its recipients: the service does not page them."""
    return batch_row(batch) | {"recipients": [_recipient(one, batch) for one in batch.rows]}


def _recipient(one: Row, batch: Batch) -> Json:
    return {
        "id": one.id,
        "phone_number": one.plan.phone,
        "whatsapp_user_id": None,
        "status": one.status,
        "created_at_unix": int(one.created_at),
        "updated_at_unix": int(one.created_at if batch.frozen_updates else one.updated_at),
        "conversation_id": one.conversation_id,
        "conversation_initiation_client_data": {
            "conversation_config_override": {},
            "custom_llm_extra_body": {},
            "user_id": None,
            "source_info": {"source": None, "version": None},
            "branch_id": None,
            "environment": None,
            "dynamic_variables": dict(one.plan.variables),
        },
    }


def conversation(one: Conversation) -> Json:
    """A conversation in full; a post-call webhook carries the same object."""
    heard = not one.text_only and bool(one.transcript)
    over = one.status in ("done", "failed", "processing")
    return {
        "agent_id": one.agent_id,
        "agent_name": one.agent_name,
        "conversation_product": "agent",
        "status": one.status,
        "user_id": one.user_id,
        "branch_id": None,
        "version_id": None,
        "conversation_id": one.id,
        "environment": "production",
        "has_audio": heard,
        "has_user_audio": heard,
        "has_response_audio": heard,
        "has_auxiliary_audio": False,
        "transcript": [_line(line, position, one) for position, line in enumerate(one.transcript)] if over else [],
        "metadata": _metadata(one, over=over),
        "analysis": _analysis(one) if one.analysed else None,
        "conversation_initiation_client_data": {
            "conversation_config_override": {},
            "dynamic_variables": {**one.variables, "system__conversation_id": one.id},
        },
    }


def _line(line: Spoken, position: int, one: Conversation) -> Json:
    role, message = line
    return {
        "role": role,
        "message": message,
        "time_in_call_secs": 4 * position,
        "tool_calls": [],
        "tool_results": [],
        "interrupted": False,
        "source_medium": ("text" if one.text_only else "audio") if role == "user" else None,
        "original_message": None,
        "feedback": None,
        "llm_override": None,
    }


def _metadata(one: Conversation, *, over: bool) -> Json:
    return {
        "start_time_unix_secs": int(one.started_at),
        "accepted_time_unix_secs": int(one.started_at) if one.transcript else None,
        "call_duration_secs": int(one.duration) if over else 0,
        "cost": int(6 * one.duration) if over else None,
        "cost_fiat": None,
        "termination_reason": one.termination_reason,
        "error": {"code": 1011, "reason": one.error} if one.error else None,
        "warnings": [],
        "main_language": "es",
        "text_only": one.text_only,
        "timezone": _TIMEZONE,
        "authorization_method": "signed_url" if one.text_only else "public",
        "conversation_initiation_source": "unknown" if one.text_only else "twilio",
        "phone_call": _phone_call(one),
        "batch_call": {"batch_call_id": one.batch_id, "batch_call_recipient_id": one.recipient_id}
        if one.batch_id
        else None,
        "whatsapp": None,
        "sms": None,
    }


def _phone_call(one: Conversation) -> Json | None:
    if one.phone is None or one.status == "failed":
        return None
    return {
        "type": "twilio",
        "direction": "outbound",
        "phone_number_id": _PHONE_NUMBER_ID,
        "agent_number": AGENT_NUMBER,
        "external_number": one.phone,
        "stream_sid": f"MZ{one.number:032x}",
        "call_sid": f"CA{one.number:032x}",
    }


def _analysis(one: Conversation) -> Json:
    return {
        "call_successful": _verdict(one),
        "transcript_summary": one.summary,
        "call_summary_title": _title(one),
        "call_success_score": None,
        "evaluation_criteria_results": {},
        "data_collection_results": {name: _collected(name, value) for name, value in one.collected.items()},
    }


def _collected(name: str, value: object) -> Json:
    return {"data_collection_id": name, "value": value, "json_schema": None, "rationale": "stand-in"}


def conversation_row(one: Conversation, *, with_summary: bool) -> Json:
    """A conversation as the list has it."""
    roles = [role for role, message in one.transcript if message]
    return {
        "agent_id": one.agent_id,
        "agent_name": one.agent_name,
        "conversation_id": one.id,
        "start_time_unix_secs": int(one.started_at),
        "call_duration_secs": int(one.duration),
        "message_count": len(roles),
        "user_message_count": roles.count("user"),
        "agent_message_count": roles.count("agent"),
        "status": one.status,
        "termination_reason": one.termination_reason,
        "call_successful": _verdict(one),
        "transcript_summary": one.summary if with_summary and one.analysed else None,
        "call_summary_title": _title(one) if with_summary and one.analysed else None,
        "main_language": "es",
        "conversation_initiation_source": "unknown" if one.text_only else "twilio",
        "direction": None if one.text_only else "outbound",
        "tool_names": [],
        "rating": None,
    }


def _verdict(one: Conversation) -> str:
    if not one.analysed:
        return "unknown"
    return "success" if one.outcome in ("completed", "") else "failure"


def _title(one: Conversation) -> str:
    return "Conversación por texto" if one.text_only else "Llamada de campaña"


def conversation_summary(one: Conversation, max_messages: int) -> Json:
    """The small answer of `/summary`: the messages are left out when there are more than asked for."""
    over = one.status in ("done", "failed", "processing")
    lines = [line for line in one.transcript if line[1]] if over else []
    omitted = len(lines) > max_messages
    return {
        "conversation_id": one.id,
        "agent_id": one.agent_id,
        "status": one.status,
        "call_summary_title": _title(one) if one.analysed else None,
        "transcript_summary": one.summary if one.analysed else None,
        "call_successful": _verdict(one) if one.analysed else None,
        "message_count": len(lines),
        "messages": None if omitted else [{"role": role, "message": message} for role, message in lines],
        "messages_omitted": omitted,
        "note": "",
    }


def agent(one: Agent) -> Json:
    """An agent's settings in full."""
    return {
        "agent_id": one.agent_id,
        "name": one.name,
        "conversation_config": {
            "turn": {"turn_timeout": 7.0, "silence_end_call_timeout": -1.0, "mode": "turn"},
            "conversation": {
                "text_only": one.text_only,
                "max_duration_seconds": int(one.max_duration),
                "client_events": list(one.client_events),
                **_file_input(one),
            },
            "agent": {
                "first_message": one.first_message,
                "language": one.language,
                "dynamic_variables": {"dynamic_variable_placeholders": dict(one.placeholders)},
                "prompt": {
                    "prompt": one.prompt,
                    "llm": "gemini-2.5-flash",
                    "temperature": 0.0,
                    "tools": [dict(tool) for tool in one.tools],
                    "tool_ids": list(one.tool_ids),
                    "mcp_server_ids": list(one.mcp_server_ids),
                    "native_mcp_server_ids": [],
                },
            },
        },
        "metadata": {"created_at_unix_secs": 1_760_000_000, "updated_at_unix_secs": 1_760_000_000},
        "platform_settings": {
            "auth": {"enable_auth": one.enable_auth, "allowlist": [], "shareable_token": None},
            "overrides": {
                "conversation_config_override": permissions(one.overrides),
                "custom_llm_extra_body": False,
                "enable_conversation_initiation_client_data_from_webhook": False,
            },
        },
        "phone_numbers": [],
        "tags": [],
    }


def _file_input(one: Agent) -> Json:
    if one.file_input is None:
        return {}
    return {"file_input": {"enabled": one.file_input, "max_files_per_conversation": one.max_files}}


def transcription(text: str, language: str, seconds: float, number: str) -> Json:
    """The answer of speech-to-text; the words share the recording's time evenly."""
    words = text.split()
    step = seconds / len(words) if words else 0.0
    return {
        "language_code": language,
        "language_probability": 0.98,
        "text": text,
        "words": [
            {
                "text": word,
                "start": round(place * step, 2),
                "end": round((place + 1) * step, 2),
                "type": "word",
                "speaker_id": None,
                "logprob": -0.1,
            }
            for place, word in enumerate(words)
        ],
        "transcription_id": number,
        "audio_duration_secs": seconds,
    }


def permissions(allowed: frozenset[str]) -> Json:
    """The tree of overrides that an agent permits, each a flag; all are false by default."""

    def flags(prefix: str, *names: str) -> Json:
        return {name: f"{prefix}.{name}" in allowed for name in names}

    return {
        "conversation": flags("conversation", "text_only", "max_duration_seconds"),
        "agent": {
            **flags("agent", "first_message", "language", "max_conversation_duration_message"),
            "prompt": flags("agent.prompt", "prompt", "llm", "tool_ids", "native_mcp_server_ids", "knowledge_base"),
        },
        "tts": flags("tts", "voice_id", "stability", "speed", "similarity_boost"),
    }


def error(status: int, code: str, message: str) -> Json:
    """A refusal in the service's present form; the HTTP status picks its type."""
    detail: Mapping[str, object] = {
        "type": _TYPES.get(status, "internal_error" if status >= 500 else "invalid_request"),
        "code": code,
        "message": message,
        "status": code,
        "request_id": "req_standin",
        "param": None,
    }
    return {"detail": detail}


def invalid(place: str, name: str, message: str) -> Json:
    """A refusal of the framework's own validation, status 422."""
    return {"detail": [{"loc": [place, name], "msg": message, "type": "value_error"}]}


def webhook(kind: str, data: Json, now: Moment) -> Json:
    """A post-call webhook."""
    return {"type": kind, "event_timestamp": int(now), "data": data}


def initiation_failure(one: Conversation, reason: str) -> Json:
    """The body of the `call_initiation_failure` webhook, with the telephony provider's own report."""
    return {
        "agent_id": one.agent_id,
        "conversation_id": one.id,
        "failure_reason": reason,
        "metadata": {
            "type": "twilio",
            "body": {
                "CallSid": f"CA{one.number:032x}",
                "CallStatus": reason,
                "From": AGENT_NUMBER,
                "To": one.phone or "",
                "Direction": "outbound-api",
                "CallDuration": "0",
            },
        },
    }
