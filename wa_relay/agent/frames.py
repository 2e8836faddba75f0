"""The frames that a client may send in an ElevenLabs text session, as JSON text.

Shapes: the service's WebSocket contract ("client to server" messages).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from wa_relay.model import Scalar

Frame = str

_HANDED_OVER = "A person of the team has been asked for and will write in this chat."
_NOT_AVAILABLE = "The tool {name!r} is not available in this channel (WhatsApp text): answer without it."


def initiation(variables: Mapping[str, Scalar], *, text_only: bool) -> Frame:
    """Opens the session; must be the first frame. `text_only` asks for the override of that name.

    Every other override is forbidden by an agent unless its owner allows it, and using a
    forbidden one ends the session with 1008, so the relay sends none.
    """
    first: dict[str, object] = {"type": "conversation_initiation_client_data", "dynamic_variables": dict(variables)}
    if text_only:
        first["conversation_config_override"] = {"conversation": {"text_only": True}}
    return json.dumps(first)


def contextual_update(text: str) -> Frame:
    """Gives the agent context that it does not answer."""
    return json.dumps({"type": "contextual_update", "text": text})


def user_message(text: str) -> Frame:
    """Sends `text` as the customer's message."""
    return json.dumps({"type": "user_message", "text": text})


def multimodal_message(text: str, file_ids: Sequence[str]) -> Frame:
    """Sends uploaded files as the customer's message, with `text` if there is any."""
    frame: dict[str, object] = {"type": "multimodal_message"}
    if text:
        frame["text"] = {"type": "user_message", "text": text}
    files = [{"type": "file_input", "file_id": file_id} for file_id in file_ids]
    frame |= {"file": files[0]} if len(files) == 1 else {"files": files}
    return json.dumps(frame)


def pong(event_id: object) -> Frame:
    """Answers the ping of that id."""
    return json.dumps({"type": "pong", "event_id": event_id})


def tool_result(tool_call_id: str, tool_name: str, *, hands_over: bool) -> Frame:
    """Answers a client tool call: with success for the tool by which the agent requests a person.

    All others get an error message, so that the agent continues without the tool.
    """
    result = _HANDED_OVER if hands_over else _NOT_AVAILABLE.format(name=tool_name)
    return json.dumps(
        {"type": "client_tool_result", "tool_call_id": tool_call_id, "result": result, "is_error": not hands_over}
    )


def tool_not_approved(tool_call_id: str) -> Frame:
    """Refuses an MCP tool call that waits for approval, because no user is there to approve it."""
    return json.dumps({"type": "mcp_tool_approval_result", "tool_call_id": tool_call_id, "is_approved": False})
