"""The door to ElevenLabs' REST API: batches, conversations, agents, signed URLs.

Every call has a deadline and a limit on what it reads, follows no redirect, and is made once:
the caller decides if and when it is worth another try. What the answers mean is in
`shapes.py`; whatever goes wrong leaves here as an `UpstreamError`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from wa_relay.elevenlabs import shapes, uploads
from wa_relay.elevenlabs.needed_variables import AgentSetup, Variables, setup_from, variables_of_tool
from wa_relay.elevenlabs.refusals import refusal
from wa_relay.elevenlabs.shapes import AgentSettings, Batch, BatchPage, BatchSummary, Conversation, Recipient
from wa_relay.elevenlabs.uploads import FilePart, Transcription
from wa_relay.model import PayloadError, UpstreamError

__all__ = ["AgentSettings", "Batch", "BatchPage", "BatchSummary", "Conversation", "ElevenLabs", "Recipient"]

T = TypeVar("T")

PAGE_SIZE = 100
PAGE_LIMIT = 1000
BODY_LIMIT = 16 * 1024 * 1024
BATCH_LIMIT = 64 * 1024 * 1024
BATCH_PATIENCE = 6.0
"""A batch comes with all of its recipients, several MB: it may take this many times the usual deadline."""

_INLINE = 64 * 1024  # smaller bodies are decoded faster than a thread starts
_BATCHES = "/v1/convai/batch-calling"


class ResetAtOnceError(httpx.ConnectError):
    """The other side reset the connection as soon as it was made."""


class _Client(httpx.AsyncClient):
    """Under uvloop a socket that was reset at once is gone before anyio asks it for its peer: an `AttributeError`."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Sends a request; raises httpx's errors alone."""
        try:
            return await super().send(request, **options)
        except AttributeError as error:
            if error.name != "getpeername":
                raise
            raise ResetAtOnceError("the connection was reset as it was made", request=request) from error


class ElevenLabs:
    """A client for one workspace. Raises UpstreamError from every method.

    `timeout` is in seconds: for the connection, for each silence, and for a whole call (a batch
    may take longer). The key goes out as `xi-api-key` and into no message.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 20.0) -> None:
        self._key = api_key
        self._timeout = timeout
        self.last_date: str | None = None
        """The header `Date` of the last answer, refusals included."""
        self._http = _Client(
            base_url=base_url,
            headers={
                b"xi-api-key": api_key.encode("utf-8"),
                b"accept": b"application/json",
                b"accept-encoding": b"gzip",
            },
            timeout=httpx.Timeout(timeout, connect=min(5.0, timeout)),
            follow_redirects=False,
            trust_env=not _loopback(base_url),
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def batch_pages(self, agent_id: str | None = None) -> AsyncIterator[BatchPage]:
        """Yields the list of batches page by page, newest first, of one agent or of all."""
        params = {"limit": str(PAGE_SIZE)} | ({"agent_id": agent_id} if agent_id else {})
        seen: set[str] = set()
        while True:
            page = await self._get(f"{_BATCHES}/workspace", _decoded(shapes.page_from), params=params)
            yield page
            if page.next is None:
                return
            if page.next in seen or len(seen) >= PAGE_LIMIT:
                raise UpstreamError("ElevenLabs' list of batches has no end: it gave the same page twice")
            seen.add(page.next)
            params["last_doc"] = page.next

    async def batch(self, batch_id: str) -> Batch:
        """Fetches a batch with all of its recipients."""
        path = f"{_BATCHES}/{_segment(batch_id)}"
        return await self._get(path, shapes.batch_from, limit=BATCH_LIMIT, patience=BATCH_PATIENCE)

    async def conversation(self, conversation_id: str) -> Conversation:
        """Fetches a conversation: a phone call with its summary and transcript."""
        return await self._get(
            f"/v1/convai/conversations/{_segment(conversation_id)}", _decoded(shapes.conversation_from)
        )

    async def delete_conversation(self, conversation_id: str) -> None:
        """Deletes a call or a text session; one that is not there is deleted already."""
        path = f"/v1/convai/conversations/{_segment(conversation_id)}"
        try:
            async with asyncio.timeout(self._timeout), self._http.stream("DELETE", path) as answer:
                if answer.status_code not in (httpx.codes.OK, httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
                    body = await _read(answer, _INLINE, cut=True)
                    raise refusal(f"DELETE {path}", answer.status_code, answer.headers, body, secret=self._key)
        except TimeoutError:
            raise UpstreamError(f"ElevenLabs did not answer DELETE {path} within {self._timeout:g} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, zlib.error, OSError) as error:
            raise UpstreamError(_unreachable(path, error)) from error

    async def agent(self, agent_id: str) -> AgentSettings:
        """Fetches the settings of an agent that matter to a text turn."""
        return await self._get(f"/v1/convai/agents/{_segment(agent_id)}", _decoded(shapes.settings_from))

    async def agent_setup(self, agent_id: str) -> AgentSetup:
        """Fetches an agent's settings with the variables and tools that it needs."""
        return await self._get(f"/v1/convai/agents/{_segment(agent_id)}", _decoded(setup_from))

    async def tool(self, tool_id: str) -> Variables:
        """Fetches the variables of one tool of the workspace."""
        return await self._get(f"/v1/convai/tools/{_segment(tool_id)}", _decoded(variables_of_tool))

    async def signed_url(self, agent_id: str) -> str:
        """Fetches a WebSocket URL for one conversation with an agent; it must be used within 15 minutes."""
        return await self._get(
            "/v1/convai/conversation/get-signed-url", _decoded(_signed_url), params={"agent_id": agent_id}
        )

    async def transcribe(self, file: FilePart, language: str) -> Transcription:
        """Transcribes a recording, in a language given by its code or detected. Each call that ends well is paid."""
        return await uploads.transcribe(self._http, self._key, file, language)

    async def upload(self, conversation_id: str, file: FilePart) -> str:
        """Uploads a file to a live conversation; returns its id there."""
        return await uploads.upload(self._http, self._key, conversation_id, file)

    async def check(self) -> None:
        """Proves that the key is taken and may read batches, by the cheapest call that needs both."""
        await self._get(f"{_BATCHES}/workspace", _decoded(shapes.page_from), params={"limit": "1"})

    async def _get(
        self,
        path: str,
        read: Callable[[bytes], T],
        *,
        params: Mapping[str, str] | None = None,
        limit: int = BODY_LIMIT,
        patience: float = 1.0,
    ) -> T:
        deadline = self._timeout * patience
        try:
            async with asyncio.timeout(deadline):
                body = await self._fetch(path, params, limit)
        except TimeoutError:
            raise UpstreamError(
                f"ElevenLabs did not answer GET {path} within {deadline:g} s: it will be asked again"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, zlib.error, OSError) as error:
            raise UpstreamError(_unreachable(path, error)) from error
        try:
            return read(body) if len(body) < _INLINE else await asyncio.to_thread(read, body)
        except (ValueError, RecursionError, PayloadError) as error:
            raise UpstreamError(
                f"ElevenLabs answered GET {path} with something else than its API does ({error}): "
                "check elevenlabs.base_url, and what stands between",
                status=200,
            ) from error

    async def _fetch(self, path: str, params: Mapping[str, str] | None, limit: int) -> bytes:
        async with self._http.stream("GET", path, params=params) as answer:
            self.last_date = answer.headers.get("date")
            if answer.status_code != httpx.codes.OK:
                # A refusal is short; the start of anything longer is enough.
                body = await _read(answer, _INLINE, cut=True)
                raise refusal(f"GET {path}", answer.status_code, answer.headers, body, secret=self._key)
            return await _read(answer, limit)


def _decoded(parse: Callable[[Mapping[str, object]], T]) -> Callable[[bytes], T]:
    return lambda body: parse(shapes.json_object(body))


async def _read(answer: httpx.Response, limit: int, *, cut: bool = False) -> bytes:
    """Reads a body of at most `limit` bytes after unpacking; a longer one is cut or raises UpstreamError."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.aiter_raw():
        # httpx would unpack a whole chunk at once, however big it becomes.
        part = unpack.decompress(chunk, limit + 1 - size) if unpack else chunk
        parts.append(part)
        size += len(part)
        if size > limit:
            if cut:
                break
            raise UpstreamError(f"ElevenLabs answered with more than {limit // 1024**2} MiB", permanent=True)
    return b"".join(parts)[:limit]


def _signed_url(data: Mapping[str, object]) -> str:
    url = data.get("signed_url")
    if not isinstance(url, str) or urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname:
        raise ValueError("no WebSocket address in signed_url")
    return url


def _segment(name: str) -> str:
    """Writes an id as one path segment: ids come from outside, and dots would climb."""
    return quote(name, safe="", errors="replace").replace(".", "%2E")


def _loopback(base_url: str) -> bool:
    """True for an address of this machine, to which no proxy of the environment leads."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unreachable(path: str, error: Exception) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"ElevenLabs can't be reached ({_words(error)}): check elevenlabs.base_url and the network"
    if isinstance(error, httpx.TimeoutException):
        return f"ElevenLabs fell silent during GET {path}"
    return f"ElevenLabs broke off GET {path} ({_words(error)})"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
