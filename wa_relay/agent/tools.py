"""The tools of one session: which are running, whether one was called, whether the agent chose silence by one. Pure.

Shapes: `client_tool_call`, `agent_tool_request`, `agent_tool_response` and `mcp_tool_call` of the service's WebSocket
contract. Each may be missing from the events that an agent sends.
"""

from __future__ import annotations

from wa_relay.elevenlabs.session_events import Body, text_of

SILENCING = frozenset({"skip_turn", "end_call"})
"""System tools by which an agent says nothing more in this turn."""

_MCP_ENDED = frozenset({"awaiting_approval", "success", "failure"})


class Tools:
    """Follows the tools of one session.

    `called` is true once a tool was called that may change something in the world; the service's own system tools
    change nothing. `silenced` is true once the agent skipped its turn or ended the call.
    """

    def __init__(self) -> None:
        self.called = False
        self.silenced = False
        self._running: set[str] = set()

    @property
    def running(self) -> bool:
        """True while the end of a tool is awaited."""
        return bool(self._running)

    def client_called(self) -> None:
        """Takes in a `client_tool_call`: the client is to run it."""
        self.called = True

    def requested(self, body: Body, *, asked: bool) -> None:
        """Takes in an `agent_tool_request`; its end is awaited if the question has been `asked`."""
        if self._is_system(body):
            self._silence(body)
            return
        self.called = True
        if asked:
            self._running.add(text_of(body, "tool_call_id") or "")

    def responded(self, body: Body) -> bool:
        """Takes in an `agent_tool_response`. Returns True if the agent will speak again because of it."""
        self._running.discard(text_of(body, "tool_call_id") or "")
        if self._is_system(body):
            self._silence(body)
            return False
        self.called = True
        return True

    def mcp_called(self, body: Body, *, asked: bool) -> bool:
        """Takes in an `mcp_tool_call` in any state. Returns True if it is over and the agent will speak again."""
        self.called = True
        call_id, state = text_of(body, "tool_call_id") or "", body.get("state")
        if state == "loading" and asked:
            self._running.add(call_id)
        if state in _MCP_ENDED:
            self._running.discard(call_id)
            return True
        return False

    @staticmethod
    def _is_system(body: Body) -> bool:
        return body.get("tool_type") == "system" or text_of(body, "tool_name") in SILENCING

    def _silence(self, body: Body) -> None:
        if text_of(body, "tool_name") in SILENCING and body.get("is_error") is not True:
            self.silenced = True
