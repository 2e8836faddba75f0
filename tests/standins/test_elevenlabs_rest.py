"""The REST API, read by the official SDK and its models."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import aiohttp
import httpx
import pytest
from elevenlabs.client import ElevenLabs as Sdk
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import (
    BatchCallDetailedResponse,
    ConversationSignedUrlResponseModel,
    GetAgentResponseModel,
    GetConversationResponseModel,
    GetConversationsPageResponseModel,
    WorkspaceBatchCallsResponse,
)

from tests.standins.elevenlabs_played import ANA, KEY, START, fetched, played, run, sdk
from wa_relay.standins.elevenlabs import ElevenLabsStandin, Recipient, Scenario
from wa_relay.standins.elevenlabs.routes import route_of

BEA = Recipient("+573001112244", {"customer_name": "Bea"}, outcome="failed", conversation=False)
CRIS = Recipient("+573001112255", outcome="voicemail")


def a_campaign(standin: ElevenLabsStandin) -> tuple[str, str]:
    batch = standin.add_batch(name="Campaña", agent_id="agent_1", recipients=[ANA, BEA, CRIS], created_at=START)
    call = standin.finish_call(batch, 0, ended_at=START + 300)
    standin.finish_call(batch, 1)
    standin.finish_call(batch, 2)
    assert call is not None
    return batch, call


def test_the_sdk_reads_a_batch_and_its_recipients() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            batch, call = a_campaign(standin)
            listed = await api.conversational_ai.batch_calls.list()
            assert [one.id for one in listed.batch_calls] == [batch]
            detail = await api.conversational_ai.batch_calls.get(batch)
            assert [one.status for one in detail.recipients] == ["completed", "failed", "voicemail"]
            assert detail.recipients[0].conversation_id == call
            assert detail.recipients[1].conversation_id is None
            data = detail.recipients[0].conversation_initiation_client_data
            assert data is not None
            assert data.dynamic_variables == {"customer_name": "Ana"}
            assert (detail.total_calls_scheduled, detail.total_calls_dispatched, detail.total_calls_finished) == (
                3,
                3,
                3,
            )

    run(scenario())


def test_the_sdk_reads_a_conversation_its_agent_and_a_signed_url() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as client:
            _, call = a_campaign(standin)
            api = client.conversational_ai
            shown = await api.conversations.get(call)
            assert shown.status == "done"
            assert shown.analysis is not None
            assert shown.analysis.transcript_summary.startswith("Ana atendió")
            assert shown.metadata.start_time_unix_secs + shown.metadata.call_duration_secs == START + 300
            assert shown.metadata.phone_call is not None
            assert shown.metadata.phone_call.external_number == ANA.phone
            agent = await api.agents.get("agent_1")
            assert agent.conversation_config.conversation is not None
            assert agent.conversation_config.conversation.text_only is False
            signed = await api.conversations.get_signed_url(agent_id="agent_1")
            assert signed.signed_url.startswith(
                f"ws://127.0.0.1:{standin.port}/v1/convai/conversation?agent_id=agent_1&"
            )

    run(scenario())


def test_every_answer_fits_the_sdks_models_strictly() -> None:
    async def scenario() -> None:
        async with played(overrides=frozenset({"conversation.text_only", "agent.prompt.prompt"})) as standin:
            batch, call = a_campaign(standin)
            await read(standin, "/v1/convai/batch-calling/workspace", WorkspaceBatchCallsResponse)
            await read(standin, f"/v1/convai/batch-calling/{batch}", BatchCallDetailedResponse)
            await read(standin, f"/v1/convai/conversations/{call}", GetConversationResponseModel)
            await read(standin, "/v1/convai/conversations", GetConversationsPageResponseModel)
            await read(standin, "/v1/convai/agents/agent_1", GetAgentResponseModel)
            signed = "/v1/convai/conversation/get-signed-url?agent_id=agent_1"
            await read(standin, signed, ConversationSignedUrlResponseModel)

    async def read(standin: ElevenLabsStandin, path: str, model: Any) -> None:
        status, shown = await fetched(standin, path)
        assert status == 200
        # The SDK itself builds its models without checking them.
        model.model_validate(shown)

    run(scenario())


def test_the_list_of_batches_comes_in_pages_newest_first() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as client:
            ids = [
                standin.add_batch(name=str(n), agent_id=f"agent_{n % 2}", recipients=[ANA], created_at=START + n)
                for n in range(5)
            ]
            api, found, after = client.conversational_ai.batch_calls, [], None
            while True:
                page = await api.list(limit=2, last_doc=after)
                found += [one.id for one in page.batch_calls]
                after = page.next_doc
                if not page.has_more:
                    break
            assert found == ids[::-1]
            assert after is None
            _, shown = await fetched(standin, "/v1/convai/batch-calling/workspace?agent_id=agent_0")
            assert [one["name"] for one in shown["batch_calls"]] == ["4", "2", "0"]

    run(scenario())


def test_the_list_of_conversations_comes_in_pages_and_can_be_narrowed() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as client:
            standin.add_history(70, agent_id="agent_1", ended_at=START)
            api = client.conversational_ai.conversations
            first = await api.list(page_size=50)
            rest = await api.list(page_size=50, cursor=first.next_cursor)
            assert (len(first.conversations), len(rest.conversations), rest.has_more) == (50, 20, False)
            assert len({one.conversation_id for one in [*first.conversations, *rest.conversations]}) == 70
            late = await api.list(call_start_after_unix=int(START) - 70, page_size=100)
            assert 5 < len(late.conversations) < 15
            assert (await api.list(agent_id="agent_9")).conversations == []

    run(scenario())


def test_the_summary_leaves_out_a_transcript_that_is_too_long() -> None:
    async def scenario() -> None:
        async with played() as standin:
            _, call = a_campaign(standin)
            _, shown = await fetched(standin, f"/v1/convai/conversations/{call}/summary")
            assert (shown["message_count"], len(shown["messages"]), shown["messages_omitted"]) == (5, 5, False)
            _, shown = await fetched(standin, f"/v1/convai/conversations/{call}/summary?max_messages=2")
            assert (shown["message_count"], shown["messages"], shown["messages_omitted"]) == (5, None, True)

    run(scenario())


@pytest.mark.parametrize(("key", "code"), [("", "missing_api_key"), ("sk_wrong", "invalid_api_key")])
def test_nothing_is_shown_without_the_key(key: str, code: str) -> None:
    async def scenario() -> None:
        async with played() as standin:
            for path in ("batch-calling/workspace", "conversations", "agents/agent_1", "conversations/x/summary"):
                status, shown = await fetched(standin, f"/v1/convai/{path}", key)
                assert (status, shown["detail"]["code"]) == (401, code)
            assert {entry.data["auth"] for entry in standin.journal.entries("request")} == {False}

    run(scenario())


def test_unknown_ids_are_404_with_a_message_and_a_bad_limit_is_422() -> None:
    async def scenario() -> None:
        async with played() as standin:
            for path in ("batch-calling/no", "conversations/no", "conversations/no/summary", "agents/no"):
                status, shown = await fetched(standin, f"/v1/convai/{path}")
                assert (status, shown["detail"]["type"]) == (404, "not_found")
            status, shown = await fetched(standin, "/v1/convai/batch-calling/workspace?limit=many")
            assert (status, shown["detail"][0]["loc"]) == (422, ["query", "limit"])

    run(scenario())


def test_the_message_endpoint_is_not_there_unless_it_is_a_gateway() -> None:
    async def scenario() -> None:
        async with played() as standin, aiohttp.ClientSession(headers={"xi-api-key": KEY}) as http:
            _, call = a_campaign(standin)
            url = f"{standin.url}/v1/convai/conversations/{call}/message"
            body = {"message": "¿precio?", "mode": "text"}
            async with http.post(url, json=body) as answer:
                assert (answer.status, await answer.json()) == (404, {"detail": "Not Found"})
            standin.settings.gateway = True
            async with http.post(url, json=body) as answer:
                assert (await answer.json())["response"].startswith("Ana, el plan Premium cuesta $99/mes")
            async with http.post(url, data=b"{") as answer:
                assert answer.status == 422
            shown = standin.journal.entries("message")[0].data
            assert (shown["conversation_id"], shown["text"]) == (call, "¿precio?")

    run(scenario())


def test_a_voice_note_is_heard_and_a_file_is_taken_by_a_live_conversation_only() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as client:
            standin.settings.speech_text = "hola"
            heard = await client.speech_to_text.convert(model_id="scribe_v2", file=b"OggS")
            assert getattr(heard, "text", None) == "hola"
            _, call = a_campaign(standin)
            with pytest.raises(ApiError) as error:
                await client.conversational_ai.conversations.files.create(call, file=b"x")
            assert error.value.status_code == 404

    run(scenario())


@pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")
def test_the_sdks_own_chat_client_talks_with_an_agent() -> None:
    from elevenlabs.conversational_ai.conversation import Conversation  # warns while it is imported

    def chat(standin: ElevenLabsStandin) -> list[str]:
        heard: list[str] = []
        over, came = threading.Event(), threading.Event()

        def hear(text: str) -> None:
            heard.append(text)
            came.set()

        def end(details: object) -> None:
            over.set()

        http = httpx.Client()
        conversation = Conversation(
            Sdk(api_key=KEY, base_url=standin.url, httpx_client=http),
            "agent_1",
            requires_auth=True,
            callback_agent_response=hear,
            callback_disconnect=end,
        )
        conversation.start_session()  # type: ignore[no-untyped-call]
        if came.wait(3):
            came.clear()
            conversation.send_contextual_update("Ana habló por teléfono.")
            conversation.send_user_message("¿precio?")
            came.wait(3)
            conversation.end_session()  # type: ignore[no-untyped-call]
        over.wait(3)
        conversation.wait_for_session_end()
        http.close()
        return heard

    async def scenario() -> None:
        permitted = frozenset({"conversation.text_only"})
        async with played(first_message="Hola.", overrides=permitted) as standin:
            standin.scenarios.default = Scenario("parts")
            heard = await asyncio.to_thread(chat, standin)
            assert heard[0] == "Hola."
            assert "$99/mes" in heard[1]
            assert standin.journal.entries("session")[0].data["source"] == "python_sdk"

    run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v1/convai/batch-calling/workspace", ("workspace", "")),
        ("GET", "/v1/convai/batch-calling/btcal_1", ("batch", "btcal_1")),
        ("GET", "/v1/convai/conversations/c/summary", ("summary", "c")),
        ("POST", "/v1/convai/conversations/c/message", ("message", "c")),
        ("POST", "/v1/speech-to-text", ("speech", "")),
        ("POST", "/v1/convai/batch-calling/workspace", None),
        ("GET", "/v1/convai/conversations/", None),
        ("GET", "/v1/convai/conversations/a/b/c", None),
        ("GET", "/", None),
    ],
)
def test_a_request_finds_its_route(method: str, path: str, route: tuple[str, str] | None) -> None:
    assert route_of(method, path) == route
