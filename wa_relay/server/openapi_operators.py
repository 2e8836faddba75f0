"""The description of the routes with which operators work, and of the objects that they share with the others."""

from __future__ import annotations

from wa_relay.reports.conversation_list import STATES
from wa_relay.server.openapi_parts import (
    MAYBE_MOMENT,
    MAYBE_TEXT,
    MAYBE_WHOLE,
    MOMENT,
    NUMBER,
    TEXT,
    WHOLE,
    Json,
    answer,
    errors,
    query,
    record,
    ref,
)

FLAG: Json = {"type": "boolean"}
DONE = record({"success": {"const": True}})
CUSTOMER: Json = {
    "name": "phone",
    "in": "path",
    "required": True,
    "schema": {**TEXT, "examples": ["+573138539155", "CO.1A2b3C"]},
}
ACCESS: list[Json] = [{"token": []}, {"session": []}]
"""The service token, or a session of the console with the role for it."""


def paths() -> Json:
    """The paths by which conversations are listed, taken over, given back and written in."""
    one = "/api/conversations/{phone}"
    return {
        "/api/conversations": {"get": _list()},
        f"{one}/messages": {"post": _write()},
        f"{one}/takeover": {"post": _take_over()},
        f"{one}/release": {"post": _change("Give the conversation back to the agent")},
        f"{one}/read": {"post": _change("Note that an operator has looked")},
        f"{one}/opt-out": {"post": _change("Opt the customer out")},
        "/api/messages/{id}/resolve": {"post": _resolve()},
        "/api/pause": {"post": _simple("Hold openings", DONE)},
        "/api/resume": {"post": _simple("Let held openings go out", record({**_success(), "waiting": WHOLE}))},
    }


def message() -> Json:
    """A message of a thread."""
    return record(
        {
            "id": WHOLE,
            "direction": {"enum": ["inbound", "outbound"]},
            "kind": {"enum": ["opening", "reply", "customer", "notice", "human"]},
            "content": TEXT,
            "twilio_message_id": MAYBE_TEXT,
            "status": TEXT,
            "error_code": MAYBE_TEXT,
            "reason": MAYBE_TEXT,
            "sent_at": MAYBE_MOMENT,
            "author": MAYBE_TEXT,
            "attachment": {"anyOf": [_attachment(), {"type": "null"}]},
            "reply_to": MAYBE_WHOLE,
            "referral": {"anyOf": [_referral(), {"type": "null"}]},
        }
    )


def _attachment() -> Json:
    kinds = ["audio", "image", "video", "document", "sticker", "contact", "location", "reaction", "other"]
    properties = {"type": {"enum": kinds}, "latitude": NUMBER, "longitude": NUMBER, "seconds": NUMBER}
    properties |= dict.fromkeys(("content_type", "media_id", "name", "transcript"), MAYBE_TEXT)
    return record(properties, ("type",))


def _referral() -> Json:
    return record(dict.fromkeys(("headline", "body", "source_url", "source_type", "source_id"), TEXT))


def file() -> Json:
    """The route of customers' files."""
    media_id = {"name": "media_id", "in": "path", "required": True, "schema": TEXT}
    return {
        "summary": "A file that a customer sent, as a download",
        "security": [{"token": []}, {"session": []}],
        "parameters": [media_id],
        "responses": {
            "200": {"description": "The file, with its own type", "content": {"*/*": {"schema": {}}}},
            **errors(401, 404, 503),
        },
    }


def listed() -> Json:
    """A conversation in the list."""
    return record({**_overview(), "last_message": {"anyOf": [ref("Message"), {"type": "null"}]}})


def thread() -> Json:
    """A conversation with its calls and messages."""
    call = {"elevenlabs_conversation_id": TEXT, "outcome": TEXT, "ended_at": MAYBE_MOMENT}
    call |= dict.fromkeys(("batch_id", "batch_name", "group_name"), MAYBE_TEXT)
    lists = {
        "calls": {"type": "array", "items": record(call)},
        "messages": {"type": "array", "items": ref("Message")},
    }
    return record({**_overview(), **lists})


def _overview() -> Json:
    customer = {"conversation_id": TEXT, "phone_number": TEXT, "client_name": MAYBE_TEXT}
    customer |= {"status": {"enum": ["active", "opted_out"]}, "started_at": MOMENT, "last_message_at": MOMENT}
    customer |= dict.fromkeys(("elevenlabs_conversation_id", "agent_id", "call_summary", "sender"), MAYBE_TEXT)
    handler = {
        "handler": {"enum": ["agent", "human", "muted"]},
        "handler_until": MAYBE_MOMENT,
        "handler_reason": {
            "enum": [
                *("console", "api", "cli", "keyword", "tool", "failure", "repeats_itself", "too_many_turns", None),
            ]
        },
        "handler_by": MAYBE_TEXT,
        "waiting": FLAG,
        "window_ends_at": MAYBE_MOMENT,
        "unread": WHOLE,
        "unanswered_since": MAYBE_MOMENT,
    }
    return {**customer, "message_count": WHOLE, "addresses": {"type": "array", "items": TEXT}, **handler}


def _list() -> Json:
    page = record({"conversations": {"type": "array", "items": ref("ListedConversation")}, "next": MAYBE_TEXT})
    return {
        "summary": "The conversations, latest activity first",
        "security": ACCESS,
        "parameters": [
            query("state", {"type": "string", "enum": list(STATES)}),
            query("q", {"type": "string"}),
            query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
            query("before", {"type": "string", "description": "The `next` of another page"}),
        ],
        "responses": {"200": answer("A page", page), **errors(401, 403, 422, 503)},
    }


def _write() -> Json:
    variables = {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
    body = {
        "oneOf": [
            {**record({"text": {"type": "string", "minLength": 1, "maxLength": 1600}}), "additionalProperties": True},
            {
                **record({"content_sid": TEXT, "content_variables": variables, "anyway": FLAG}, ("content_sid",)),
                "additionalProperties": True,
            },
        ]
    }
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    stored = record({**_success(), "message": ref("Message")})
    return {
        "summary": "Send a message as an operator, which takes the conversation over",
        "security": ACCESS,
        "parameters": [CUSTOMER, key],
        "requestBody": _body(body),
        "responses": {
            "200": answer("Stored, and due at once", stored),
            **errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
        },
    }


def _take_over() -> Json:
    hours = record({"hours": {"type": "number", "exclusiveMinimum": 0, "maximum": 720}}, ())
    return _change("Take the conversation over") | {"requestBody": _body(hours) | {"required": False}}


def _change(summary: str) -> Json:
    return {
        "summary": summary,
        "security": ACCESS,
        "parameters": [CUSTOMER],
        "responses": {
            "200": answer("The conversation, as in the list", ref("ListedConversation")),
            **errors(400, 401, 403, 404, 413, 415, 422, 503),
        },
    }


def _resolve() -> Json:
    body = record({"decision": {"enum": ["sent", "resend", "cancel"]}, "sid": TEXT}, ("decision",))
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
    return {
        "summary": "Decide a send whose outcome is unknown",
        "security": ACCESS,
        "parameters": [number],
        "requestBody": _body(body),
        "responses": {
            "200": answer("Decided", record({**_success(), "status": TEXT})),
            **errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
        },
    }


def _simple(summary: str, result: Json) -> Json:
    return {
        "summary": summary,
        "security": ACCESS,
        "responses": {"200": answer("Done", result), **errors(401, 403, 413, 415, 503)},
    }


def _success() -> Json:
    return {"success": {"const": True}}


def _body(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
