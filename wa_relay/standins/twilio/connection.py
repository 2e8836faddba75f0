"""Calls a webhook: signed, once, or as often as the connection overrides of the address say.

Source: Twilio's pages on webhook security and on connection overrides.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urldefrag, urlencode
from uuid import uuid4

import aiohttp

Trouble = Literal["", "ct", "rt", "4xx", "5xx"]
_POLICIES = frozenset({"ct", "rt", "4xx", "5xx"})
_LARGEST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Overrides:
    """Seconds to connect, to read, and in total with all retries; how many retries, and after what."""

    connect: float = 5.0
    read: float = 15.0
    total: float = 15.0
    retries: int = 1
    policy: frozenset[str] = frozenset({"ct"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a call. `status` is None without an answer, then `error` says why; `seconds` is for all tries."""

    status: int | None
    body: str
    content_type: str
    tries: int
    error: str
    seconds: float

    @property
    def ok(self) -> bool:
        """True for an answer that Twilio is content with."""
        return self.status is not None and self.status < 400


def overrides_of(url: str) -> tuple[str, Overrides]:
    """Splits an address into what is called, which is also what is signed, and its overrides; bad ones are ignored."""
    bare, fragment = urldefrag(url)
    given = dict(parse_qsl(fragment))
    policy = frozenset(given.get("rp", "ct").split(","))
    return bare, Overrides(
        connect=_within(given.get("ct"), 100, 10_000, 5_000) / 1000,
        read=_within(given.get("rt"), 100, 15_000, 15_000) / 1000,
        total=_within(given.get("tt"), 100, 15_000, 15_000) / 1000,
        retries=_within(given.get("rc"), 0, 5, 1),
        policy=_POLICIES if "all" in policy else policy & _POLICIES,
    )


def signature(token: str, url: str, form: Mapping[str, str]) -> str:
    """The value of `X-Twilio-Signature`."""
    signed = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode("utf-8", "surrogatepass"), "sha1")).decode()


class Caller:
    """Posts forms over its own connections; `close` ends them."""

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None

    async def post(self, url: str, form: Mapping[str, str], token: str, content_type: str) -> Answer:
        """Posts a signed form, with its retries. Never raises for what the other side does."""
        bare, limits = overrides_of(url)
        headers = {
            "X-Twilio-Signature": signature(token, bare, form),
            "I-Twilio-Idempotency-Token": str(uuid4()),
            "User-Agent": "TwilioProxy/1.1",
            "X-Home-Region": "us1",
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
            "Content-Type": content_type,
        }
        body = urlencode(form, errors="surrogatepass").encode()
        began, tries = time.monotonic(), 0
        while True:
            tries += 1
            left = limits.total - (time.monotonic() - began)
            answer, trouble = await self._once(bare, body, headers, limits, max(0.05, left))
            spent = time.monotonic() - began
            if not trouble or trouble not in limits.policy or tries > limits.retries or spent >= limits.total:
                status, text, kind, error = answer
                return Answer(status, text, kind, tries, error, spent)

    async def close(self) -> None:
        """Ends the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _once(
        self, url: str, body: bytes, headers: Mapping[str, str], limits: Overrides, left: float
    ) -> tuple[tuple[int | None, str, str, str], Trouble]:
        timeout = aiohttp.ClientTimeout(total=left, sock_connect=limits.connect, sock_read=limits.read)
        try:
            async with self._session().post(url, data=body, headers=headers, timeout=timeout) as answer:
                text = (await answer.content.read(_LARGEST_ANSWER)).decode("utf-8", "replace")
                trouble: Trouble = "5xx" if answer.status >= 500 else "4xx" if answer.status >= 400 else ""
                return (answer.status, text, answer.content_type, ""), trouble
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return (None, "", "", type(error).__name__), "ct"
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            # a connection that breaks after the request counts as an answer that could not be read
            return (None, "", "", type(error).__name__), "rt"

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=500), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._http


def _within(text: str | None, least: int, most: int, otherwise: int) -> int:
    if text is None or not text.isascii() or not text.isdigit():
        return otherwise
    return min(most, max(least, int(text[:9])))
