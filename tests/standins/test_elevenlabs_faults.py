"""Faults on demand and by chance, a service that goes down, webhooks, and the controls for other processes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.standins.elevenlabs_played import ANA, KEY, SECRET, START, fetched, played, run, session
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.model import BatchHint, UpstreamError
from wa_relay.sources.postcall import Ignored, parse, verify
from wa_relay.standins.elevenlabs import BAD_GATEWAY, TOO_MANY, UNAUTHORIZED, Fault
from wa_relay.standins.elevenlabs.faults import FaultPlan


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        (UNAUTHORIZED, 401, None),
        (Fault(status=422), 422, None),
        (TOO_MANY, 429, 1.0),
        (Fault(status=500), 500, None),
        (BAD_GATEWAY, 502, None),
        (Fault("garbage"), 200, None),
        (Fault("truncated"), 200, None),
        (Fault("broken"), None, None),
        (Fault("reset"), None, None),
        (Fault("hang"), None, None),
        (Fault("drip", seconds=0.2), None, None),
        (Fault("huge", size=20 * 1024 * 1024), None, None),
        (Fault("bomb", size=20 * 1024 * 1024), None, None),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
def test_our_client_reports_each_fault_and_the_next_request_succeeds(
    fault: Fault, status: int | None, retry_after: float | None
) -> None:
    async def scenario() -> None:
        async with played() as standin, ElevenLabs(standin.url, KEY, timeout=1.0) as api:
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA])
            call = standin.finish_call(batch, 0) or ""
            standin.faults.next("conversation", fault)
            with pytest.raises(UpstreamError) as error:
                await api.conversation(call)
            assert (error.value.status, error.value.retry_after) == (status, retry_after)
            assert (await api.conversation(call)).status == "done"
            assert [entry.data["fault"] for entry in standin.journal.entries("fault")] == [fault.kind]

    run(scenario())


def test_a_slow_answer_is_a_true_one() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.faults.next("agent", Fault("slow", seconds=0.1))
            began = time.perf_counter()
            status, answered = await fetched(standin, "/v1/convai/agents/agent_1")
            assert (status, answered["agent_id"]) == (200, "agent_1")
            assert time.perf_counter() - began >= 0.1

    run(scenario())


def test_a_session_may_be_refused_at_the_door() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.faults.next("session", Fault(status=429))
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                async with session(standin):
                    pass
            assert error.value.status == 429

    run(scenario())


def test_chance_repeats_itself_by_its_seed_and_keeps_to_its_routes() -> None:
    def taken(seed: int) -> list[bool]:
        plan = FaultPlan()
        plan.at_random(seed, 0.3, [TOO_MANY], ["batch"])
        assert plan.take("agent") is None
        return [plan.take("batch") is not None for _ in range(200)]

    assert taken(1) == taken(1) != taken(2)
    assert 30 < sum(taken(1)) < 90


def test_a_service_that_went_down_comes_back_on_its_port_and_remembers() -> None:
    async def scenario() -> None:
        async with played() as standin:
            port = standin.port
            async with session(standin) as raw:
                await raw.begin()
                await standin.down()
                assert (await raw.closed())[1] in (None, 1006)
            with pytest.raises(aiohttp.ClientConnectionError):
                await fetched(standin, "/v1/convai/agents/agent_1")
            await standin.up()
            assert standin.port == port
            assert (await fetched(standin, "/v1/convai/agents/agent_1"))[0] == 200

    run(scenario())


@dataclass
class Receiver:
    """The receivers of the webhooks."""

    statuses: list[int] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    chunked: list[bool] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append((request.headers["ElevenLabs-Signature"], await request.read()))
        self.chunked.append(request.headers.get("Transfer-Encoding") == "chunked")
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    one = Receiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/hook", one.hear)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield one, str(server.make_url("/hook"))
    finally:
        await server.close()


def test_a_finished_call_is_reported_by_a_signed_webhook() -> None:
    async def scenario() -> None:
        async with played() as standin, receiver() as (one, url):
            standin.settings.webhook_url, standin.settings.webhook_calls = url, True
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA])
            call = standin.finish_call(batch, 0, ended_at=START)
            answered = await standin.journal.wait_for(lambda entry: entry.kind == "webhook", 30)
            assert (answered.data["conversation_id"], answered.data["status"]) == (call, 200)
            header, body = one.heard[0]
            moment, mac = (part.split("=")[1] for part in header.split(","))
            assert mac == hmac.new(SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
            assert verify(body, header, SECRET, time.time())
            hint = parse(json.loads(body))
            assert isinstance(hint, BatchHint)
            assert (hint.call.key, hint.call.phone, hint.call.ended_at) == (call, ANA.phone, START)
            assert json.loads(body)["data"] == (await fetched(standin, f"/v1/convai/conversations/{call}"))[1]

    run(scenario())


def test_webhooks_are_repeated_only_where_that_is_switched_on_and_could_help() -> None:
    async def scenario() -> None:
        async with played() as standin, receiver() as (one, url):
            standin.settings.webhook_url = url
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA])
            call = standin.finish_call(batch, 0) or ""
            one.statuses = [500]
            assert await standin.post_call(call) == 500
            standin.settings.webhook_retries = (0.0, 0.0)
            one.statuses = [500, 429]
            assert await standin.post_call(call) == 200
            one.statuses = [404]
            assert await standin.post_call(call) == 404
            assert len(one.heard) == 5
            assert one.heard[1][1] == one.heard[3][1]

    run(scenario())


def test_recordings_come_chunked_and_failures_with_their_reason() -> None:
    async def scenario() -> None:
        async with played() as standin, receiver() as (one, url):
            standin.settings.webhook_url = url
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA])
            call = standin.finish_call(batch, 0, "failed") or ""
            assert await standin.post_audio(call, size=2_000_000) == 200
            assert await standin.post_failure(call, "busy") == 200
            assert one.chunked == [True, False]
            assert len(one.heard[0][1]) > 2_600_000
            failure = json.loads(one.heard[1][1])
            assert (failure["type"], failure["data"]["failure_reason"]) == ("call_initiation_failure", "busy")

    run(scenario())


def test_a_call_that_was_never_connected_is_reported_as_a_failed_initiation() -> None:
    async def scenario() -> None:
        async with played() as standin, receiver() as (one, url):
            standin.settings.webhook_url, standin.settings.webhook_calls = url, True
            batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA])
            call = standin.finish_call(batch, 0, "failed")
            await standin.journal.wait_for(lambda entry: entry.kind == "webhook", 30)
            assert json.loads(one.heard[0][1])["type"] == "call_initiation_failure"
            _, answered = await fetched(standin, f"/v1/convai/conversations/{call}")
            assert (answered["status"], answered["analysis"], answered["metadata"]["phone_call"]) == (
                "failed",
                None,
                None,
            )

    run(scenario())


def test_a_text_session_is_reported_too_where_that_is_switched_on() -> None:
    async def scenario() -> None:
        async with played() as standin, receiver() as (one, url):
            standin.settings.webhook_url, standin.settings.webhook_texts = url, True
            async with session(standin) as raw:
                await raw.begin()
            await standin.journal.wait_for(lambda entry: entry.kind == "webhook", 30)
            assert json.loads(one.heard[0][1])["data"]["metadata"]["text_only"] is True
            assert isinstance(parse(json.loads(one.heard[0][1])), Ignored)

    run(scenario())


def test_another_process_can_play_a_campaign_by_http() -> None:
    async def scenario() -> None:
        async with played() as standin, aiohttp.ClientSession() as http:

            async def control(control_name: str, status: int = 200, /, **body: object) -> dict[str, object]:
                async with http.post(f"{standin.url}/_standin/{control_name}", json=body) as answer:
                    assert answer.status == status, await answer.text()
                    answered: dict[str, object] = await answer.json()
                    return answered

            await control("agent", agent_id="agent_2", overrides=["conversation.text_only"], first_message="Hola")
            customer = {"phone": ANA.phone, "variables": {"customer_name": "Ana"}}
            batch = (await control("batch", name="C", agent_id="agent_2", recipients=[customer, customer]))["batch"]
            call = (await control("finish", batch=batch, position=0))["conversation"]
            await control("play", batch=batch, rings=0.0, talks=0.0, analysis=0.0)
            await control("answers", hola="¡Buenas!")
            await control("settings", gateway=True)
            await control("fault", routes=["agent"], fault={"kind": "status", "status": 503})
            await control("scenario", scenario={"name": "parts"}, times=2)
            assert (await fetched(standin, "/v1/convai/agents/agent_2"))[0] == 503
            assert (await fetched(standin, f"/v1/convai/conversations/{call}"))[0] == 200
            answered = (await fetched(standin, "/_standin/journal"))[1]
            assert answered["last"] == len(answered["entries"]) > 3
            assert (await fetched(standin, f"/_standin/journal?after={answered['last']}"))[1]["entries"] == []
            await control("batch", 400, name="C")
            await control("settings", 400, gatewai=True)
            await control("finish", 404, batch="btcal_none")
            await control("scenario", 400, scenario={"name": "dances"})
            await control("nothing", 404)

    run(scenario())


def test_the_stand_in_runs_as_a_separate_process_until_it_is_stopped() -> None:
    async def scenario() -> None:
        command = [sys.executable, "-m", "wa_relay.standins", "elevenlabs", "--port", "0", "--api-key", KEY]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            url = (await process.stdout.readline()).decode().split()[-1]
            async with ElevenLabs(url, KEY) as api:
                await api.check()
        finally:
            process.terminate()
            assert await process.wait() == 0

    run(scenario())
