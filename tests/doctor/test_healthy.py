"""Different set-ups without faults."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.doctor.healthy import GOOD_AGENT, HX, SENDER, examined, faults_of, good_twilio, healthy, hear_post_call
from tests.doctor.planted import SERVICE
from tests.e2e.stage import AGENT, OVERRIDES, run
from wa_relay.standins.elevenlabs import DEFAULT_EVENTS
from wa_relay.standins.twilio import Delays, Template, TwilioStandin
from wa_relay.standins.twilio.registry import MessagingService, Sender

SECOND = "whatsapp:+573151111111"
SETUPS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "one sender": {},
    "every agent": {"poll": {"agent_ids": []}},
    "polling": {"poll": {"enabled": True}},
    "no post-call webhook": {"poll": {"enabled": True}, "elevenlabs": {"webhook_secret": ""}},
    "the law's hours": {"quiet_hours": {"preset": "ley-2300"}, "opening": {"min_gap_hours": 24}},
    "a reopen template": {"reply": {"reopen_content_sid": HX}},
    "alerts instead of the console": {
        "console": {"enabled": False},
        "alerts": {"url": "http://127.0.0.1:9/alerts", "secret": "whsec_" + "QUJD" * 11},
    },
    "a gateway": {"elevenlabs": {"transport": "http"}},
}


@pytest.mark.parametrize("settings", SETUPS.values(), ids=SETUPS)
def test_nothing_is_named_where_nothing_is_wrong(tmp_path: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path, settings) as s:
            found = await examined(s)
            assert faults_of(found) == {}
            assert found["public URL"].status == "ok"
            assert "unchanged" in found["public URL"].message

    run(scenario())


def test_nothing_is_named_behind_a_proxy_that_strips_a_path(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as opened, healthy(tmp_path, start=False) as s:
            url = await opened.enter_async_context(_stripping("/relay", s.relay.url))
            s.twilio.configure(webhook_url=_hook(url))
            s.relay.write_config({"server": {"public_url": url}})
            await s.relay.start()
            await hear_post_call(s)
            assert faults_of(await examined(s)) == {}

    run(scenario())


@asynccontextmanager
async def _stripping(prefix: str, target: str) -> AsyncIterator[str]:
    """A proxy as nginx is with `location /relay/ { proxy_pass http://…/; }`."""

    async def passed(request: web.BaseRequest) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
        target_url = URL(target + request.raw_path.removeprefix(prefix), encoded=True)
        async with (
            aiohttp.ClientSession() as http,
            http.request(request.method, target_url, data=await request.read() or None, headers=headers) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read())

    runner = web.ServerRunner(web.Server(passed))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("by_number", [False, True], ids=["the service's webhook", "the senders' webhooks"])
def test_nothing_is_named_with_a_messaging_service(tmp_path: Path, by_number: bool) -> None:
    async def scenario() -> None:
        settings = {"twilio": {"messaging_service_sid": SERVICE}}
        async with healthy(tmp_path, settings) as s:
            hook = f"{s.relay.url}/webhook/twilio/incoming{OVERRIDES}"
            url = "" if by_number else hook
            service = MessagingService(
                SERVICE, (SENDER,), inbound_request_url=url, use_inbound_webhook_on_number=by_number
            )
            s.twilio.register(service, Sender(SENDER, callback_url=hook if by_number else ""))
            found = await examined(s)
            assert faults_of(found) == {}
            assert found["messaging service"].status == "ok"

    run(scenario())


def test_nothing_is_named_with_several_senders(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path, start=False) as s:
            s.twilio.register(*(Sender(each, callback_url=_hook(s.relay.url)) for each in (SENDER, SECOND)))
            with s.relay.config.open("a") as config:
                config.write(f'[[sender]]\nnumber = "{SECOND}"\nagent_ids = ["{AGENT.agent_id}"]\n')
            await s.relay.start()
            await hear_post_call(s)
            found = await examined(s)
            assert faults_of(found) == {}
            assert found["Twilio webhook +573151111111"].status == "ok"
            assert found["Twilio sender +573151111111"].status == "ok"

    run(scenario())


def _hook(url: str) -> str:
    return f"{url}/webhook/twilio/incoming{OVERRIDES}"


def test_the_sandbox_is_not_a_fault_and_says_where_its_webhook_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        twilio = TwilioStandin(delays=Delays(0.02, 0.02, 0.02), enforce_window=False)
        twilio.template(Template(HX, "Hola {{1}}, gracias.", {"1": "Ana"}))
        async with healthy(tmp_path, {"opening.completed": {"content_sid": ""}}, twilio=twilio) as s:
            found = await examined(s)
            assert faults_of(found) == {}
            assert found["Twilio webhook"].status == "skipped"
            assert "WhatsApp sandbox settings" in found["Twilio webhook"].message

    run(scenario())


def test_an_agent_with_the_usual_client_events_is_not_a_fault(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = replace(GOOD_AGENT, client_events=DEFAULT_EVENTS)
        async with healthy(tmp_path, agent=agent) as s:
            assert faults_of(await examined(s)) == {}

    run(scenario())


def test_variables_that_tools_assign_or_the_service_supplies_are_not_asked_of_a_batch(tmp_path: Path) -> None:
    async def scenario() -> None:
        tools = (
            {"type": "webhook", "name": "crm", "assignments": [{"dynamic_variable": "saldo"}]},
            {"type": "system", "name": "end_call"},
        )
        agent = replace(
            GOOD_AGENT, prompt="{{cliente}} debe {{saldo}} a las {{system__time}}, {{channel}}", tools=tools
        )
        async with healthy(tmp_path, agent=agent) as s:
            assert faults_of(await examined(s)) == {}

    run(scenario())


def test_a_tools_variables_must_be_in_the_batch(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = replace(GOOD_AGENT, tool_ids=("tool_crm",))
        async with healthy(tmp_path, agent=agent) as s:
            schema = {
                "url": "https://crm.co/{{cuenta}}",
                "request_headers": {"X-Key": {"variable_name": "secret__llave"}},
                "path_params_schema": {"id": {"type": "string", "dynamic_variable": "cedula"}},
            }
            s.elevenlabs.add_tool("tool_crm", {"type": "webhook", "name": "crm", "api_schema": schema})
            (found,) = faults_of(await examined(s)).values()
            assert "requires the variables cedula, cuenta, secret__llave" in found.message

    run(scenario())


def test_a_setting_that_twilio_does_not_show_is_skipped_with_the_place_to_look(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with healthy(tmp_path, twilio=good_twilio()) as s:
            s.twilio.configure(forbidden=("senders", "content"))
            found = await examined(s)
            assert faults_of(found) == {}
            for name in ("Twilio sender", "Twilio webhook"):
                assert found[name].status == "skipped"
                assert "Twilio console" in found[name].message

    run(scenario())
