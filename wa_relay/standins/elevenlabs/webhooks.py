"""Post-call webhooks, signed as the service signs them, and what the receiver answered."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import aiohttp

from wa_relay.standins.elevenlabs import shapes
from wa_relay.standins.elevenlabs.shapes import Json
from wa_relay.standins.elevenlabs.signing import webhook_signature
from wa_relay.standins.elevenlabs.stage import Stage
from wa_relay.standins.elevenlabs.state import Conversation

_DEADLINE = aiohttp.ClientTimeout(total=10.0)
_RETRIED = frozenset({408, 429})
_CHUNK = 64 * 1024


class Webhooks:
    """Sends the webhooks of one stand-in. Every send is in the journal, kind `webhook`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._http: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[int | None]] = set()

    async def close(self) -> None:
        """Stops what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def soon(self, conversation: Conversation) -> None:
        """Sends a conversation's webhook in the background, if one is registered."""
        if self._stage.settings.webhook_url is not None:
            unmade = conversation.status == "failed" and not conversation.text_only
            work = self.failed(conversation, "no-answer") if unmade else self.post_call(conversation)
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def post_call(self, conversation: Conversation) -> int | None:
        """Reports a finished conversation (`post_call_transcription`), again where the switches ask for it.

        Returns the last HTTP status, None without an answer.
        """
        data = shapes.webhook("post_call_transcription", shapes.conversation(conversation), self._stage.clock())
        body = json.dumps(data, ensure_ascii=False).encode()
        status = await self._post("post_call_transcription", conversation.id, body)
        for pause in self._stage.settings.webhook_retries:
            if status is not None and status < 500 and status not in _RETRIED:
                break
            await asyncio.sleep(pause)
            status = await self._post("post_call_transcription", conversation.id, body)
        return status

    async def audio(self, conversation: Conversation, size: int) -> int | None:
        """Sends the recording (`post_call_audio`) of `size` bytes, chunked."""
        data: Json = {
            "agent_id": conversation.agent_id,
            "conversation_id": conversation.id,
            "full_audio": base64.b64encode(bytes(size)).decode(),
        }
        body = json.dumps(shapes.webhook("post_call_audio", data, self._stage.clock())).encode()
        return await self._post("post_call_audio", conversation.id, body, chunked=True)

    async def failed(self, conversation: Conversation, reason: str) -> int | None:
        """Reports that a call did not come about (`call_initiation_failure`): `busy`, `no-answer` or `unknown`."""
        data = shapes.initiation_failure(conversation, reason)
        body = json.dumps(shapes.webhook("call_initiation_failure", data, self._stage.clock())).encode()
        return await self._post("call_initiation_failure", conversation.id, body)

    async def _post(self, kind: str, conversation_id: str, body: bytes, *, chunked: bool = False) -> int | None:
        url = self._stage.settings.webhook_url
        if url is None:
            raise ValueError("no webhook_url is set: a post-call webhook needs a receiver")
        headers = {
            "Content-Type": "application/json",
            "ElevenLabs-Signature": webhook_signature(self._stage.webhook_secret, body, self._stage.clock()),
        }
        status: int | None = None
        try:
            payload = _chunks(body) if chunked else body
            async with self._client().post(url, data=payload, headers=headers, timeout=_DEADLINE) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = None
        self._stage.journal.note("webhook", type=kind, conversation_id=conversation_id, size=len(body), status=status)
        return status

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        return self._http


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]
