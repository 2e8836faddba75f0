"""What Twilio's answer to a send means for it, from the status and the code (`errors`)."""

from __future__ import annotations

from wa_relay.channel.errors import CODES, Kind, meaning
from wa_relay.model import NotSent, Scope, SendRefused, SendResult, Unclear

LONG_WAIT = 3600.0


def scope_of(code: str | None) -> Scope:
    """Returns the scope of a code; an unknown code concerns its message alone."""
    kind: Kind = CODES.get(code or "", ("message", ""))[0]
    return "message" if kind == "momentary" or kind == "wait" else kind


def classify(status: int, code: str | None, message: str, retry_after: float | None) -> SendResult:
    """Decides what an HTTP response other than an acceptance means for a send.

    4xx and 429 say that nothing was sent; 5xx, redirects and 408 leave it open. `retry_after` is
    in seconds, None when Twilio named no pause.
    """
    kind, sentence = CODES.get(code or "", ("message", meaning(code)))
    if status == 429:
        pause = LONG_WAIT if kind == "wait" else retry_after
        return NotSent(f"429 {code or ''}".strip(), pause, code=code, busy=kind != "wait")
    if not 400 <= status < 500 or status == 408:
        return Unclear(f"HTTP {status}", code)
    if status == 401 and kind not in ("account", "sender"):
        return SendRefused(code or "401", CODES["20003"][1], "account", message)
    if kind in ("momentary", "wait"):
        return NotSent(f"HTTP {status} {code}", LONG_WAIT if kind == "wait" else retry_after, code=code)
    meant = sentence if code else f"Twilio refused with HTTP {status}"
    return SendRefused(code or str(status), meant, scope_of(code), message)
