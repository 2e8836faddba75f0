"""The description of the HTTP API (OpenAPI 3.1) that `GET /openapi.json` returns."""

from __future__ import annotations

from functools import cache

from wa_relay import __version__
from wa_relay.server import openapi_operators as operators
from wa_relay.server.openapi_parts import (
    MAYBE_MOMENT,
    MAYBE_TEXT,
    MAYBE_WHOLE,
    MOMENT,
    NUMBER,
    PHONE,
    TEXT,
    WHOLE,
    Json,
    answer,
    errors,
    query,
    record,
    ref,
)

STOPPED_TEMPLATE = record({"content_sid": TEXT, "error_code": MAYBE_TEXT, "since": MOMENT})


@cache
def description() -> Json:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wa-relay",
            "version": __version__,
            "description": "Continues the calls of ElevenLabs voice agents over WhatsApp.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/api/call-completed": {"post": _call_completed()},
            "/api/test-whatsapp": {"post": _test_whatsapp()},
            "/api/conversations/{phone}": {"get": _conversation()},
            **operators.paths(),
            "/api/media/{media_id}": {"get": operators.file()},
            "/api/stats": {"get": _stats()},
            "/api/events": {"get": _events()},
            "/webhook/twilio/incoming": {"post": _twilio("A customer's message", "200", "An empty TwiML response")},
            "/webhook/twilio/status": {"post": _twilio("A delivery receipt", "204", "Stored")},
            "/webhook/elevenlabs/post-call": {"post": _post_call()},
            "/health": {"get": _health()},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _openapi()},
        },
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Service-Token"},
                "push_token": {"type": "apiKey", "in": "header", "name": "X-Service-Token"},
                "session": {"type": "apiKey", "in": "cookie", "name": "wa_relay_session"},
                "twilio": {"type": "apiKey", "in": "header", "name": "X-Twilio-Signature"},
                "elevenlabs": {"type": "apiKey", "in": "header", "name": "ElevenLabs-Signature"},
            },
            "schemas": {
                "Error": _error(),
                "Call": _call(),
                "CallResult": _call_result(),
                "Conversation": operators.thread(),
                "ListedConversation": operators.listed(),
                "Message": operators.message(),
            },
        },
    }


def _call_completed() -> Json:
    results = {
        "200": answer(
            "The call's state: sent, failed, skipped, or its current state if it was known", ref("CallResult")
        ),
        "202": answer("Stored; the opening will be sent, or its outcome is not known yet", ref("CallResult")),
    }
    return {
        "summary": "Report a finished phone call",
        "security": [{"token": []}, {"push_token": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Call")}}},
        "responses": {**results, **errors(400, 401, 409, 413, 415, 422, 503)},
    }


def _test_whatsapp() -> Json:
    result = record({"success": {"const": True}, "whatsapp_message_id": MAYBE_TEXT, "status": TEXT})
    body = record({"to": PHONE, "message": {"type": "string", "minLength": 1, "maxLength": 1600}})
    return {
        "summary": "Send one message that is part of no conversation",
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": answer("Accepted, or `uncertain`", result),
            **errors(400, 401, 413, 415, 422, 502, 503),
        },
    }


def _events() -> Json:
    seen = {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": TEXT,
        "description": "Continues after this event, up to 24 hours back",
    }
    return {
        "summary": "Follow what happens: messages, their statuses, calls and handlers",
        "security": [{"token": []}],
        "parameters": [seen],
        "responses": {
            "200": {
                "description": "Server-sent events (`message`, `status`, `call`, `handler`) with an id and JSON data",
                "content": {"text/event-stream": {"schema": TEXT}},
            },
            **errors(401, 503),
        },
    }


def _conversation() -> Json:
    parameters = [
        {
            "name": "phone",
            "in": "path",
            "required": True,
            "schema": {**TEXT, "examples": ["+573138539155", "CO.1A2b3C"]},
        },
        query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
        query("before", {"type": "integer", "minimum": 1}),
    ]
    return {
        "summary": "One customer's calls and thread",
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {"200": answer("The conversation", ref("Conversation")), **errors(401, 404, 422, 503)},
    }


def _stats() -> Json:
    parameters = [
        query("since", {"type": "string", "examples": ["2026-11-01", "7d"]}),
        query("until", {"type": "string", "examples": ["2026-11-30"]}),
        query("by", {"type": "string", "enum": ["day", "batch", "group", "agent", "conversation"]}),
    ]
    return {
        "summary": "The report",
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {"200": answer("The figures", _report()), **errors(401, 422, 503)},
    }


def _twilio(summary: str, status: str, text: str) -> Json:
    form = {"application/x-www-form-urlencoded": {"schema": {"type": "object", "additionalProperties": TEXT}}}
    return {
        "summary": summary,
        "security": [{"twilio": []}],
        "requestBody": {"required": True, "content": form},
        "responses": {status: {"description": text}, **errors(400, 403, 413, 415, 422, 503)},
    }


def _post_call() -> Json:
    return {
        "summary": "ElevenLabs' post-call webhook",
        "security": [{"elevenlabs": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            "200": answer("Accepted", record({"success": {"const": True}})),
            **errors(400, 403, 413, 415, 422, 503),
        },
    }


def _health() -> Json:
    # Null if the database does not answer.
    queue = record(dict.fromkeys(("pending", "uncertain", "dead"), MAYBE_WHOLE) | {"oldest_seconds": NUMBER})
    poller = record({"enabled": {"type": "boolean"}, "last_success_at": MAYBE_MOMENT, "consecutive_failures": WHOLE})
    upstream = record({"status": {"enum": ["ok", "away"]}, "consecutive_failures": WHOLE})
    health = record(
        {
            "status": {"enum": ["ok", "degraded", "down"]},
            "version": TEXT,
            "instance": TEXT,
            "uptime_seconds": {"type": "number"},
            "database": TEXT,
            "paused": {"enum": [None, "operator", "burst", "account"]},
            "queue": queue,
            "poller": poller,
            "templates": {"type": "array", "items": STOPPED_TEMPLATE},
            "upstreams": record({"twilio": upstream, "elevenlabs": upstream}),
        },
        ("status", "version", "instance", "uptime_seconds", "database", "paused", "queue", "upstreams"),
    )
    return {
        "summary": "The daemon's health; `poller` and `templates` only for this machine or with the token",
        "security": [{}, {"token": []}],
        "responses": {"200": answer("It works", health), "503": answer("Nothing can be stored", health)},
    }


def _metrics() -> Json:
    figures = {"description": "The metrics", "content": {"text/plain": {"schema": TEXT}}}
    return {
        "summary": "Metrics for Prometheus; for this machine or with the token",
        "security": [{}, {"token": []}],
        "responses": {"200": figures, **errors(401)},
    }


def _openapi() -> Json:
    return {
        "summary": "This description",
        "security": [],
        "responses": {"200": answer("The description", {"type": "object"})},
    }


def _error() -> Json:
    field = record({"path": TEXT, "message": TEXT})
    return record(
        {
            "success": {"const": False},
            "error": TEXT,
            "message": TEXT,
            "fields": {"type": "array", "items": field},
            "error_code": MAYBE_TEXT,
        },
        ("success", "error", "message", "fields"),
    )


def _call() -> Json:
    recipient = record(
        {
            "id": TEXT,
            "phone_number": PHONE,
            "status": TEXT,
            "conversation_id": MAYBE_TEXT,
            "variables": {"type": "object"},
        },
        ("phone_number", "status"),
    )
    metadata = record(
        {
            "client_name": MAYBE_TEXT,
            "client_id": {"type": ["integer", "string", "null"]},
            "group_id": {"type": ["integer", "string", "null"]},
            "group_name": MAYBE_TEXT,
        },
        (),
    )
    return record(
        {
            "agent_id": TEXT,
            "agent_name": MAYBE_TEXT,
            "batch_id": MAYBE_TEXT,
            "batch_name": MAYBE_TEXT,
            "conversation_id": MAYBE_TEXT,
            "ended_at_unix": {"type": "number"},
            "recipient": recipient,
            "call_metadata": metadata,
        },
        ("agent_id", "recipient"),
    )


def _call_result() -> Json:
    return record(
        {
            "success": {"const": True},
            "status": {"enum": ["message_sent", "message_queued", "message_failed", "skipped"]},
            "conversation_id": {"type": ["string", "null"], "examples": ["conv_local_123"]},
            "whatsapp_message_id": MAYBE_TEXT,
            "elevenlabs_conversation_id": TEXT,
            "duplicate": {"type": "boolean"},
            "reason": {
                "enum": [
                    "outcome_not_followed",
                    "opted_out",
                    "too_old",
                    "recent_opening",
                    "too_short",
                    "condition",
                    "handed_over",
                    "not_finished",
                ]
            },
            "error_code": TEXT,
            "error_message": TEXT,
        },
        ("success", "status", "conversation_id", "whatsapp_message_id", "elevenlabs_conversation_id", "duplicate"),
    )


def _report() -> Json:
    openings = dict.fromkeys(("queued", "sent", "delivered", "read", "failed", "uncertain", "cancelled"), WHOLE)
    turns = {"answered": WHOLE, "failed": WHOLE, "median_seconds": NUMBER, "p95_seconds": NUMBER}
    failure = record({"code": TEXT, "meaning": TEXT, "count": WHOLE})
    loss = record({"stage": TEXT, "reason": TEXT, "count": WHOLE, "meaning": TEXT})
    return record(
        {
            "since": MAYBE_MOMENT,
            "until": MAYBE_MOMENT,
            "calls": WHOLE,
            "skipped": {"type": "object", "additionalProperties": WHOLE},
            "openings": record(openings),
            "replied": WHOLE,
            "reply_rate": NUMBER,
            "median_first_reply_seconds": NUMBER,
            "messages": record({"inbound": WHOLE, "outbound": WHOLE}),
            "turns": record(turns),
            "costs": record(
                {"turns": WHOLE, "parts": WHOLE, "templates": {"type": "object", "additionalProperties": WHOLE}}
            ),
            "opted_out": WHOLE,
            "failures": {"type": "array", "items": failure},
            "losses": {"type": "array", "items": loss},
            "steps": record({"median_seconds": record(dict.fromkeys(("sent", "delivered", "read"), NUMBER))}),
            "templates": {"type": "array", "items": STOPPED_TEMPLATE},
            "groups": {"type": "array", "items": {"type": "object"}},
        }
    )
