"""The description of the HTTP API (OpenAPI 3.1) that `GET /openapi.json` returns."""

from __future__ import annotations

from functools import cache
from typing import Any

from wa_relay import __version__

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
MAYBE_TEXT: Json = {"type": ["string", "null"]}
NUMBER: Json = {"type": ["number", "null"]}
WHOLE: Json = {"type": "integer"}
MAYBE_WHOLE: Json = {"type": ["integer", "null"]}
MOMENT: Json = {"type": "string", "format": "date-time"}
MAYBE_MOMENT: Json = {"type": ["string", "null"], "format": "date-time"}
PHONE: Json = {"type": "string", "pattern": r"^\+[1-9][0-9]{7,14}$", "examples": ["+573138539155"]}


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
            "/api/stats": {"get": _stats()},
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
                "twilio": {"type": "apiKey", "in": "header", "name": "X-Twilio-Signature"},
                "elevenlabs": {"type": "apiKey", "in": "header", "name": "ElevenLabs-Signature"},
            },
            "schemas": {"Error": _error(), "Call": _call(), "CallResult": _call_result(), "Conversation": _thread()},
        },
    }


def _object(properties: Json, required: tuple[str, ...] | None = None) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int) -> Json:
    text = {
        400: "The body is not valid JSON, or the request is not valid HTTP",
        401: "The token is missing or wrong",
        403: "The signature does not match, or the form is for another account",
        404: "No conversation with this number",
        409: "The call is known with another phone",
        413: "The body is too large",
        415: "The body has another media type",
        422: "Fields are missing or invalid",
        502: "Twilio refused, or did not accept within 10 s",
        503: "It could not be stored within 2 s: try again",
    }
    return {str(status): _json(text[status], _ref("Error")) for status in statuses}


def _call_completed() -> Json:
    results = {
        "200": _json(
            "The call's state: sent, failed, skipped, or its current state if it was known", _ref("CallResult")
        ),
        "202": _json("Stored; the opening will be sent, or its outcome is not known yet", _ref("CallResult")),
    }
    return {
        "summary": "Report a finished phone call",
        "security": [{"token": []}, {"push_token": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Call")}}},
        "responses": {**results, **_errors(400, 401, 409, 413, 415, 422, 503)},
    }


def _test_whatsapp() -> Json:
    result = _object({"success": {"const": True}, "whatsapp_message_id": MAYBE_TEXT, "status": TEXT})
    body = _object({"to": PHONE, "message": {"type": "string", "minLength": 1, "maxLength": 1600}})
    return {
        "summary": "Send one message that is part of no conversation",
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _json("Accepted, or `uncertain`", result),
            **_errors(400, 401, 413, 415, 422, 502, 503),
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
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
        _query("before", {"type": "integer", "minimum": 1}),
    ]
    return {
        "summary": "One customer's calls and thread",
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {"200": _json("The conversation", _ref("Conversation")), **_errors(401, 404, 422, 503)},
    }


def _stats() -> Json:
    parameters = [
        _query("since", {"type": "string", "examples": ["2026-11-01", "7d"]}),
        _query("until", {"type": "string", "examples": ["2026-11-30"]}),
        _query("by", {"type": "string", "enum": ["day", "batch", "group", "agent"]}),
    ]
    return {
        "summary": "The report",
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {"200": _json("The figures", _report()), **_errors(401, 422, 503)},
    }


def _twilio(summary: str, status: str, text: str) -> Json:
    form = {"application/x-www-form-urlencoded": {"schema": {"type": "object", "additionalProperties": TEXT}}}
    return {
        "summary": summary,
        "security": [{"twilio": []}],
        "requestBody": {"required": True, "content": form},
        "responses": {status: {"description": text}, **_errors(400, 403, 413, 415, 422, 503)},
    }


def _post_call() -> Json:
    return {
        "summary": "ElevenLabs' post-call webhook",
        "security": [{"elevenlabs": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            "200": _json("Accepted", _object({"success": {"const": True}})),
            **_errors(400, 403, 413, 415, 422, 503),
        },
    }


def _health() -> Json:
    # Null if the database does not answer.
    queue = _object(dict.fromkeys(("pending", "uncertain", "dead"), MAYBE_WHOLE) | {"oldest_seconds": NUMBER})
    poller = _object({"enabled": {"type": "boolean"}, "last_success_at": MAYBE_MOMENT, "consecutive_failures": WHOLE})
    upstream = _object({"status": {"enum": ["ok", "away"]}, "consecutive_failures": WHOLE})
    health = _object(
        {
            "status": {"enum": ["ok", "degraded", "down"]},
            "version": TEXT,
            "instance": TEXT,
            "uptime_seconds": {"type": "number"},
            "database": TEXT,
            "paused": {"enum": [None, "operator", "burst", "account"]},
            "queue": queue,
            "poller": poller,
            "upstreams": _object({"twilio": upstream, "elevenlabs": upstream}),
        },
        ("status", "version", "instance", "uptime_seconds", "database", "paused", "queue", "upstreams"),
    )
    return {
        "summary": "The daemon's health; `poller` only for this machine or with the token",
        "security": [{}, {"token": []}],
        "responses": {"200": _json("It works", health), "503": _json("Nothing can be stored", health)},
    }


def _metrics() -> Json:
    figures = {"description": "The metrics", "content": {"text/plain": {"schema": TEXT}}}
    return {
        "summary": "Metrics for Prometheus; for this machine or with the token",
        "security": [{}, {"token": []}],
        "responses": {"200": figures, **_errors(401)},
    }


def _openapi() -> Json:
    return {
        "summary": "This description",
        "security": [],
        "responses": {"200": _json("The description", {"type": "object"})},
    }


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _error() -> Json:
    field = _object({"path": TEXT, "message": TEXT})
    return _object(
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
    recipient = _object(
        {
            "id": TEXT,
            "phone_number": PHONE,
            "status": TEXT,
            "conversation_id": MAYBE_TEXT,
            "variables": {"type": "object"},
        },
        ("phone_number", "status"),
    )
    metadata = _object(
        {
            "client_name": MAYBE_TEXT,
            "client_id": {"type": ["integer", "string", "null"]},
            "group_id": {"type": ["integer", "string", "null"]},
            "group_name": MAYBE_TEXT,
        },
        (),
    )
    return _object(
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
    return _object(
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


def _thread() -> Json:
    call = {"elevenlabs_conversation_id": TEXT, "outcome": TEXT, "ended_at": MAYBE_MOMENT}
    call |= dict.fromkeys(("batch_id", "batch_name", "group_name"), MAYBE_TEXT)
    message = {
        "id": WHOLE,
        "direction": {"enum": ["inbound", "outbound"]},
        "kind": {"enum": ["opening", "reply", "customer", "notice"]},
        "content": TEXT,
        "twilio_message_id": MAYBE_TEXT,
        "status": TEXT,
        "error_code": MAYBE_TEXT,
        "reason": MAYBE_TEXT,
        "sent_at": MAYBE_MOMENT,
    }
    person = {"conversation_id": TEXT, "phone_number": TEXT, "client_name": MAYBE_TEXT}
    person |= {"status": {"enum": ["active", "opted_out"]}, "started_at": MOMENT, "last_message_at": MOMENT}
    person |= dict.fromkeys(("elevenlabs_conversation_id", "agent_id", "call_summary"), MAYBE_TEXT)
    lists = {
        "addresses": {"type": "array", "items": TEXT},
        "calls": {"type": "array", "items": _object(call)},
        "messages": {"type": "array", "items": _object(message)},
    }
    return _object({**person, "message_count": WHOLE, **lists})


def _report() -> Json:
    openings = dict.fromkeys(("queued", "sent", "delivered", "read", "failed", "uncertain", "cancelled"), WHOLE)
    turns = {"answered": WHOLE, "failed": WHOLE, "median_seconds": NUMBER, "p95_seconds": NUMBER}
    failure = _object({"code": TEXT, "meaning": TEXT, "count": WHOLE})
    return _object(
        {
            "since": MAYBE_MOMENT,
            "until": MAYBE_MOMENT,
            "calls": WHOLE,
            "skipped": {"type": "object", "additionalProperties": WHOLE},
            "openings": _object(openings),
            "replied": WHOLE,
            "reply_rate": NUMBER,
            "median_first_reply_seconds": NUMBER,
            "messages": _object({"inbound": WHOLE, "outbound": WHOLE}),
            "turns": _object(turns),
            "opted_out": WHOLE,
            "failures": {"type": "array", "items": failure},
            "groups": {"type": "array", "items": {"type": "object"}},
        }
    )
