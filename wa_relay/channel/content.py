"""One template as Twilio's Content API has it, and what WhatsApp said to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from wa_relay.channel.transport import Transport, host_beside
from wa_relay.http import AnswerTooLarge
from wa_relay.model import UpstreamError

_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template. `approval` is WhatsApp's word (`approved`, `pending`, …), `places` the names of its variables."""

    name: str
    approval: str
    places: frozenset[str]
    rejection: str = ""


class Templates:
    """The templates of one account."""

    def __init__(
        self, http: aiohttp.ClientSession, *, account_sid: str, auth_token: str, base_url: str, timeout: float = 20.0
    ) -> None:
        self._transport = Transport(http, content_url(base_url), total=timeout)
        self._auth = (account_sid, auth_token)

    async def find(self, content_sid: str) -> Template | None:
        """Fetches a template with its approval, None when the account has none of that SID.

        Raises `UpstreamError`. Source: the Content and ApprovalRequests resources.
        """
        path = f"/v1/Content/{content_sid}"
        content = await self._get(path)
        approvals = await self._get(f"{path}/ApprovalRequests") if content is not None else None
        if content is None or approvals is None:
            return None
        said = approvals.get("whatsapp")
        whatsapp: Mapping[str, object] = said if isinstance(said, Mapping) else {}
        return Template(
            name=str(content.get("friendly_name") or content_sid),
            approval=str(whatsapp.get("status") or "unsubmitted"),
            places=frozenset(_PLACE.findall(json.dumps(content.get("types"), ensure_ascii=False))),
            rejection=str(whatsapp.get("rejection_reason") or ""),
        )

    async def _get(self, path: str) -> Mapping[str, object] | None:
        try:
            answer = await self._transport.request("GET", path, auth=self._auth)
            data = json.loads(answer.text) if answer.status_code == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, AnswerTooLarge) as error:
            raise UpstreamError(f"Twilio's Content API can't be reached ({type(error).__name__})") from error
        except ValueError:
            data = None
        if answer.status_code == 404:
            return None
        if not isinstance(data, Mapping):
            raise UpstreamError(f"Twilio's Content API answered HTTP {answer.status_code}", status=answer.status_code)
        return data


def content_url(base_url: str) -> str:
    """Where the Content API is."""
    return host_beside("content", base_url)
