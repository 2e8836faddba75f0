"""Turns a non-200 response of ElevenLabs into an `UpstreamError`.

Pure: status, headers and body in, a sentence out. `client.py` raises the error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from wa_relay.elevenlabs.texts import readable
from wa_relay.http import retry_after
from wa_relay.model import UpstreamError

_ADVICE = {
    401: "check elevenlabs.api_key (ELEVENLABS_API_KEY)",
    402: "the subscription does not cover it: see the plan and the credit of the ElevenLabs account",
    403: "the API key lacks a permission: give it ElevenLabs Agents: Write (convai_write), which includes reading",
    404: "it was deleted, or belongs to another workspace than the API key",
    408: "it will be asked again",
    409: "it will be asked again",
    425: "it will be asked again",
    429: "too many requests at once: it will be asked again later",
}
_QUOTA_ADVICE = "nothing is left of the quota: see the plan and the credit of the account"
_SPEECH_ADVICE = "the API key lacks a permission: give it Speech to Text (speech_to_text)"
_SPEECH_PATH = "/v1/speech-to-text"
_MISSING_PERMISSION = "missing_permissions"
"""Sent with 401 as well as 403; signing a session's URL counts as writing."""
_NO_CAPACITY = frozenset({"concurrent_limit_exceeded", "too_many_concurrent_requests", "system_busy"})
_TRANSIENT = frozenset({408, 409, 425, 429})
_TEXT_LIMIT = 200


def refusal(request: str, status: int, headers: Mapping[str, str], body: bytes, *, secret: str) -> UpstreamError:
    """Returns the error for an answer other than 200: what happened, what to do, and when to try again.

    `request` is the method and path. `secret` is removed from ElevenLabs' message. 408, 409,
    425, 429 and 5xx are worth another try (ElevenLabs documents 429 and 5xx, its SDK repeats all).
    """
    code, text = detail(body)
    if secret:
        text = text.replace(secret, "****")
    reason = f" {code}" if code else ""
    reason += f" ({text})" if text else ""
    return UpstreamError(
        f"ElevenLabs answered {request} with {status}{reason}: {_advice(request, status, code)}",
        permanent=status < 500 and status not in _TRANSIENT,
        retry_after=retry_after(headers),
        status=status,
        code=code,
    )


def lacks_capacity(status: int | None, code: str | None) -> bool:
    """True for a refusal for lack of capacity, which passes with time."""
    return status == 429 or code in _NO_CAPACITY


def lacks_quota(code: str | None) -> bool:
    """True for a refusal because the account's quota is used up. It comes with 401, 402 or 429."""
    return "quota" in (code or "")


def _advice(request: str, status: int, code: str | None) -> str:
    if lacks_quota(code):
        return _QUOTA_ADVICE
    if code == _MISSING_PERMISSION or status == 403:
        return _SPEECH_ADVICE if request.endswith(_SPEECH_PATH) else _ADVICE[403]
    if status in _ADVICE:
        return _ADVICE[status]
    if 300 <= status < 400:
        return "redirects are not followed: elevenlabs.base_url must be the API's own address"
    if status >= 500:
        return "ElevenLabs has an error of its own: it will be asked again"
    return "the request is not one that this API takes: check ids and elevenlabs.base_url"


def detail(body: bytes) -> tuple[str | None, str]:
    """Returns code and message of an error body, in any of its four forms; None and "" for anything else.

    An object with `code` or only the older `status`, a list of validation faults, or plain text
    (https://elevenlabs.io/docs/eleven-api/resources/errors).
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    answered = answer.get("detail") if isinstance(answer, dict) else None
    if isinstance(answered, list):
        errors = [_validation_error(entry) for entry in answered if isinstance(entry, dict)]
        return (errors[0][0] if errors else None), _printable("; ".join(text for _, text in errors))
    if isinstance(answered, dict):
        code = readable(answered.get("code")) or readable(answered.get("status"))
        return (_printable(code) if code else None), _printable(readable(answered.get("message")) or "")
    return None, _printable(readable(answered) or "")


def _validation_error(entry: Mapping[str, object]) -> tuple[str | None, str]:
    place = entry.get("loc")
    path = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return readable(entry.get("type")), f"{path}: {readable(entry.get('msg')) or 'not valid'}"


def _printable(text: str) -> str:
    """Removes characters that could control a terminal or break a log line."""
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_LIMIT])
