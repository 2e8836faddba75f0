"""The signed URL of a session, fetched over the WebSocket's own HTTP client.

Every session needs one, so this call is on the hot path: over httpx it costs more processor time than the rest of a
turn.
"""

from __future__ import annotations

import aiohttp
from yarl import URL

from wa_relay.elevenlabs.refusals import refusal
from wa_relay.elevenlabs.session_events import parse, text_of
from wa_relay.http import fetch
from wa_relay.model import UpstreamError

_PATH = "/v1/convai/conversation/get-signed-url"
_MAX_BODY = 64 * 1024


class SignedUrls:
    """Fetches signed URLs with the key of one workspace. `timeout` is in seconds, for a whole call."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, api_key: str, *, timeout: float = 20.0) -> None:
        self._http = http
        self._url = URL(base_url.rstrip("/") + _PATH)
        self._key = api_key
        self._timeout = timeout

    async def signed_url(self, agent_id: str) -> str:
        """The WebSocket URL of one conversation with the agent; raises `UpstreamError`."""
        url = self._url.with_query({"agent_id": agent_id})
        headers = {"xi-api-key": self._key, "Accept": "application/json"}
        try:
            answer = await fetch(
                self._http, "GET", url, limit=_MAX_BODY, within=self._timeout, cut=True, headers=headers
            )
        except TimeoutError:
            raise UpstreamError(f"ElevenLabs did not answer GET {_PATH} within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError(f"ElevenLabs can't be reached ({type(error).__name__}): check the network") from error
        if answer.status != 200:
            raise refusal(f"GET {_PATH}", answer.status, answer.headers, answer.body, secret=self._key)
        signed = text_of(parse(answer.body.decode("utf-8", "replace")) or {}, "signed_url")
        if signed is None:
            raise UpstreamError(f"ElevenLabs answered GET {_PATH} without a signed_url: check elevenlabs.base_url")
        return signed
