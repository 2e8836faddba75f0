"""The JSON responses that several routes share."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

from wa_relay.standins.elevenlabs import shapes

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_response(content: Mapping[str, object], status: int = 200) -> web.Response:
    """A response in JSON."""
    return web.Response(body=encode(content).encode(), status=status, content_type="application/json")


def refusal(status: int, code: str, message: str) -> web.Response:
    """A refusal in the service's form."""
    return json_response(shapes.error(status, code, message), status)


def no_agent(agent_id: str) -> web.Response:
    """404 for an agent."""
    return refusal(404, "agent_not_found", f"Agent {agent_id} not found")


def no_conversation(conversation_id: str) -> web.Response:
    """404 for a conversation."""
    return refusal(404, "conversation_not_found", f"Conversation {conversation_id} not found")
