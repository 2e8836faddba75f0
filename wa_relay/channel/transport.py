"""How the official Twilio client reaches the network: through our own connections, once, with limits.

The client's own asynchronous transport ignores its timeout and repeats a POST after a 5xx; a
repeated POST is a second message. This one never repeats, never follows a redirect, and lets
connection faults through as what they are, since they alone prove that nothing was sent.
"""

from __future__ import annotations

import base64
import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from wa_relay.logs import LOGGER

CONNECT_TIMEOUT, TOTAL_TIMEOUT = 5.0, 35.0
"""Seconds. Twilio gives up by itself after about 26 s: a later answer is none."""

LARGEST_ANSWER = 4 * 1024 * 1024
"""Bytes: a page of a thousand messages is well under it."""

TWILIO = "https://api.twilio.com"
_API_HOST = re.compile(r"api((?:\.[a-z0-9-]+)*\.twilio\.com)")


def host_beside(name: str, base_url: str) -> str:
    """Another of Twilio's hosts (`content`, `messaging`): beside `api.twilio.com`, else where `base_url` is."""
    host = _API_HOST.fullmatch(urlsplit(base_url).hostname or "")
    return f"https://{name}{host[1]}" if host else base_url


class AnswerTooLarge(Exception):
    """The other side sends more than any answer of Twilio's has."""


@dataclass(frozen=True, slots=True)
class Headers:
    """What the last answer of this task said beside its body."""

    retry_after: str | None
    date: str | None


last_headers: ContextVar[Headers | None] = ContextVar("last_headers", default=None)


class Transport(AsyncHttpClient):  # type: ignore[misc]
    """Carries the Twilio client's requests over an aiohttp session."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, *, total: float = TOTAL_TIMEOUT) -> None:
        super().__init__(logger=LOGGER, is_async=True)
        self._http, self._base_url = http, base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT)

    async def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the session's own limits hold
        allow_redirects: bool = False,  # noqa: ARG002 - a redirect is never followed
    ) -> Response:
        """Makes one request; raises aiohttp's errors and `AnswerTooLarge`."""
        last_headers.set(None)
        async with self._http.request(
            method,
            self._base_url + uri.removeprefix(TWILIO),
            params=_texts(params),
            data=_form(data),
            headers={**(headers or {}), **(_basic(*auth) if auth else {})},
            timeout=self._timeout,
            allow_redirects=False,
        ) as answer:
            last_headers.set(Headers(answer.headers.get("Retry-After"), answer.headers.get("Date")))
            return Response(answer.status, await _limited(answer), answer.headers)


async def _limited(answer: aiohttp.ClientResponse) -> str:
    chunks, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > LARGEST_ANSWER:
            answer.close()
            raise AnswerTooLarge
        chunks.append(chunk)
    return b"".join(chunks).decode("utf-8", "replace")


def _basic(user: str, password: str) -> dict[str, str]:
    """HTTP basic authentication in UTF-8 (RFC 7617)."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _texts(values: dict[str, object] | None) -> dict[str, Any] | None:
    return None if values is None else {key: str(value) for key, value in values.items()}


def _form(values: dict[str, object] | None) -> bytes | None:
    # Given as fields, aiohttp prepares for a multipart body first; the client has set the content type.
    return None if values is None else urlencode({key: str(value) for key, value in values.items()}).encode()
