"""The events that an agent's session sends, as JSON objects. Pure.

Shapes: the service's WebSocket contract ("server to client" messages).
"""

from __future__ import annotations

Event = dict[str, object]


def metadata(conversation_id: str) -> Event:
    """The first event of every session."""
    body = {
        "conversation_id": conversation_id,
        "agent_output_audio_format": "pcm_16000",
        "user_input_audio_format": "pcm_16000",
    }
    return {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": body}


def ping(event_id: int) -> Event:
    """Asks for a pong of the same id."""
    return {"type": "ping", "ping_event": {"event_id": event_id, "ping_ms": None}}


def response(text: str, event_id: int) -> Event:
    """A whole answer, or one part of a turn's answer."""
    return {"type": "agent_response", "agent_response_event": {"agent_response": text, "event_id": event_id}}


def part(kind: str, text: str, event_id: int) -> Event:
    """A piece of an answer that is still being written: `start`, `delta` or `stop`."""
    body = {"type": kind, "text": text, "event_id": event_id}
    return {"type": "agent_chat_response_part", "text_response_part": body}


def correction(original: str, corrected: str, event_id: int) -> Event:
    """Takes an answer back for another one."""
    body = {"original_agent_response": original, "corrected_agent_response": corrected, "event_id": event_id}
    return {"type": "agent_response_correction", "agent_response_correction_event": body}


def complete(event_id: int) -> Event:
    """The end of a turn, where the agent announces it."""
    return {"type": "agent_response_complete", "agent_response_complete_event": {"event_id": event_id}}


def tool_request(name: str, call_id: str, event_id: int, kind: str = "webhook") -> Event:
    """The agent calls a tool on the service's side."""
    body = {"tool_name": name, "tool_call_id": call_id, "tool_type": kind, "event_id": event_id}
    return {"type": "agent_tool_request", "agent_tool_request": body}


def tool_response(name: str, call_id: str, event_id: int, kind: str = "webhook", *, is_error: bool = False) -> Event:
    """The result of a tool."""
    body = {
        "tool_name": name,
        "tool_call_id": call_id,
        "tool_type": kind,
        "is_error": is_error,
        "is_called": True,
        "event_id": event_id,
    }
    return {"type": "agent_tool_response", "agent_tool_response": body}


def client_tool_call(name: str, call_id: str, event_id: int) -> Event:
    """The agent calls a tool of the client and waits for its result."""
    body = {
        "tool_name": name,
        "tool_call_id": call_id,
        "parameters": {"plan": "Premium"},
        "event_id": event_id,
        "expects_response": True,
    }
    return {"type": "client_tool_call", "client_tool_call": body}


def mcp_tool_call(name: str, call_id: str, state: str, now: str = "2026-11-22T15:00:00Z") -> Event:
    """The agent calls a tool of an MCP server: `loading`, then `success` or `failure`."""
    body: Event = {
        "service_id": "mcp_standin",
        "tool_call_id": call_id,
        "tool_name": name,
        "tool_description": None,
        "parameters": {"plan": "Premium"},
        "timestamp": now,
        "state": state,
    }
    if state == "success":
        body["result"] = [{"type": "text", "text": "ok"}]
    elif state == "failure":
        body["error_message"] = "The tool failed"
    return {"type": "mcp_tool_call", "mcp_tool_call": body}


def queue_status(status: str) -> Event:
    """The session's state in the queue for capacity: `waiting`, `admitted` or `timed_out`."""
    return {"type": "queue_status", "queue_status_event": {"status": status}}


def error(code: int, error_type: str, reason: str) -> Event:
    """The reason why the session is about to be closed."""
    body = {
        "code": code,
        "message": reason,
        "error_type": error_type,
        "reason": reason,
        "debug_message": None,
        "details": None,
    }
    return {"type": "error", "error_event": body}
