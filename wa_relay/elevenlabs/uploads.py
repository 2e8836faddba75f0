"""Uploads files to ElevenLabs: recordings for speech-to-text, and files of a live conversation.

A file is streamed part by part. Its name and content type in the form are ours: nothing that the customer named goes
into a header.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from wa_relay.elevenlabs.refusals import lacks_quota, refusal
from wa_relay.elevenlabs.session_events import parse, text_of
from wa_relay.elevenlabs.texts import readable
from wa_relay.model import UpstreamError

SPEECH_PATH = "/v1/speech-to-text"
MODEL = "scribe_v2"
SPEECH_WITHIN, UPLOAD_WITHIN = 60.0, 30.0
"""Seconds for a transcription, and for the upload of a file."""

_MAX_ANSWER = 4 * 1024 * 1024
_NAMES: Mapping[str, str] = {
    "audio/ogg": "audio.ogg",
    "application/ogg": "audio.ogg",
    "audio/mpeg": "audio.mp3",
    "audio/mp4": "audio.m4a",
    "audio/aac": "audio.aac",
    "audio/amr": "audio.amr",
    "audio/wav": "audio.wav",
    "image/jpeg": "image.jpg",
    "image/png": "image.png",
    "image/webp": "image.webp",
    "image/gif": "image.gif",
    "application/pdf": "document.pdf",
}
ACCOUNT_STATUSES = frozenset({401, 402, 403})


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file to send: its content type, its size in bytes, and its bytes in parts."""

    content_type: str
    size: int
    parts: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Transcription:
    """A transcript. `seconds` is the recording's length, None if the service did not give it."""

    text: str
    seconds: float | None
    language: str | None = None


def refuses_account(error: UpstreamError) -> bool:
    """True if the account is refused, not the file: key, permission, plan or quota."""
    return error.status in ACCOUNT_STATUSES or lacks_quota(error.code)


async def transcribe(http: httpx.AsyncClient, key: str, file: FilePart, language: str) -> Transcription:
    """Transcribes a recording. `language` is a code, "" to have it detected. Raises `UpstreamError`."""
    fields = {"model_id": MODEL, "tag_audio_events": "false", "timestamps_granularity": "none"}
    if language:
        fields["language_code"] = language
    body = await _post(http, key, SPEECH_PATH, fields, file, SPEECH_WITHIN)
    answer = _object(body, SPEECH_PATH)
    text = answer.get("text")
    if not isinstance(text, str):
        raise UpstreamError(f"ElevenLabs answered POST {SPEECH_PATH} without a text", status=200)
    seconds = answer.get("audio_duration_secs")
    known = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e6
    return Transcription(readable(text) or "", float(seconds) if known else None, readable(answer.get("language_code")))  # type: ignore[arg-type]


async def upload(http: httpx.AsyncClient, key: str, conversation_id: str, file: FilePart) -> str:
    """Uploads a file to a live conversation. Returns its id there. Raises `UpstreamError`."""
    path = f"/v1/convai/conversations/{quote(conversation_id, safe='').replace('.', '%2E')}/files"
    body = await _post(http, key, path, {}, file, UPLOAD_WITHIN)
    file_id = text_of(parse(body.decode("utf-8", "replace")) or {}, "file_id")
    if not file_id:
        raise UpstreamError("ElevenLabs took a file and gave no file_id", status=200)
    return file_id


async def _post(
    http: httpx.AsyncClient, key: str, path: str, fields: Mapping[str, str], file: FilePart, within: float
) -> bytes:
    boundary = secrets.token_hex(16)
    head, tail = _frame(boundary, fields, file.content_type)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + file.size + len(tail)),
    }
    try:
        async with (
            asyncio.timeout(within),
            http.stream("POST", path, content=_body(head, file, tail), headers=headers) as answer,
        ):
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _MAX_ANSWER:
                    break
    except TimeoutError:
        raise UpstreamError(f"ElevenLabs did not answer POST {path} within {within:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise UpstreamError(f"ElevenLabs broke off POST {path} ({type(error).__name__})") from error
    if answer.status_code != httpx.codes.OK:
        raise refusal(f"POST {path}", answer.status_code, answer.headers, bytes(body), secret=key)
    return bytes(body)


def _frame(boundary: str, fields: Mapping[str, str], content_type: str) -> tuple[bytes, bytes]:
    """Returns the parts of the form before and after the file's bytes."""
    known = content_type if content_type in _NAMES else "application/octet-stream"
    name = _NAMES.get(content_type, "file")
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    return f"{head}Content-Type: {known}\r\n\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()


async def _body(head: bytes, file: FilePart, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    async for part in file.parts:
        yield part
    yield tail


def _object(body: bytes, path: str) -> Mapping[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise UpstreamError(f"ElevenLabs answered POST {path} with something that is not JSON", status=200)
    return answer
