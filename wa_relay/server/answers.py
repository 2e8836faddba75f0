"""The listener's replies: JSON, the error envelope, and what Twilio wants to hear."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

JSON = "application/json"
EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


class Refused(Exception):
    """Ends a request with an error of the contract."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self.fields, self.headers = tuple(fields), headers


def request_id() -> str:
    """A name for one request, for the answer's header and the log."""
    return f"{random.getrandbits(64):016x}"


def reply(body: Mapping[str, Any], status: int = 200) -> web.Response:
    """Answers with a JSON object."""
    return web.Response(
        body=json.dumps(body, ensure_ascii=False).encode(), status=status, content_type=JSON, headers=_headers()
    )


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    fields: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> web.Response:
    """Answers with the error envelope: what is wrong and what to do."""
    named = [{"path": path, "message": wanted} for path, wanted in fields]
    answer = reply({"success": False, "error": code, "message": message, "fields": named, **more}, status)
    answer.headers.update(headers or {})
    return answer


def twiml() -> web.Response:
    """Answers a webhook so that Twilio says nothing by itself."""
    return web.Response(body=EMPTY_TWIML, content_type="text/xml", headers=_headers())


def nothing() -> web.Response:
    """Answers a receipt."""
    return web.Response(status=204, headers=_headers())


def plain(text: str, content_type: str) -> web.Response:
    """Answers with text of another type."""
    return web.Response(text=text, headers={**_headers(), "Content-Type": content_type})


def _headers() -> dict[str, str]:
    return {"X-Request-Id": request_id(), "Server": "wa-relay"}
