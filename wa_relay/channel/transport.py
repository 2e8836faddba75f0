"""Carries the official Twilio client's requests: over our own connections, once, with limits.

The client's own asynchronous transport ignores its timeout and repeats a POST after a 5xx; a
repeated POST is a second message. This one never repeats, never follows a redirect, and lets
connection faults through as what they are, since they alone prove that nothing was sent.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from wa_relay.config import Twilio
from wa_relay.http import AnswerTooLarge, fetch, retry_after
from wa_relay.logs import LOGGER
from wa_relay.model import UpstreamError

LARGEST_ANSWER = 4 * 1024 * 1024
"""Bytes: a page of a thousand messages is well under it."""

TWILIO = "https://api.twilio.com"
_API_HOST = re.compile(r"api((?:\.[a-z0-9-]+)*\.twilio\.com)")


def host_beside(name: str, base_url: str) -> str:
    """Returns another of Twilio's hosts (`content`, `messaging`): beside `api.twilio.com`, else where `base_url` is."""
    host = _API_HOST.fullmatch(urlsplit(base_url).hostname or "")
    return f"https://{name}{host[1]}" if host else base_url


last_headers: ContextVar[Mapping[str, str] | None] = ContextVar("last_headers", default=None)
"""The headers of the last answer of this task: the client's own errors lack them."""


def asked_pause() -> float | None:
    """The pause in seconds that the last answer of this task asked for."""
    return retry_after(last_headers.get() or {})


class Transport(AsyncHttpClient):  # type: ignore[misc]
    """Carries the Twilio client's requests over an aiohttp session."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, *, total: float) -> None:
        super().__init__(logger=LOGGER, is_async=True)
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._total = total

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
        answer = await fetch(
            self._http,
            method,
            self._base_url + uri.removeprefix(TWILIO),
            limit=LARGEST_ANSWER,
            within=self._total,
            params=_texts(params),
            data=None if data is None else form(data),
            headers={**(headers or {}), **(basic(*auth) if auth else {})},
        )
        last_headers.set(answer.headers)
        return Response(answer.status, answer.body.decode("utf-8", "replace"), answer.headers)


class AccountApi:
    """A reader of another of Twilio's APIs for one account. `host` is its host's name, `name` that in messages."""

    host: ClassVar[str]
    name: ClassVar[str]

    def __init__(
        self, http: aiohttp.ClientSession, *, account_sid: str, auth_token: str, base_url: str, timeout: float = 20.0
    ) -> None:
        self._transport = Transport(http, host_beside(self.host, base_url), total=timeout)
        self._auth = (account_sid, auth_token)

    @classmethod
    def of(cls, http: aiohttp.ClientSession, settings: Twilio, *, timeout: float) -> Self:
        """Makes the reader of the configured account."""
        return cls(
            http,
            account_sid=settings.account_sid,
            auth_token=settings.auth_token.reveal(),
            base_url=settings.base_url,
            timeout=timeout,
        )

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, object]:
        """Fetches an object. Raises `UpstreamError`, with the status of an answer other than 200."""
        try:
            answer = await self._transport.request(
                "GET", path, params=None if query is None else dict(query), auth=self._auth
            )
            data = json.loads(answer.text)
        except (aiohttp.ClientError, TimeoutError, OSError, AnswerTooLarge) as error:
            raise UpstreamError(f"Twilio's {self.name} API can't be reached ({type(error).__name__})") from error
        except (ValueError, RecursionError):
            data = None
        if answer.status_code != 200 or not isinstance(data, Mapping):
            raise UpstreamError(
                f"Twilio's {self.name} API answered HTTP {answer.status_code}", status=answer.status_code
            )
        return data


def basic(user: str, password: str) -> dict[str, str]:
    """HTTP basic authentication in UTF-8 (RFC 7617)."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _texts(values: dict[str, object] | None) -> dict[str, Any] | None:
    return None if values is None else {key: str(value) for key, value in values.items()}


def form(values: Mapping[str, object]) -> bytes:
    """The body of a form."""
    # Given as fields, aiohttp prepares for a multipart body first; the client has set the content type.
    return urlencode({key: str(value) for key, value in values.items()}).encode()
