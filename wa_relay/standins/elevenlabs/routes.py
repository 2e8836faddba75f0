"""The REST API and the door of the WebSocket: which request is what, who may ask, what is answered."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiohttp import web

from wa_relay.standins.elevenlabs import control, shapes
from wa_relay.standins.elevenlabs.director import Director
from wa_relay.standins.elevenlabs.faults import play
from wa_relay.standins.elevenlabs.listing import NotValidError, batches_page, conversations_page, number
from wa_relay.standins.elevenlabs.session import Session
from wa_relay.standins.elevenlabs.signing import UrlSigner
from wa_relay.standins.elevenlabs.stage import Stage
from wa_relay.standins.elevenlabs.state import Agent
from wa_relay.standins.elevenlabs.talk import Asked

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
}
_BY_ID = {
    ("GET", "batch-calling", ""): "batch",
    ("GET", "conversations", ""): "conversation",
    ("GET", "conversations", "summary"): "summary",
    ("GET", "agents", ""): "agent",
    ("POST", "conversations", "files"): "files",
    ("POST", "conversations", "message"): "message",
}
_SPEECH = "/v1/speech-to-text"
_NOT_FOUND = {"detail": "Not Found"}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def route_of(method: str, path: str) -> Route | None:
    """Finds the route of a request; None for what the service does not offer."""
    if not path.startswith(_PREFIX):
        return ("speech", "") if (method, path) == ("POST", _SPEECH) else None
    rest = path[len(_PREFIX) :]
    fixed = _FIXED.get((method, rest))
    if fixed is not None:
        return fixed, ""
    parts = rest.split("/")
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
            "speech": self._speech,
            "files": self._files,
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
        refusal = None if name == "session" else self._refusal(request)
        self._note(request, name, auth=refusal is None)
        fault = self._stage.faults.take(name)
        if fault is None:
            return refusal or await self._answer(name, item, request)
        self._stage.journal.note("fault", route=name, fault=fault.kind, status=fault.status)
        return await play(fault, request, lambda: self._answer(name, item, request))

    async def _answer(self, name: str, item: str, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handlers[name](request, item)
        except NotValidError as error:
            return _json(shapes.invalid("query", error.name, error.message), 422)

    def _note(self, request: web.BaseRequest, route: str | None, *, auth: bool) -> None:
        self._stage.journal.note(
            "request", method=request.method, path=request.path, query=request.query_string, route=route, auth=auth
        )

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        key = request.headers.get("xi-api-key")
        if key is None:
            return _json(shapes.error(401, "missing_api_key", "The xi-api-key header is missing"), 401)
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._stage.api_key.encode()):
            return _json(shapes.error(401, "invalid_api_key", "Invalid API key"), 401)
        return None

    # --- batches, conversations, agents ---

    async def _workspace(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        return _json(batches_page(self._stage.world, request.query))

    async def _batch(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        batch = self._stage.world.batches.get(item)
        if batch is None:
            return _unknown("batch_call_not_found", f"Batch call {item} not found")
        version, body = self._details.get(item, (-1, b""))
        if version != batch.version:
            # Big batches are asked for again and again; they are written out once per change.
            version, body = batch.version, _encode(shapes.batch_detail(batch)).encode()
            self._details[item] = version, body
        return web.Response(body=body, content_type="application/json")

    async def _conversations(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        return _json(conversations_page(self._stage.world, request.query))

    async def _conversation(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        conversation = self._stage.world.conversations.get(item)
        return _json(shapes.conversation(conversation)) if conversation else _no_conversation(item)

    async def _summary(self, request: web.BaseRequest, item: str) -> web.Response:
        conversation = self._stage.world.conversations.get(item)
        if conversation is None:
            return _no_conversation(item)
        limit = number(request.query, "max_messages", 40, least=1, most=200)
        return _json(shapes.conversation_summary(conversation, limit))

    async def _agent(self, request: web.BaseRequest, item: str) -> web.Response:
        del request
        agent = self._stage.world.agents.get(item)
        return _json(shapes.agent(agent)) if agent else _no_agent(item)

    # --- talking ---

    async def _signed_url(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        agent_id = request.query.get("agent_id")
        if agent_id is None:
            raise NotValidError("agent_id", "Field required")
        if agent_id not in self._stage.world.agents:
            return _no_agent(agent_id)
        reserved = ""
        if request.query.get("include_conversation_id") == "true":
            reserved = self._stage.world.new_id("conv")
        signature = self._signer.sign(agent_id, self._stage.clock(), reserved)
        told = f"&conversation_id={reserved}" if reserved else ""
        query = f"agent_id={agent_id}&conversation_signature={signature}{told}"
        return _json({"signed_url": f"ws://{request.host}{_PREFIX}conversation?{query}"})

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
        """Lets a client in: gives the conversation id that was reserved for it, "" for none, None to keep it out."""
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
        """The call that only a gateway offers: the user's words in, the agent's out."""
        try:
            said = json.loads(await request.read())["message"]
        except (ValueError, KeyError, TypeError):
            return _json(shapes.invalid("body", "message", "Field required"), 422)
        call = self._stage.world.conversations.get(item)
        asked = Asked(text=str(said), conversation_id=item, agent_id=call.agent_id if call else "")
        if call is not None:
            asked = Asked(asked.text, asked.agent_id, item, call.variables, (call.summary,))
        answer = self._stage.answer(asked)
        self._stage.journal.note("message", conversation_id=item, text=asked.text, answer=answer)
        return _json({"response": answer})

    async def _speech(self, request: web.BaseRequest, item: str) -> web.Response:
        del item
        heard = len(await request.read())
        self._stage.journal.note("speech", size=heard)
        text = self._stage.settings.speech_text
        words = [{"text": text, "start": 0.0, "end": 1.0, "type": "word", "speaker_id": None, "logprob": -0.1}]
        return _json(
            {
                "language_code": "spa",
                "language_probability": 0.98,
                "text": text,
                "words": words,
                "transcription_id": self._stage.world.new_id("tr"),
                "audio_duration_secs": 3.2,
            }
        )

    async def _files(self, request: web.BaseRequest, item: str) -> web.Response:
        await request.read()
        call = self._stage.world.conversations.get(item)
        if call is None or call.status != "in-progress":
            return _no_conversation(item)
        return _json({"file_id": self._stage.world.new_id("file")})


def _json(content: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(body=_encode(content).encode(), status=status, content_type="application/json")


def _unknown(code: str, message: str) -> web.Response:
    return _json(shapes.error(404, code, message), 404)


def _no_agent(agent_id: str) -> web.Response:
    return _unknown("agent_not_found", f"Agent {agent_id} not found")


def _no_conversation(conversation_id: str) -> web.Response:
    return _unknown("conversation_not_found", f"Conversation {conversation_id} not found")
