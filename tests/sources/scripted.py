"""A scripted ElevenLabs over real sockets: answers by path, and a journal of what was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer

from wa_relay.elevenlabs.client import ElevenLabs

T = TypeVar("T")
KEY = "sk_test_key"
START = 1_763_800_000


@dataclass
class Answer:
    """One HTTP answer; `hang` never sends it, `drop` closes the connection after the headers."""

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    hang: bool = False
    drop: bool = False


@dataclass
class Scripted:
    """The service's side: batches and conversations, and answers that take precedence over them."""

    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    page_size: int = 100
    asked: list[str] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    def of(self, part: str) -> list[str]:
        """The paths asked for that contain a part."""
        return [path for path in self.asked if part in path]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked.append(path)
        self.requests.append(request)
        scripted = self.answers.get(path)
        if scripted is None:
            body, status = self._state(request)
            return web.json_response(body, status=status)
        if scripted.hang:
            await asyncio.Event().wait()
        if scripted.drop:
            assert request.transport is not None
            request.transport.close()
        return web.Response(body=scripted.body, status=scripted.status, headers=scripted.headers)

    def _state(self, request: web.Request) -> tuple[dict[str, Any], int]:
        *_, parent, name = request.path.split("/")
        if (parent, name) == ("batch-calling", "workspace"):
            return self._page(request.query), 200
        known = {"batch-calling": self.batches, "conversations": self.conversations}.get(parent, {}).get(name)
        return (known, 200) if known else ({"detail": {"code": "not_found", "message": "gone"}}, 404)

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        agent_id = query.get("agent_id")
        listed = [b for b in self.batches.values() if agent_id in (None, b["agent_id"])]
        start = int(query.get("last_doc", "0"))
        end = start + min(self.page_size, int(query["limit"]))
        more = end < len(listed)
        rows = [{k: v for k, v in batch.items() if k != "recipients"} for batch in listed[start:end]]
        return {"batch_calls": rows, "next_doc": str(end) if more else None, "has_more": more}


@asynccontextmanager
async def service(script: Scripted, *, timeout: float = 5.0) -> AsyncIterator[ElevenLabs]:
    """Serves a script and yields a client that talks to it."""
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", script.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        async with ElevenLabs(f"http://127.0.0.1:{server.port}", KEY, timeout=timeout) as api:
            yield api
    finally:
        await server.close()


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Runs a scenario to its end, for 60 s at most."""
    return asyncio.run(asyncio.wait_for(scenario, 60))


def json_answer(content: object, status: int = 200, **headers: str) -> Answer:
    return Answer(json.dumps(content).encode(), status, {"Content-Type": "application/json", **headers})


def recipient(number: int, status: str = "completed", conversation: str | None = "", **more: Any) -> dict[str, Any]:
    """A recipient as a batch shows it; by default it has a conversation of its own."""
    return {
        "id": f"rcpt_{number}",
        "phone_number": f"+5731385{number:05d}",
        "whatsapp_user_id": None,
        "status": status,
        "created_at_unix": START,
        "updated_at_unix": START + 120,
        "conversation_id": f"conv_{number}" if conversation == "" else conversation,
        "conversation_initiation_client_data": {"dynamic_variables": {"customer_name": f"Ana {number}"}},
        **more,
    }


def batch(*recipients: dict[str, Any], status: str = "completed", name: str = "btcal_1", **more: Any) -> dict[str, Any]:
    """A batch with its recipients, in the shape of the detail answer."""
    return {
        "id": name,
        "phone_number_id": "phnum_1",
        "phone_provider": "twilio",
        "whatsapp_params": None,
        "name": "Campaña Octubre",
        "agent_id": "agent_1",
        "agent_name": "Recepción",
        "branch_id": None,
        "branch_name": None,
        "environment": None,
        "timezone": "America/Bogota",
        "telephony_call_config": {"ringing_timeout_secs": 60},
        "target_concurrency_limit": None,
        "created_at_unix": START,
        "scheduled_time_unix": START,
        "total_calls_scheduled": len(recipients),
        "total_calls_dispatched": len(recipients),
        "total_calls_finished": len(recipients),
        "last_updated_at_unix": START + 200,
        "status": status,
        "retry_count": 0,
        "recipients": list(recipients),
        **more,
    }


def conversation(number: int, status: str = "done", **metadata: Any) -> dict[str, Any]:
    """An outbound phone call of a batch, as the conversation's detail shows it."""
    return {
        "agent_id": "agent_1",
        "agent_name": "Recepción",
        "conversation_id": f"conv_{number}",
        "status": status,
        **dict.fromkeys(("has_audio", "has_user_audio", "has_response_audio", "has_auxiliary_audio"), False),
        "transcript": [
            {"role": "agent", "message": "Hola Ana,\nte llamo de Acme.", "time_in_call_secs": 0},
            {"role": "agent", "message": None, "time_in_call_secs": 2},
            {"role": "user", "message": "Sí", "time_in_call_secs": 4},
        ],
        "metadata": {
            "start_time_unix_secs": START + 60,
            "call_duration_secs": 54,
            "text_only": False,
            "error": None,
            "phone_call": {
                "type": "twilio",
                "direction": "outbound",
                "external_number": f"+5731385{number:05d}",
                "agent_number": "+571",
                "phone_number_id": "phnum_1",
                "stream_sid": "MZ1",
                "call_sid": "CA1",
            },
            "batch_call": {"batch_call_id": "btcal_1", "batch_call_recipient_id": f"rcpt_{number}"},
            **metadata,
        },
        "analysis": {"call_successful": "success", "transcript_summary": "Le interesa el plan."}
        if status == "done"
        else None,
        "conversation_initiation_client_data": {
            "dynamic_variables": {"plan": "Oro", "system__conversation_id": f"conv_{number}"}
        },
    }
