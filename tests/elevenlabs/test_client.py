"""The REST client against a scripted service on a real socket."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
from dataclasses import asdict
from typing import Any

import pytest
from elevenlabs.types import BatchCallDetailedResponse, GetConversationResponseModel

from tests.sources.scripted import (
    KEY,
    START,
    Answer,
    Scripted,
    batch,
    conversation,
    json_answer,
    recipient,
    run,
    service,
)
from wa_relay.elevenlabs import shapes
from wa_relay.elevenlabs.client import BATCH_LIMIT, ElevenLabs
from wa_relay.elevenlabs.refusals import detail
from wa_relay.elevenlabs.shapes import AgentSettings, conversation_from, json_object
from wa_relay.elevenlabs.variables import variables_from
from wa_relay.model import PayloadError, UpstreamError

AGENT = "/v1/convai/agents/agent_1"
CONVERSATION = "/v1/convai/conversations/conv_1"
WORKSPACE = "/v1/convai/batch-calling/workspace"
BATCH = "/v1/convai/batch-calling/btcal_1"


def test_the_scripted_shapes_are_those_of_the_official_sdk() -> None:
    """Its models are strict where this project's are lenient."""
    assert BatchCallDetailedResponse(**batch(recipient(1))).recipients[0].conversation_id == "conv_1"
    assert GetConversationResponseModel(**conversation(1)).metadata.call_duration_secs == 54


def fault_of(answer: Answer, timeout: float = 5.0) -> UpstreamError:
    """Returns the error of fetching a conversation when the service answers so."""

    async def scenario() -> UpstreamError:
        async with service(Scripted(answers={CONVERSATION: answer}), timeout=timeout) as api:
            with pytest.raises(UpstreamError) as caught:
                await api.conversation("conv_1")
            return caught.value

    return run(scenario())


def test_a_conversation_has_its_end_its_transcript_and_its_variables() -> None:
    script = Scripted(conversations={"conv_1": conversation(1)})

    async def scenario() -> None:
        async with service(script) as api:
            found = await api.conversation("conv_1")
        assert found.ended_at == START + 60 + 54
        assert found.phone == "+573138500001"
        assert found.outbound_call
        assert found.summary == "Le interesa el plan."
        assert found.transcript == "Agente: Hola Ana, te llamo de Acme.\nCliente: Sí"
        assert found.variables == {"plan": "Oro"}
        assert (found.batch_id, found.batch_recipient_id) == ("btcal_1", "rcpt_1")
        assert script.requests[0].headers["xi-api-key"] == KEY

    run(scenario())


@pytest.mark.parametrize(
    ("status", "metadata", "ended"),
    [
        ("processing", {}, True),
        ("failed", {"call_duration_secs": 0}, True),
        ("initiated", {}, False),
        ("in-progress", {}, False),
        ("something-new", {}, False),
        ("done", {"start_time_unix_secs": 0}, False),
        ("done", {"start_time_unix_secs": None}, False),
        ("done", {"start_time_unix_secs": "soon"}, False),
        ("done", {"start_time_unix_secs": (START + 60) * 1000}, False),
        ("done", {"call_duration_secs": None}, False),
        ("done", {"call_duration_secs": -3}, False),
        ("done", {"call_duration_secs": float("nan")}, False),
        ("done", {"call_duration_secs": True}, False),
    ],
)
def test_the_end_is_known_only_from_a_call_that_is_over_with_start_and_duration(
    status: str, metadata: dict[str, Any], ended: bool
) -> None:
    assert (conversation_from(conversation(1, status, **metadata)).ended_at is not None) is ended


@pytest.mark.parametrize("odd", [None, 7, "x", [], [1], {"deep": None}])
@pytest.mark.parametrize(
    "field", ["metadata", "analysis", "transcript", "conversation_initiation_client_data", "agent_name"]
)
def test_odd_shapes_beside_the_essentials_do_no_harm(field: str, odd: object) -> None:
    found = conversation_from({**conversation(1), field: odd})
    assert found.conversation_id == "conv_1"


@pytest.mark.parametrize("field", ["conversation_id", "agent_id", "status"])
def test_a_conversation_without_its_essentials_names_them(field: str) -> None:
    with pytest.raises(PayloadError) as caught:
        conversation_from({**conversation(1), field: None})
    assert caught.value.code == "invalid_payload"
    assert caught.value.fields[0][0] == field


def test_text_that_no_database_takes_is_made_storable() -> None:
    found = conversation_from({**conversation(1), "agent_name": "A\ud800\0na"})
    assert found.agent_name == "A?na"


def test_variables_are_scalars_without_the_reserved_ones() -> None:
    given = {"a": "x", "b": 1, "c": True, "d": 1.5, "system__x": "y", 7: "z"}
    assert variables_from(given) == {"a": "x", "b": 1, "c": True, "d": 1.5}


def test_every_variable_stays_since_a_prompt_that_lacks_one_ends_the_session() -> None:
    given = {"nothing": None, "list": ["sí", 1], "object": {"día": "jueves"}, "endless": float("inf"), "bad\ud800": "x"}
    assert variables_from(given) == {
        "nothing": "",
        "list": '["sí", 1]',
        "object": '{"día": "jueves"}',
        "endless": "",
        "bad?": "x",
    }


def test_a_conversation_and_a_recipient_keep_their_null_and_nested_variables() -> None:
    data = {"dynamic_variables": {"cita": None, "planes": ["Oro"]}}
    found = conversation_from({**conversation(1), "conversation_initiation_client_data": data})
    assert found.variables == {"cita": "", "planes": '["Oro"]'}
    polled = {**recipient(1), "conversation_initiation_client_data": data}
    assert shapes.batch_from(json.dumps(batch(polled)).encode()).recipients[0].variables == found.variables


def test_an_agents_settings_have_what_a_text_turn_needs() -> None:
    found = {
        "agent_id": "agent_1",
        "conversation_config": {
            "agent": {"first_message": "Hola", "prompt": {}},
            "conversation": {"text_only": True, "client_events": ["agent_response", "ping", "brand_new"]},
        },
        "platform_settings": {
            "overrides": {"conversation_config_override": {"conversation": {"text_only": True}}},
        },
    }

    async def scenario() -> None:
        script = Scripted(answers={AGENT: json_answer(found)})
        async with service(script) as api:
            settings = await api.agent("agent_1")
            assert settings == AgentSettings(
                "agent_1", "Hola", True, True, frozenset({"agent_response", "ping", "brand_new"})
            )
            script.answers[AGENT] = json_answer(
                {"agent_id": "agent_1", "conversation_config": {"agent": {"first_message": ""}}}
            )
            assert await api.agent("agent_1") == AgentSettings("agent_1", "")
            script.answers[AGENT] = json_answer({"agent_id": "agent_1", "platform_settings": None})
            assert await api.agent("agent_1") == AgentSettings("agent_1")

    run(scenario())


@pytest.mark.parametrize(
    ("prompt", "workflow", "unseen"),
    [
        ({}, {}, False),
        ({"tools": [{"type": "system"}, {"type": "client"}], "tool_ids": ["t1"]}, {}, False),
        ({"tools": [{"type": "webhook"}]}, {}, True),
        ({"tools": [{"type": "api_integration_webhook"}]}, {}, True),
        ({"tool_ids": ["t1"]}, {}, True),
        ({"mcp_server_ids": ["m1"]}, {}, True),
        ({}, {"nodes": {"n1": {"type": "tool", "tools": [{"tool_id": "t1"}]}}}, True),
        ({}, {"nodes": {"n1": {"additional_tool_ids": []}, "n2": None}}, False),
    ],
)
def test_an_agents_tools_are_unseen_without_its_tool_events(
    prompt: dict[str, object], workflow: dict[str, object], unseen: bool
) -> None:
    data: dict[str, Any] = {
        "agent_id": "a",
        "conversation_config": {"agent": {"prompt": prompt}, "conversation": {}},
        "workflow": workflow,
    }
    assert shapes.settings_from(data).tools_unseen is unseen
    data["conversation_config"]["conversation"]["client_events"] = ["agent_tool_request"]
    assert shapes.settings_from(data).tools_unseen is unseen
    data["conversation_config"]["conversation"]["client_events"] = ["agent_tool_request", "agent_tool_response"]
    assert not shapes.settings_from(data).tools_unseen


def test_a_signed_url_is_a_websocket_address_or_a_fault() -> None:
    path = "/v1/convai/conversation/get-signed-url"

    async def scenario() -> None:
        script = Scripted(answers={path: json_answer({"signed_url": "wss://x.example/v1?agent_id=a"})})
        async with service(script) as api:
            assert await api.signed_url("agent 1&x") == "wss://x.example/v1?agent_id=a"
            assert script.requests[0].query["agent_id"] == "agent 1&x"
            for wrong in ("https://x.example", "wss://", "", None, 7):
                script.answers[path] = json_answer({"signed_url": wrong})
                with pytest.raises(UpstreamError):
                    await api.signed_url("agent_1")

    run(scenario())


def test_the_list_is_paged_to_its_end_and_filtered_by_agent() -> None:
    batches = {f"b{n}": batch(name=f"b{n}", agent_id=f"agent_{n % 2}") for n in range(7)}

    async def scenario() -> None:
        script = Scripted(batches=batches, page_size=3)
        async with service(script) as api:
            pages = [page async for page in api.batch_pages()]
            assert [b.id for page in pages for b in page.batches] == list(batches)
            assert len(pages) == 3
            ours = [b.id async for page in api.batch_pages("agent_1") for b in page.batches]
            assert ours == ["b1", "b3", "b5"]

    run(scenario())


def test_a_list_that_goes_in_circles_ends_in_a_fault() -> None:
    async def scenario() -> None:
        circle = json_answer({"batch_calls": [], "next_doc": "x", "has_more": True})
        script = Scripted(answers={WORKSPACE: circle})
        async with service(script) as api:
            with pytest.raises(UpstreamError, match="no end"):
                [page async for page in api.batch_pages()]
        assert len(script.asked) == 2

    run(scenario())


def test_entries_that_make_no_sense_are_skipped_and_counted() -> None:
    good = batch(recipient(1), recipient(2))
    good["recipients"] += [None, "x", {"id": "rcpt_3"}, recipient(4, "brand_new"), recipient(5, updated_at_unix="?")]

    async def scenario() -> None:
        listed = {"batch_calls": [good, {"id": ""}, 3], "has_more": False}
        script = Scripted(batches={"btcal_1": good}, answers={WORKSPACE: json_answer(listed)})
        async with service(script) as api:
            [page] = [page async for page in api.batch_pages()]
            found = await api.batch("btcal_1")
        assert ([b.id for b in page.batches], page.skipped) == (["btcal_1"], 2)
        assert ([r.id for r in found.recipients], found.skipped) == (["rcpt_1", "rcpt_2", "rcpt_4", "rcpt_5"], 3)
        assert found.recipients[0].variables == {"customer_name": "Ana 1"}

    run(scenario())


@pytest.mark.parametrize(
    "change",
    [{"status": "failed"}, {"last_updated_at_unix": START + 201}, {"retry_count": 1}, {"total_calls_finished": 9}],
)
def test_the_mark_of_a_batch_changes_with_everything_that_moves(change: dict[str, Any]) -> None:
    before, after = (shapes.batch_from(json.dumps(b).encode()).summary for b in (batch(), {**batch(), **change}))
    assert before.mark != after.mark


def test_check_asks_for_one_batch_only() -> None:
    async def scenario() -> None:
        script = Scripted()
        async with service(script) as api:
            await api.check()
        assert script.requests[0].query == {"limit": "1"}

    run(scenario())


@pytest.mark.parametrize(
    ("status", "permanent", "advice"),
    [
        (400, True, "check ids"),
        (401, True, "ELEVENLABS_API_KEY"),
        (402, True, "subscription"),
        (403, True, "permission"),
        (404, True, "deleted"),
        (409, False, "again"),
        (422, True, "check ids"),
        (429, False, "too many"),
        (500, False, "error of its own"),
        (503, False, "error of its own"),
        (302, True, "redirects are not followed"),
    ],
)
def test_each_refusal_says_what_to_do_and_if_it_is_worth_another_try(status: int, permanent: bool, advice: str) -> None:
    body = {"detail": {"type": "t", "code": "some_code", "status": "older", "message": "the words"}}
    fault = fault_of(json_answer(body, status, **{"Retry-After": "7", "Location": "http://127.0.0.1:1/"}))
    assert (fault.status, fault.permanent, fault.code, fault.retry_after) == (status, permanent, "some_code", 7.0)
    assert advice in fault.message
    assert "the words" in fault.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_for_a_missing_permission_names_it(status: int) -> None:
    body = {"detail": {"status": "missing_permissions", "message": "missing the permission convai_write"}}
    assert "Agents: Write" in fault_of(json_answer(body, status)).message


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"detail": {"code": "c", "status": "s", "message": "m"}}, "c", "m"),
        ({"detail": {"status": "s", "message": "m"}}, "s", "m"),
        (
            {"detail": [{"loc": ["query", "limit"], "msg": "bad", "type": "int_parsing"}]},
            "int_parsing",
            "query.limit: bad",
        ),
        ({"detail": "Not Found"}, None, "Not Found"),
        ({"detail": []}, None, ""),
        ({"detail": {"code": 7}}, None, ""),
        ([1], None, ""),
        ({"detail": "a\x1b[31m\nb"}, None, "a [31m b"),
    ],
)
def test_all_forms_of_an_error_body_are_read(body: object, code: str | None, words: str) -> None:
    assert detail(json.dumps(body).encode()) == (code, words)


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_an_error_body_other_than_json_has_no_code(body: bytes) -> None:
    assert detail(body) == (None, "")


def test_the_key_is_in_no_message() -> None:
    fault = fault_of(json_answer({"detail": f"bad key {KEY}"}, 401))
    assert KEY not in fault.message


@pytest.mark.parametrize(
    "body",
    [
        b"<html>502</html>",
        b"",
        b"[]",
        b'{"a":1',
        b'{"a":1}}',
        b"null",
        b"[" * 100_000,
        b'{"a":' + b"[" * 100_000,
        b"\xff{}",
        b"{}",
    ],
)
def test_an_invalid_answer_is_a_fault_worth_another_try(body: bytes) -> None:
    fault = fault_of(Answer(body))
    assert not fault.permanent
    assert "elevenlabs.base_url" in fault.message


def test_silence_ends_at_the_deadline() -> None:
    started = time.monotonic()
    fault = fault_of(Answer(hang=True), timeout=0.2)
    assert (fault.permanent, fault.status) == (False, None)
    assert time.monotonic() - started < 3


def test_a_connection_that_breaks_off_is_worth_another_try() -> None:
    fault = fault_of(Answer(drop=True))
    assert (fault.permanent, fault.status) == (False, None)


def test_nobody_listening_says_what_to_check() -> None:
    async def scenario() -> None:
        async with ElevenLabs("http://127.0.0.1:1", KEY) as api:
            with pytest.raises(UpstreamError, match="can't be reached") as caught:
                await api.check()
            assert not caught.value.permanent

    run(scenario())


def test_packed_answers_are_unpacked_up_to_the_limit() -> None:
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}

    async def scenario() -> None:
        script = Scripted()
        async with service(script) as api:
            script.answers[BATCH] = Answer(gzip.compress(json.dumps(batch(recipient(1))).encode()), 200, packed)
            assert len((await api.batch("btcal_1")).recipients) == 1
            script.answers[BATCH] = Answer(gzip.compress(bytes(BATCH_LIMIT + 1)), 200, packed)
            with pytest.raises(UpstreamError, match="more than 64 MiB"):
                await api.batch("btcal_1")
            script.answers[BATCH] = Answer(b"no gzip", 200, packed)
            with pytest.raises(UpstreamError):
                await api.batch("btcal_1")

    run(scenario())


@pytest.mark.parametrize("odd", ["..", ".", "a/../b", "a?b=c", "ñ\ud800", "%2e"])
def test_an_id_stays_one_segment_of_the_path(odd: str) -> None:
    async def scenario() -> None:
        script = Scripted()
        async with service(script) as api:
            with pytest.raises(UpstreamError) as caught:
                await api.conversation(odd)
        assert caught.value.status == 404
        [request] = script.requests
        raw = request.raw_path
        assert raw.startswith("/v1/convai/conversations/")
        assert raw.count("/") == 4
        assert "?" not in raw

    run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        " { } ",
        '{"a":[]}',
        '{"a" : [ 1 , {"b":[2]} , "c" ] , "d":null}\n',
        '{"a":[[],[1]],"a2":{"x":[{}]}}',
        "\ufeff{}",
    ],
)
def test_the_decoder_reads_what_json_reads(text: str) -> None:
    assert json_object(text.encode()) == json.loads(text.lstrip("\ufeff"))


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"a"}', '{"a":1,}', "{1:2}", '{"a":[1,]}', '{"a":[1 2]}', '{"a":[1', "{} x", '{"a":']
)
def test_the_decoder_refuses_anything_but_a_json_object(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|Extra data|property name|trailing comma"):
        json_object(text.encode())


@pytest.mark.parametrize("name", ["\ufeff", "tab\t", "null\\u0000", "\\ud800"])
def test_a_batch_is_read_although_its_json_is_odd(name: str) -> None:
    """A byte order mark, a raw control character, an escaped NUL or lone surrogate: Python's decoder takes them."""
    body = json.dumps(batch(recipient(1), 7)).replace('"name": "', f'"name": "{name}')  # type: ignore[arg-type]
    found = shapes.batch_from((("\ufeff" if name == "\ufeff" else "") + body).encode())
    assert (len(found.recipients), found.skipped) == (1, 1)


@pytest.mark.parametrize("recipients", [None, 7, "x", {}])
def test_a_batch_without_a_list_of_recipients_is_refused(recipients: object) -> None:
    with pytest.raises(PayloadError, match="recipients"):
        shapes.batch_from(json.dumps({**batch(), "recipients": recipients}).encode())


def test_a_batch_of_ten_thousand_never_holds_the_loop() -> None:
    """The longest pause of the loop is shorter than half of the decoding, both in time of the processor.

    The garbage collector is stopped, because a collection takes as long as the other tests have left objects.
    """
    content = json.dumps(batch(*(recipient(n) for n in range(10_000)))).encode()

    def decoding() -> float:
        began = time.process_time()
        shapes.batch_from(content)
        return time.process_time() - began

    async def longest_pause(done: asyncio.Event) -> float:
        longest, last = 0.0, time.process_time()
        while not done.is_set():
            await asyncio.sleep(0)
            longest, last = max(longest, time.process_time() - last), time.process_time()
        return longest

    async def fetched(api: ElevenLabs) -> float:
        done = asyncio.Event()
        watch = asyncio.create_task(longest_pause(done))
        found = await api.batch("btcal_1")
        done.set()
        assert len(found.recipients) == 10_000
        assert asdict(found.recipients[9_999])["phone"] == "+573138509999"
        return await watch

    async def scenario() -> list[float]:
        async with service(Scripted(answers={BATCH: Answer(content)})) as api:
            await api.check()
            return [await fetched(api) for _ in range(3)]

    gc.disable()
    try:
        assert min(run(scenario())) < min(decoding() for _ in range(3)) / 2
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("status", "results", "length", "collected"),
    [
        ("in-progress", None, None, None),
        ("processing", None, 54.0, None),
        ("done", {}, 54.0, {}),
        ("done", None, 54.0, {}),
        ("failed", None, 54.0, {}),
        (
            "done",
            {
                "interest": {"data_collection_id": "interest", "value": "yes", "rationale": "said so"},
                "age": {"value": 31},
                "owner": {"value": True},
                "plan": {"value": None},
                "odd": "text",
                "list": {"value": [1]},
            },
            54.0,
            {"interest": "yes", "age": 31, "owner": True},
        ),
    ],
)
def test_a_conversation_says_how_long_it_was_and_what_it_collected(
    status: str, results: object, length: float | None, collected: object
) -> None:
    shown = conversation(1, status)
    shown["analysis"] = None if results is None else {"data_collection_results": results}
    read = conversation_from(shown)
    assert (read.length, read.collected) == (length, collected)
