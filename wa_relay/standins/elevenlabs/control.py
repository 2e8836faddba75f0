"""The controls over HTTP, for other processes: `/_standin/…` on the stand-in's own port, JSON in and out.

`POST`: `agent`, `batch`, `history` (a finished batch), `batches` (many of them), `finish`, `play`, `settings`, `fault`,
`scenario`, `answers`, `recording` (what it says), `tool`, `webhooks` (of the workspace), `webhook` (sends one) and
`clear`. `GET`: `journal?after=N`, `transcriptions` (paid, by SHA-256) and `sessions` (open, and the most at once).
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wa_relay.standins.elevenlabs.director import Director
from wa_relay.standins.elevenlabs.faults import Fault
from wa_relay.standins.elevenlabs.scenarios import Scenario
from wa_relay.standins.elevenlabs.stage import Settings
from wa_relay.standins.elevenlabs.state import Agent, Recipient, WorkspaceWebhook

PREFIX = "/_standin/"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewBatch(_Body):
    """A batch to submit."""

    name: str
    agent_id: str
    recipients: list[Recipient]
    created_at: float | None = None
    frozen_updates: bool = False


class CallEnd(_Body):
    """A call that ends; `step` may also only start it, hang up, or put its batch's failures back."""

    batch: str
    position: int = 0
    outcome: str | None = None
    ended_at: float | None = None
    analysed: bool = True
    step: Literal["finish", "start", "hang_up", "retry"] = "finish"


class History(_Body):
    """A batch of calls that are over."""

    count: int
    agent_id: str
    ended_at: float | None = None


class Play(_Body):
    """A batch that runs automatically."""

    batch: str
    rings: float = 0.5
    talks: float = 1.0
    analysis: float = 0.5
    at_once: int = 1


class PlannedFault(_Body):
    """A fault for the next requests of a route; with `share`, one by chance for every route given."""

    routes: list[str] = Field(min_length=1)
    fault: Fault
    times: int = 1
    share: float | None = None
    seed: int = 1


class PlannedScenario(_Body):
    """Answers for the next user messages; without `times`, for all of them."""

    scenario: Scenario
    times: int | None = None
    agent_id: str | None = None


class Webhook(_Body):
    """A post-call webhook to send now."""

    conversation: str
    type: Literal["transcription", "audio", "failure"] = "transcription"
    size: int = 1024 * 1024
    reason: str = "no-answer"


class Recording(_Body):
    """The transcript of a recording, named by its bytes in base64 or by their SHA-256 in hex."""

    base64: str | None = None
    sha256: str | None = None
    text: str
    language: str = "spa"
    seconds: float = 3.2


class NewTool(_Body):
    """A tool of the workspace."""

    id: str
    config: dict[str, object]


class ManyBatches(_Body):
    """Finished batches of one call each."""

    count: int
    agent_id: str
    ended_at: float | None = None
    seconds: float = 60.0


_Webhooks = TypeAdapter(list[WorkspaceWebhook])
_Answers = TypeAdapter(dict[str, str])
_Agent = TypeAdapter(Annotated[Agent, Field()])
Reply = Mapping[str, object]


async def answer(director: Director, request: web.BaseRequest) -> web.Response:
    """Carries out one control; 400 says what was wrong with it, 404 which id is not known."""
    name = request.path.removeprefix(PREFIX)
    try:
        if request.method == "GET" and name == "journal":
            return _json(_journal(director, request.query.get("after", "0")))
        if request.method == "GET" and name == "transcriptions":
            return _json(dict(director.transcriptions))
        if request.method == "GET" and name == "sessions":
            return _json({"open": director.sessions_open, "peak": director.sessions_peak})
        if request.method == "POST" and name == "webhook":
            return _json(await _webhook(director, await request.read()))
        control = _CONTROLS.get(name) if request.method == "POST" else None
        if control is None:
            return _json({"error": f"no control {request.method} {name}", "controls": sorted(_CONTROLS)}, 404)
        return _json(control(director, await request.read()))
    except KeyError as error:
        return _json({"error": f"not known: {error}"}, 404)
    except ValidationError as error:
        return _json({"error": "; ".join(f"{fault['loc']}: {fault['msg']}" for fault in error.errors())}, 400)
    except (ValueError, IndexError) as error:
        return _json({"error": str(error)}, 400)


def _journal(director: Director, after: str) -> Reply:
    entries = director.journal.after(int(after))
    return {"entries": [asdict(entry) for entry in entries], "last": entries[-1].number if entries else int(after)}


def _batch(director: Director, body: bytes) -> Reply:
    new = NewBatch.model_validate_json(body)
    batch_id = director.add_batch(
        name=new.name,
        agent_id=new.agent_id,
        recipients=new.recipients,
        created_at=new.created_at,
        frozen_updates=new.frozen_updates,
    )
    return {"batch": batch_id}


def _history(director: Director, body: bytes) -> Reply:
    wanted = History.model_validate_json(body)
    return {"batch": director.add_history(wanted.count, agent_id=wanted.agent_id, ended_at=wanted.ended_at)}


def _finish(director: Director, body: bytes) -> Reply:
    wanted = CallEnd.model_validate_json(body)
    match wanted.step:
        case "start":
            return {"conversation": director.start_call(wanted.batch, wanted.position)}
        case "hang_up":
            return {"conversation": director.hang_up(wanted.batch, wanted.position, wanted.ended_at)}
        case "retry":
            return {"recipients": director.retry(wanted.batch)}
        case "finish":
            call = director.finish_call(
                wanted.batch, wanted.position, wanted.outcome, wanted.ended_at, analysed=wanted.analysed
            )
            return {"conversation": call}


def _play(director: Director, body: bytes) -> Reply:
    wanted = Play.model_validate_json(body)
    if wanted.batch not in director.world.batches:
        raise KeyError(wanted.batch)
    director.play(
        wanted.batch, rings=wanted.rings, talks=wanted.talks, analysis=wanted.analysis, at_once=wanted.at_once
    )
    return {"batch": wanted.batch}


def _agent(director: Director, body: bytes) -> Reply:
    return {"agent": director.add_agent(_Agent.validate_json(body)).agent_id}


def _settings(director: Director, body: bytes) -> Reply:
    changes = json.loads(body)
    if not isinstance(changes, dict):
        raise ValueError("the settings have to be an object")
    now = asdict(director.settings)
    unknown = sorted(changes.keys() - now.keys())
    if unknown:
        raise ValueError(f"no setting {unknown[0]!r}: there are {', '.join(now)}")
    changed = TypeAdapter(Settings).validate_python({**now, **changes})
    for name in changes:
        setattr(director.settings, name, getattr(changed, name))
    return asdict(director.settings)


def _fault(director: Director, body: bytes) -> Reply:
    wanted = PlannedFault.model_validate_json(body)
    if wanted.share is not None:
        director.faults.at_random(wanted.seed, wanted.share, [wanted.fault], wanted.routes)
        return {}
    for route in wanted.routes:
        director.faults.next(route, wanted.fault, wanted.times)
    return {}


def _scenario(director: Director, body: bytes) -> Reply:
    wanted = PlannedScenario.model_validate_json(body)
    if wanted.times is not None:
        director.scenarios.next(wanted.scenario, wanted.times)
    elif wanted.agent_id is not None:
        director.scenarios.by_agent[wanted.agent_id] = wanted.scenario
    else:
        director.scenarios.default = wanted.scenario
    return {}


def _answers(director: Director, body: bytes) -> Reply:
    director.answers = _Answers.validate_json(body)
    return {}


def _recording(director: Director, body: bytes) -> Reply:
    wanted = Recording.model_validate_json(body)
    if wanted.base64 is None and wanted.sha256 is None:
        raise ValueError("a recording is named by its base64 or its sha256")
    data = wanted.sha256 if wanted.base64 is None else b64decode(wanted.base64, validate=True)
    assert data is not None
    return {"sha256": director.set_transcript(data, wanted.text, wanted.language, wanted.seconds)}


def _tool(director: Director, body: bytes) -> Reply:
    wanted = NewTool.model_validate_json(body)
    director.add_tool(wanted.id, wanted.config)
    return {"tool": wanted.id}


def _webhooks(director: Director, body: bytes) -> Reply:
    director.set_webhooks(*_Webhooks.validate_json(body))
    return {}


def _batches(director: Director, body: bytes) -> Reply:
    wanted = ManyBatches.model_validate_json(body)
    made = director.add_batches(
        wanted.count, agent_id=wanted.agent_id, ended_at=wanted.ended_at, seconds=wanted.seconds
    )
    return {"batches": made}


def _clear(director: Director, body: bytes) -> Reply:
    del body
    director.faults.clear()
    director.scenarios.clear()
    return {}


async def _webhook(director: Director, body: bytes) -> Reply:
    wanted = Webhook.model_validate_json(body)
    match wanted.type:
        case "transcription":
            return {"status": await director.post_call(wanted.conversation)}
        case "audio":
            return {"status": await director.post_audio(wanted.conversation, wanted.size)}
        case "failure":
            return {"status": await director.post_failure(wanted.conversation, wanted.reason)}


_CONTROLS: dict[str, Callable[[Director, bytes], Reply]] = {
    "batch": _batch,
    "history": _history,
    "finish": _finish,
    "play": _play,
    "agent": _agent,
    "settings": _settings,
    "fault": _fault,
    "scenario": _scenario,
    "answers": _answers,
    "clear": _clear,
    "recording": _recording,
    "tool": _tool,
    "webhooks": _webhooks,
    "batches": _batches,
}


def _json(content: Reply, status: int = 200) -> web.Response:
    return web.json_response(content, status=status, dumps=lambda value: json.dumps(value, default=str))
