"""The resources that `doctor` and `forget` ask for, read by the official SDK."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from elevenlabs.core.api_error import ApiError

from tests.standins.elevenlabs_played import ANA, KEY, START, fetched, played, run, sdk
from wa_relay.standins.elevenlabs import Recipient, WorkspaceWebhook

TOOL: dict[str, Any] = {
    "type": "webhook",
    "name": "reservar_cita",
    "description": "Books an appointment",
    "api_schema": {
        "url": "https://api.example.org/{{sede}}/citas",
        "method": "POST",
        "request_headers": {"X-Customer": {"variable_name": "customer_id"}},
    },
}


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_the_permission_is_refused_by_name(status: int) -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            standin.settings.missing_permissions = ("convai_read",)
            standin.settings.permission_status = status
            with pytest.raises(ApiError) as caught:
                await api.conversational_ai.batch_calls.list()
            assert caught.value.status_code == status
            assert caught.value.body["detail"]["status"] == "missing_permissions"
            assert "convai_read" in caught.value.body["detail"]["message"]
            assert (await fetched(standin, "/v1/convai/conversation/get-signed-url?agent_id=agent_1"))[0] == 200
            standin.settings.missing_permissions = ("convai_write",)
            assert (await fetched(standin, "/v1/convai/conversation/get-signed-url?agent_id=agent_1"))[0] == status
            assert (await fetched(standin, "/v1/convai/agents/agent_1"))[0] == 200

    run(scenario())


def test_the_sdk_reads_an_agents_tools_and_the_tools_of_the_workspace() -> None:
    async def scenario() -> None:
        changes: dict[str, Any] = {"tools": (TOOL,), "tool_ids": ("tool_1",), "placeholders": {"sede": "norte"}}
        async with played(**changes) as standin, sdk(standin) as api:
            standin.add_tool("tool_1", TOOL)
            agent = await api.conversational_ai.agents.get("agent_1")
            prompt = agent.conversation_config.agent.prompt
            assert prompt is not None
            assert prompt.tool_ids == ["tool_1"]
            assert prompt.tools is not None
            assert prompt.tools[0].name == "reservar_cita"
            tool = await api.conversational_ai.tools.get("tool_1")
            assert tool.tool_config.name == "reservar_cita"
            with pytest.raises(ApiError) as caught:
                await api.conversational_ai.tools.get("tool_2")
            assert caught.value.status_code == 404

    run(scenario())


def test_the_sdk_reads_the_settings_and_the_webhooks_of_the_workspace() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            assert (await api.conversational_ai.settings.get()).webhooks.post_call_webhook_id is None
            standin.set_webhooks(WorkspaceWebhook("wh_1", "https://relay.example.org/x", is_auto_disabled=True))
            settings = await api.conversational_ai.settings.get()
            assert settings.webhooks is not None
            assert settings.webhooks.post_call_webhook_id == "wh_1"
            (webhook,) = (await api.webhooks.list()).webhooks
            assert (webhook.webhook_url, webhook.is_auto_disabled) == ("https://relay.example.org/x", True)

    run(scenario())


def test_a_call_shows_its_length_and_what_was_collected() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            recipient = Recipient("+573001112233", talk_seconds=12, collected={"interest": "yes", "budget": None})
            batch = standin.add_batch(name="x", agent_id="agent_1", recipients=[recipient])
            call = standin.finish_call(batch, 0)
            assert call is not None
            read = await api.conversational_ai.conversations.get(call)
            assert read.metadata.call_duration_secs == 12
            assert read.analysis is not None
            results = read.analysis.data_collection_results
            assert results is not None
            assert {name: one.value for name, one in results.items()} == {"interest": "yes", "budget": None}

    run(scenario())


def test_a_recipients_variables_may_be_null_or_a_list() -> None:
    async def scenario() -> None:
        async with played() as standin:
            recipient = Recipient("+573001112233", {"cita": None, "planes": ["A", "B"]})
            batch = standin.add_batch(name="x", agent_id="agent_1", recipients=[recipient])
            _, detail = await fetched(standin, f"/v1/convai/batch-calling/{batch}")
            data = detail["recipients"][0]["conversation_initiation_client_data"]
            assert data["dynamic_variables"] == {"cita": None, "planes": ["A", "B"]}

    run(scenario())


def test_the_details_of_a_call_are_found_some_time_after_its_end() -> None:
    async def scenario() -> None:
        async with played() as standin:
            batch = standin.add_batch(name="x", agent_id="agent_1", recipients=[ANA, ANA])
            now = time.time()
            late = standin.finish_call(batch, 0, ended_at=now)
            early = standin.finish_call(batch, 1, ended_at=now - 90)
            standin.settings.details_lag = 60
            assert (await fetched(standin, f"/v1/convai/conversations/{late}"))[0] == 404
            assert (await fetched(standin, f"/v1/convai/conversations/{early}"))[0] == 200

    run(scenario())


def test_the_sdk_deletes_a_conversation_once() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            batch = standin.add_batch(name="x", agent_id="agent_1", recipients=[ANA, ANA])
            call = standin.finish_call(batch, 0)
            assert call is not None
            await api.conversational_ai.conversations.delete(call)
            for _ in range(2):
                with pytest.raises(ApiError) as caught:
                    await api.conversational_ai.conversations.delete(call)
                assert caught.value.status_code == 404
            assert [entry.data["conversation_id"] for entry in standin.journal.entries("deleted")] == [call]
            other = standin.finish_call(batch, 1)
            page = await api.conversational_ai.conversations.list()
            assert [one.conversation_id for one in page.conversations] == [other]

    run(scenario())


def test_nine_thousand_batches_are_listed_page_by_page() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.add_batches(9000, agent_id="agent_1", ended_at=START)
            path, seen = "/v1/convai/batch-calling/workspace?limit=1000", 0
            query = ""
            while True:
                _, page = await fetched(standin, path + query)
                seen += len(page["batch_calls"])
                if not page["has_more"]:
                    break
                query = f"&last_doc={page['next_doc']}"
            assert seen == 9000

    run(scenario())


def test_the_date_header_can_be_off() -> None:
    async def scenario() -> None:
        async with played() as standin:
            standin.settings.clock_skew = 300.0
            headers = {"xi-api-key": KEY}
            path = standin.url + "/v1/convai/batch-calling/workspace"
            async with aiohttp.ClientSession(headers=headers) as http, http.get(path) as answer:
                off = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
            assert 290 < off < 310

    run(scenario())


def test_recordings_sessions_tools_and_batches_are_set_up_by_controls() -> None:
    async def scenario() -> None:
        async with played() as standin, aiohttp.ClientSession(headers={"xi-api-key": KEY}) as http:

            async def control(name: str, body: object = None) -> Any:
                url, method = f"{standin.url}/_standin/{name}", "GET" if body is None else "POST"
                async with http.request(method, url, json=body) as answer:
                    return await answer.json()

            recording = await control("recording", {"base64": "T2dnUw==", "text": "Hola", "seconds": 2.0})
            form = aiohttp.FormData({"model_id": "scribe_v2"})
            form.add_field("file", b"OggS", filename="a.ogg", content_type="audio/ogg")
            async with http.post(f"{standin.url}/v1/speech-to-text", data=form) as answer:
                assert (await answer.json())["text"] == "Hola"
            assert await control("transcriptions") == {recording["sha256"]: 1}
            assert (await control("settings", {"most_sessions": 2, "full": "queue"}))["full"] == "queue"
            assert await control("sessions") == {"open": 0, "peak": 0}
            assert await control("tool", {"id": "tool_1", "config": TOOL}) == {"tool": "tool_1"}
            assert (await fetched(standin, "/v1/convai/tools/tool_1"))[1]["tool_config"] == TOOL
            await control("webhooks", [{"webhook_id": "wh_1", "url": "https://relay.example.org/x"}])
            assert (await fetched(standin, "/v1/workspace/webhooks"))[1]["webhooks"][0]["webhook_id"] == "wh_1"
            made = await control("batches", {"count": 3, "agent_id": "agent_1"})
            assert len(made["batches"]) == 3
            scenario = {"name": "mcp_tool", "tool": "reservar_cita", "then": "drop"}
            assert await control("scenario", {"scenario": scenario}) == {}
            assert "error" in await control("recording", {"text": "Hola"})

    run(scenario())
