"""Speech-to-text and the files of a conversation: both take multipart forms.

`POST /v1/speech-to-text` wants `model_id` and `file`. What a recording says is set by `Director.set_transcript` for its
exact bytes, otherwise by `Settings.speech_text`; `Settings.speech_delay` makes it slow, an empty text is a recording in
without speech. Each response with a transcript is paid and counted by the recording's SHA-256
(`Director.transcriptions`), also when a fault (`broken`, `lost`) keeps it from the client.

`POST /v1/convai/conversations/{id}/files` wants an image or a PDF in `file`, for a live session of an agent that
accepts files. Which type and size are refused, and by which code, is not published: the codes here are assumptions.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

from wa_relay.standins.elevenlabs import shapes
from wa_relay.standins.elevenlabs.answering import json_response, no_conversation, refusal
from wa_relay.standins.elevenlabs.stage import Stage, Transcript
from wa_relay.standins.elevenlabs.talk import File

MODELS = frozenset({"scribe_v1", "scribe_v2"})
SPEECH_FIELDS = frozenset(
    (
        *("model_id", "language_code", "tag_audio_events", "num_speakers", "timestamps_granularity", "diarize"),
        *("diarization_threshold", "additional_formats", "file_format", "cloud_storage_url", "source_url", "webhook"),
        *("webhook_id", "temperature", "seed", "use_multi_channel", "webhook_metadata", "entity_detection"),
        *("entity_redaction", "entity_redaction_mode", "keyterms", "no_verbatim", "detect_speaker_roles"),
    )
)
"""The form fields of speech-to-text beside `file`, by the service's OpenAPI description."""

FILE_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "application/pdf"})
_CHUNK = 256 * 1024


@dataclass(slots=True)
class Form:
    """A multipart form: its fields, and its file without the bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    file: File | None = None


class Uploads:
    """Answers the routes that take files."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def speech(self, request: web.BaseRequest, item: str) -> web.Response:
        """Transcribes a recording."""
        del item
        form = await _form(request) or Form()
        heard = form.file or File("", "", 0, "")
        wrong = _wrong_speech(form)
        if wrong is not None:
            return wrong
        stage = self._stage
        if stage.settings.speech_delay:
            await asyncio.sleep(stage.settings.speech_delay)
        transcript = stage.transcripts.get(heard.sha256) or Transcript(
            stage.settings.speech_text, stage.settings.speech_language, stage.settings.speech_seconds
        )
        stage.paid[heard.sha256] += 1
        number = stage.world.new_id("tr")
        stage.journal.note(
            "speech",
            sha256=heard.sha256,
            size=heard.size,
            content_type=heard.content_type,
            name=heard.name,
            fields=form.fields,
            text=transcript.text,
            transcription_id=number,
        )
        return json_response(shapes.transcription(transcript.text, transcript.language, transcript.seconds, number))

    async def add(self, request: web.BaseRequest, item: str) -> web.Response:
        """Takes a file for a live conversation."""
        form = await _form(request)
        stage = self._stage
        session = stage.live.get(item)
        if session is None:
            return no_conversation(item)
        if form is None or form.file is None:
            return json_response(shapes.invalid("body", "file", "Field required"), 422)
        agent = stage.world.agents[session.agent_id]
        if agent.file_input is False:
            return refusal(400, "file_input_disabled", "File input is not enabled for this agent")
        if form.file.content_type not in FILE_TYPES:
            return refusal(400, "invalid_file_type", f"{form.file.content_type} is neither an image nor a PDF")
        if form.file.size > stage.settings.largest_file:
            return refusal(400, "file_too_large", f"The file is larger than {stage.settings.largest_file} bytes")
        mine = sum(one.conversation_id == item for one in stage.files.values())
        if mine >= agent.max_files:
            return refusal(400, "max_files_exceeded", f"A conversation takes {agent.max_files} files at most")
        kept = form.file.of(stage.world.new_id("file"), item)
        stage.files[kept.file_id] = kept
        stage.journal.note(
            "file",
            conversation_id=item,
            file_id=kept.file_id,
            sha256=kept.sha256,
            size=kept.size,
            content_type=kept.content_type,
            name=kept.name,
        )
        return json_response({"file_id": kept.file_id})

    async def remove(self, request: web.BaseRequest, item: str) -> web.Response:
        """Takes a file back. `item` is the file's id."""
        del request
        kept = self._stage.files.pop(item, None)
        if kept is None:
            return refusal(404, "file_not_found", f"File {item} not found")
        return json_response({"file_id": kept.file_id})


def _wrong_speech(form: Form) -> web.Response | None:
    if "model_id" not in form.fields:
        return json_response(shapes.invalid("body", "model_id", "Field required"), 422)
    unknown = sorted(form.fields.keys() - SPEECH_FIELDS)
    if unknown:
        return json_response(shapes.invalid("body", unknown[0], "strict stand-in: there is no such field"), 422)
    if form.fields["model_id"] not in MODELS:
        return refusal(400, "invalid_model_id", f"'{form.fields['model_id']}' is not a valid model_id")
    if form.file is None:
        return json_response(shapes.invalid("body", "file", "Field required"), 422)
    if form.file.size == 0:
        return refusal(400, "invalid_audio", "The file holds no audio")
    return None


async def _form(request: web.BaseRequest) -> Form | None:
    """Reads a form part by part, so that a file of any size takes no memory; None for anything but multipart."""
    if request.content_type != "multipart/form-data":
        await request.read()
        return None
    form = Form()
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            continue
        if part.name != "file":
            form.fields[part.name] = await part.text()
            continue
        digest, size = hashlib.sha256(), 0
        while chunk := await part.read_chunk(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        content_type = part.headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip().lower()
        form.file = File(part.filename or "", content_type, size, digest.hexdigest())
    return form
