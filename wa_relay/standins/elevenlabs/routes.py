"""The REST API and the door of the WebSocket: routes, keys and answers."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TypeVar

from aiohttp import web

from wa_relay.standins.elevenlabs import control, setup, shapes
from wa_relay.standins.elevenlabs.answering import encode, json_response, no_agent, no_conversation, refusal
from wa_relay.standins.elevenlabs.director import Director
from wa_relay.standins.elevenlabs.faults import play
from wa_relay.standins.elevenlabs.listing import NotValidError, batches_page, conversations_page, number
from wa_relay.standins.elevenlabs.session import Session
from wa_relay.standins.elevenlabs.signing import UrlSigner
from wa_relay.standins.elevenlabs.stage import Stage
from wa_relay.standins.elevenlabs.state import Agent, Conversation
from wa_relay.standins.elevenlabs.talk import Asked
from wa_relay.standins.elevenlabs.uploads import Uploads

T = TypeVar("T")
Handler = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
Route = tuple[str, str]
"""The route's name, by which faults are planned, and the id in the path."""

_PREFIX = "/v1/convai/"
_FIXED = {
    ("GET", "batch-calling/workspace"): "workspace",
    ("GET", "conversations"): "conversations",
    ("GET", "conversation/get-signed-url"): "signed_url",
    ("GET", "conversation/get_signed_url"): "signed_url",
    ("GET", "conversation"): "session",
    ("GET", "settings"): "settings",
}
_BY_ID = {
    ("GET", "batch-calling", ""): "batch",
    ("GET", "conversations", ""): "conversation",
    ("GET", "conversations", "summary"): "summary",
    ("GET", "agents", ""): "agent",
    ("POST", "conversations", "files"): "files",
    ("POST", "conversations", "message"): "message",
    ("DELETE", "conversations", ""): "conversation_delete",
    ("GET", "tools", ""): "tool",
}
_ELSEWHERE = {
    ("POST", "/v1/speech-to-text"): "speech",
    ("GET", "/v1/workspace/webhooks"): "workspace_webhooks",
}
PERMISSIONS = {
    "signed_url": "convai_write",
    "files": "convai_write",
    "file_delete": "convai_write",
    "conversation_delete": "convai_write",
    "speech": "speech_to_text",
    "workspace_webhooks": "workspace_read",
}
"""The permission that a route needs; the others need `convai_read`. Which needs which is not published."""

_NOT_FOUND = {"detail": "Not Found"}


def route_of(method: str, path: str) -> Route | None:
    """Finds the route of a request; None for what the service does not offer."""
    if not path.startswith(_PREFIX):
        elsewhere = _ELSEWHERE.get((method, path))
        return (elsewhere, "") if elsewhere else None
    rest = path[len(_PREFIX) :]
    fixed = _FIXED.get((method, rest))
    if fixed is not None:
        return fixed, ""
    parts = rest.split("/")
    if method == "DELETE" and len(parts) == 4 and parts[0] == "conversations" and parts[2] == "files":
        return "file_delete", parts[3]
    if not 2 <= len(parts) <= 3 or not parts[1]:
        return None
    name = _BY_ID.get((method, parts[0], parts[2] if len(parts) == 3 else ""))
    return (name, parts[1]) if name else None


class Service:
    """Answers the requests of one stand-in."""

    def __init__(self, stage: Stage, signer: UrlSigner, director: Director) -> None:
        self._stage, self._signer, self._director = stage, signer, director
        self._used: set[str] = set()
        self._details: dict[str, tuple[int, bytes]] = {}
        uploads = Uploads(stage)
        self._handlers: dict[str, Handler] = {
            "workspace": self._workspace,
            "batch": self._batch,
            "conversations": self._conversations,
            "conversation": self._conversation,
            "summary": self._summary,
            "agent": self._agent,
            "signed_url": self._signed_url,
            "session": self._session,
            "message": self._message,
            "speech": uploads.speech,
            "files": uploads.add,
            "file_delete": uploads.remove,
            "conversation_delete": self._conversation_delete,
            "tool": self._tool,
            "settings": self._settings,
            "workspace_webhooks": self._workspace_webhooks,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request, truly or with a fault."""
        if request.path.startswith(control.PREFIX):
            return await control.answer(self._director, request)
        found = route_of(request.method, request.path)
        if found is None or (found[0] == "message" and not self._stage.settings.gateway):
            self._note(request, found[0] if found else None, auth=self._refusal(request) is None)
            return web.json_response(_NOT_FOUND, status=404)
        name, item = found
        denied = None if name == "session" else self._refusal(request) or self._not_permitted(name)
        self._note(request, name, auth=denied is None)
        fault = self._stage.faults.take(name)
        if fault is None:
            answer = denied or await self._answer(name, item, request)
            if self._stage.settings.clock_skew and not answer.prepared:
                moment = self._stage.clock() + self._stage.settings.clock_skew
                answer.headers["Date"] = formatdate(moment, usegmt=True)
            return answer
        self._stage.journal.note("fault", route=name, fault=fault.kind, status=fault.status)
        return await play(fault, request, lambda: self._answer(name, item, request))

    async def _answer(self, name: str, item: str, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handlers[name](request, item)
        except NotValidError as error:
            return json_response(shapes.invalid("query", error.name, error.message), 422)

    def _note(self, request: web.BaseRequest, route: str | None, *, auth: bool) -> None:
        self._stage.journal.note(
            "request", method=request.method, path=request.path, query=request.query_string, route=route, auth=auth
        )

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        key = request.headers.get("xi-api-key")
        if key is None:
            return refusal(401, "missing_api_key", "The xi-api-key header is missing")
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._stage.api_key.encode()):
            return refusal(401, "invalid_api_key", "Invalid API key")
        return None

    def _not_permitted(self, name: str) -> web.Response | None:
        missing = self._stage.settings.missing_permissions
        if not missing or PERMISSIONS.get(name, "convai_read") not in missing:
            return None
        message = f"The API key you used is missing the permission {PERMISSIONS.get(name, 'convai_read')}"
        status = self._stage.settings.permission_status
        return refusal(status, "missing_permissions", f"{message} to execute this operation.")

    # --- batches, conversations, agents ---

    async def _workspace(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        return json_response(batches_page(self._stage.world, request.query))

    async def _batch(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        batch = self._stage.world.batches.get(item)
        if batch is None:
            return refusal(404, "batch_call_not_found", f"Batch call {item} not found")
        version, body = self._details.get(item, (-1, b""))
        if version != batch.version:
            # Big batches are asked for again and again; they are written out once per change.
            version, body = batch.version, encode(shapes.batch_detail(batch)).encode()
            self._details[item] = version, body
        return web.Response(body=body, content_type="application/json")

    async def _conversations(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        return json_response(conversations_page(self._stage.world, request.query))

    async def _conversation(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        conversation = self._stage.world.conversations.get(item)
        if conversation is None or self._lags(conversation):
            return no_conversation(item)
        return json_response(shapes.conversation(conversation))

    def _lags(self, conversation: Conversation) -> bool:
        """True while the details of a call that is over can't be found yet."""
        lag = self._stage.settings.details_lag
        return lag > 0 and self._stage.clock() < conversation.started_at + conversation.duration + lag

    async def _conversation_delete(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        if self._stage.world.conversations.pop(item, None) is None:
            return no_conversation(item)
        self._stage.journal.note("deleted", conversation_id=item)
        return json_response({})

    async def _summary(self, request: web.BaseRequest, item: str) -> web.Response:
        conversation = self._stage.world.conversations.get(item)
        if conversation is None:
            return no_conversation(item)
        limit = number(request.query, "max_messages", 40, least=1, most=200)
        return json_response(shapes.conversation_summary(conversation, limit))

    async def _agent(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        agent = self._stage.world.agents.get(item)
        return json_response(shapes.agent(agent)) if agent else no_agent(item)

    async def _tool(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        tool = self._stage.world.tools.get(item)
        if tool is None:
            return refusal(404, "tool_not_found", f"Tool {item} not found")
        return json_response(setup.tool(item, tool))

    async def _settings(self, request: web.BaseRequest, item: str) -> web.Response:
        del request, item
        return json_response(setup.settings(self._stage.world.webhooks))

    async def _workspace_webhooks(self, request: web.BaseRequest, item: str) -> web.Response:
        del request, item
        return json_response({"webhooks": [setup.webhook(one) for one in self._stage.world.webhooks]})

    # --- talking ---

    async def _signed_url(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        agent_id = request.query.get("agent_id")
        if agent_id is None:
            raise NotValidError("agent_id", "Field required")
        if agent_id not in self._stage.world.agents:
            return no_agent(agent_id)
        stage = self._stage
        if stage.settings.full == "429" and stage.lobby.full(stage.settings.most_sessions):
            answer = refusal(429, "concurrent_limit_exceeded", "Too many concurrent conversations")
            answer.headers["current-concurrent-requests"] = str(stage.lobby.open)
            answer.headers["maximum-concurrent-requests"] = str(stage.settings.most_sessions)
            return answer
        reserved = ""
        if request.query.get("include_conversation_id") == "true":
            reserved = self._stage.world.new_id("conv")
        signature = self._signer.sign(agent_id, self._stage.clock(), reserved)
        reserved_id = f"&conversation_id={reserved}" if reserved else ""
        query = f"agent_id={agent_id}&conversation_signature={signature}{reserved_id}"
        return json_response({"signed_url": f"ws://{request.host}{_PREFIX}conversation?{query}"})

    async def _session(self, request: web.BaseRequest, item: str) -> web.StreamResponse:
        del item
        agent = self._stage.world.agents.get(request.query.get("agent_id", ""))
        socket = web.WebSocketResponse(max_msg_size=16 * 1024 * 1024, timeout=1.0, compress=False)
        if not socket.can_prepare(request):
            return web.json_response(_NOT_FOUND, status=404)
        await socket.prepare(request)
        reserved = self._reserved(request, agent)
        if agent is None or reserved is None:
            reason = "Could not find the agent" if agent is None else "Unauthorized: the signed URL does not hold"
            self._stage.journal.note("refused", agent_id=request.query.get("agent_id"), reason=reason)
            await socket.close(code=1008, message=reason.encode())
            return socket
        await Session(self._stage, request, socket, agent).run(reserved)
        return socket

    def _reserved(self, request: web.BaseRequest, agent: Agent | None) -> str | None:
        """Admits a client: returns the conversation id that was reserved for it, "" for none, None to keep it out."""
        signature = request.query.get("conversation_signature")
        if agent is None:
            return ""
        if signature is None:
            return "" if not agent.enable_auth or self._refusal(request) is None else None
        valid = self._stage.settings.signature_seconds
        reserved = self._signer.read(signature, agent.agent_id, self._stage.clock(), valid)
        if not reserved:
            return reserved
        if reserved in self._used:
            return None
        self._used.add(reserved)
        return reserved

    async def _message(self, request: web.BaseRequest, item: str) -> web.Response:
        """The call that only a gateway offers: the user's text in, the agent's out."""
        try:
            text = json.loads(await request.read())["message"]
        except (ValueError, KeyError, TypeError):
            return json_response(shapes.invalid("body", "message", "Field required"), 422)
        call = self._stage.world.conversations.get(item)
        asked = Asked(text=str(text), conversation_id=item, agent_id=call.agent_id if call else "")
        if call is not None:
            asked = Asked(asked.text, asked.agent_id, item, call.variables, (call.summary,))
        answer = self._stage.answer(asked)
        self._stage.journal.note("message", conversation_id=item, text=asked.text, answer=answer)
        return json_response({"response": answer})
