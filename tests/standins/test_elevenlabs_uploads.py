"""Recordings and files, sent by the official SDK."""

from __future__ import annotations

import hashlib
from typing import Any

import aiohttp
import httpx
import pytest
from elevenlabs.core.api_error import ApiError

from tests.standins.elevenlabs_played import AGENT, KEY, ClosedError, fetched, played, run, sdk, session
from wa_relay.standins.elevenlabs import Fault

VOICE = b"OggS a voice note"
PICTURE = ("recibo.jpg", b"\xff\xd8\xff\xe0 picture", "image/jpeg")


async def transcribe(api: Any, data: bytes = VOICE, model: str = "scribe_v2", **fields: Any) -> Any:
    file = ("note.ogg", data, "audio/ogg")
    return await api.speech_to_text.convert(model_id=model, file=file, **fields)


def test_the_sdk_transcribes_a_voice_note_and_each_one_that_is_paid_is_counted() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            number = standin.set_transcript(VOICE, "Quiero el Premium", "spa", 4.5)
            first = await transcribe(api, language_code="es", tag_audio_events=False)
            assert (first.text, first.language_code, first.audio_duration_secs) == ("Quiero el Premium", "spa", 4.5)
            assert [word.text for word in first.words] == ["Quiero", "el", "Premium"]
            await transcribe(api)
            other = await transcribe(api, b"OggS another")
            assert other.text == standin.settings.speech_text
            assert number == hashlib.sha256(VOICE).hexdigest()
            assert dict(standin.transcriptions) == {number: 2, hashlib.sha256(b"OggS another").hexdigest(): 1}
            (entry, *_) = standin.journal.entries("speech")
            assert (entry.data["content_type"], entry.data["size"]) == ("audio/ogg", len(VOICE))

    run(scenario())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "quota_exceeded"),
        (401, "missing_permissions"),
        (402, ""),
        (403, "missing_permissions"),
        (429, "concurrent_limit_exceeded"),
        (500, ""),
        (503, "system_busy"),
    ],
)
def test_a_refused_transcription_is_not_paid(status: int, code: str) -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            standin.faults.next("speech", Fault(status=status, code=code), times=9)
            with pytest.raises(ApiError) as caught:
                await transcribe(api, request_options={"max_retries": 0})
            assert caught.value.status_code == status
            assert caught.value.body["detail"]["code"] == (code or caught.value.body["detail"]["code"])
            assert not standin.transcriptions

    run(scenario())


def test_a_transcription_whose_response_is_lost_is_paid() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            standin.faults.next("speech", Fault("lost"))
            with pytest.raises(httpx.TransportError):
                await transcribe(api, request_options={"max_retries": 0})
            await transcribe(api)
            assert list(standin.transcriptions.values()) == [2]

    run(scenario())


def test_a_recording_in_which_nobody_speaks_has_an_empty_transcript() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            standin.set_transcript(VOICE, "")
            silent = await transcribe(api)
            assert (silent.text, silent.words) == ("", [])

    run(scenario())


def test_a_wrong_model_an_empty_file_and_an_unknown_field_are_refused() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            with pytest.raises(ApiError) as caught:
                await transcribe(api, model="scribe_v9")
            assert caught.value.status_code == 400
            with pytest.raises(ApiError) as caught:
                await transcribe(api, b"")
            assert caught.value.status_code == 400
            wrong = {"model_id": "scribe_v2", "langauge_code": "es"}
            async with httpx.AsyncClient(headers={"xi-api-key": KEY}) as http:
                for data, name in ((wrong, "langauge_code"), ({}, "model_id")):
                    file = {"file": ("a.ogg", VOICE, "audio/ogg")}
                    answer = await http.post(f"{standin.url}/v1/speech-to-text", data=data, files=file)
                    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", name])
                plain = await http.post(f"{standin.url}/v1/speech-to-text", content=VOICE)
                assert plain.status_code == 422
            assert not standin.transcriptions

    run(scenario())


def test_a_voice_note_of_sixteen_megabytes_is_taken() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api:
            await transcribe(api, bytes(16_000_000))
            assert standin.journal.entries("speech")[0].data["size"] == 16_000_000

    run(scenario())


def test_the_sdk_uploads_a_picture_for_a_live_session_which_is_answered_about_it() -> None:
    async def scenario() -> None:
        async with played() as standin, sdk(standin) as api, session(standin) as raw:
            number = (await raw.begin())["conversation_initiation_metadata_event"]["conversation_id"]
            file = await api.conversational_ai.conversations.files.create(number, file=PICTURE)
            words = {"type": "user_message", "text": "¿Me sirve este recibo?"}
            await raw.say("multimodal_message", text=words, file={"type": "file_input", "file_id": file.file_id})
            said = (await raw.hear("agent_response"))["agent_response_event"]["agent_response"]
            assert said == f"Ya vi la imagen ({len(PICTURE[1])} bytes). ¿Qué te gustaría saber?"
            (entry,) = standin.journal.entries("file")
            assert (entry.data["conversation_id"], entry.data["name"]) == (number, "recibo.jpg")
            (asked,) = standin.journal.entries("user_message")
            assert (asked.data["text"], asked.data["files"]) == ("¿Me sirve este recibo?", [file.file_id])
            standin.answers = {"application/pdf": "Ese PDF ya lo tengo."}
            pdf = await api.conversational_ai.conversations.files.create(
                number, file=("a.pdf", b"%PDF", "application/pdf")
            )
            await raw.say("multimodal_message", files=[{"type": "file_input", "file_id": pdf.file_id}])
            assert (await raw.hear("agent_response"))["agent_response_event"][
                "agent_response"
            ] == "Ese PDF ya lo tengo."
            await api.conversational_ai.conversations.files.delete(number, pdf.file_id)

    run(scenario())


async def upload(standin_url: str, number: str, file: tuple[str, bytes, str] | None = PICTURE) -> tuple[int, str]:
    form = aiohttp.FormData()
    if file is None:
        form.add_field("picture", b"x", filename="x.png")
    else:
        form.add_field("file", file[1], filename=file[0], content_type=file[2])
    path = f"{standin_url}/v1/convai/conversations/{number}/files"
    async with aiohttp.ClientSession(headers={"xi-api-key": KEY}) as http, http.post(path, data=form) as answer:
        detail = (await answer.json()).get("detail", [{}])
        return answer.status, detail["code"] if isinstance(detail, dict) else ""


def test_files_are_refused_that_the_agent_or_the_service_does_not_take() -> None:
    async def scenario() -> None:
        async with played(max_files=2) as standin:
            standin.settings.largest_file = 100
            async with session(standin) as raw:
                number = (await raw.begin())["conversation_initiation_metadata_event"]["conversation_id"]
                assert await upload(standin.url, number, None) == (422, "")
                assert await upload(standin.url, number, ("a.mp4", b"x", "video/mp4")) == (400, "invalid_file_type")
                assert await upload(standin.url, number, ("a.png", bytes(101), "image/png")) == (400, "file_too_large")
                assert await upload(standin.url, "conv_other") == (404, "conversation_not_found")
                assert [(await upload(standin.url, number))[0] for _ in range(3)] == [200, 200, 400]
            await standin.journal.wait_for(lambda entry: entry.kind == "session_closed")
            assert await upload(standin.url, number) == (404, "conversation_not_found")

    run(scenario())


@pytest.mark.parametrize(("accepts", "status"), [(True, 200), (None, 200), (False, 400)])
def test_an_agent_accepts_files_unless_its_settings_forbid_it(accepts: bool | None, status: int) -> None:
    async def scenario() -> None:
        async with played(file_input=accepts) as standin, session(standin) as raw:
            number = (await raw.begin())["conversation_initiation_metadata_event"]["conversation_id"]
            assert (await upload(standin.url, number))[0] == status
            _, agent = await fetched(standin, f"/v1/convai/agents/{AGENT.agent_id}")
            shown = agent["conversation_config"]["conversation"].get("file_input")
            assert shown == (None if accepts is None else {"enabled": accepts, "max_files_per_conversation": 10})

    run(scenario())


def test_a_file_of_another_conversation_ends_the_session() -> None:
    async def scenario() -> None:
        async with played() as standin, session(standin) as one, session(standin) as two:
            number = (await one.begin())["conversation_initiation_metadata_event"]["conversation_id"]
            await two.begin()
            await upload(standin.url, number)
            file_id = standin.journal.entries("file")[0].data["file_id"]
            await two.say("multimodal_message", file={"type": "file_input", "file_id": file_id})
            with pytest.raises(ClosedError) as closed:
                await two.hear("agent_response")
            assert closed.value.code == 1008

    run(scenario())
