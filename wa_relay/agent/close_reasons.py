"""Explains why a session ended, in a sentence for the operator who must act.

Pure. Sources: close codes and `ErrorType` of the service's WebSocket contract; 3000, 3008 and 4300
are seen in practice and in the service's own client.
"""

from __future__ import annotations

from dataclasses import dataclass

from wa_relay.agent.session_end import Failed, NoAnswer

NORMAL_CLOSE = 1000
QUEUE_TIMED_OUT = 4300
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """An `error` event: it comes before the close and says more than the close does."""

    code: int | None
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class _Meaning:
    marks: tuple[str, ...]
    sentence: str


_MEANINGS = (
    _Meaning(
        ("override_error", "override for field", "override"),
        "the agent forbids an override that was sent: allow 'Text only' under the agent's Security > Overrides",
    ),
    _Meaning(
        ("missing_dynamic_variable", "dynamic variable"),
        "the agent needs a dynamic variable that the call does not have: remove it of the agent's prompt, first"
        " message and tools, or submit it with the batch",
    ),
    _Meaning(
        ("quota",),
        "the ElevenLabs quota is used up: raise the plan or its limit",
    ),
    _Meaning(("system_busy",), "ElevenLabs is busy"),
    _Meaning(("concurren", "too many"), "too many sessions are open at ElevenLabs"),
    _Meaning(("queue",), "ElevenLabs kept the session waiting in its queue until it gave up"),
    _Meaning(
        ("unauthorized", "not authorized", "authoriz", "authenticat", "signature", "signed url", "api key"),
        "ElevenLabs did not accept the session's authorisation: check elevenlabs.api_key and the agent's"
        " Security > Authentication and allowlist",
    ),
    _Meaning(
        ("mcp_tool_error", "mcp_https_error"),
        "one of the agent's MCP servers is set up wrongly: correct or remove it in the agent's tools",
    ),
    _Meaning(("safety_violation", "guardrail"), "ElevenLabs stopped the session for its safety rules"),
    _Meaning(("llm_timeout",), "the agent's language model took over 20 s"),
    _Meaning(
        ("custom_llm_error",),
        "the agent's own language model server failed: check the custom LLM in the agent's settings",
    ),
    _Meaning(("llm_error", "cascade_brain_error"), "the agent's language model failed"),
    _Meaning(("invalid_message", "missing_fields", "value_error"), "ElevenLabs did not understand a message"),
)

_BY_CODE = {
    1001: _Meaning((), "ElevenLabs went away"),
    1002: _Meaning((), "ElevenLabs stopped the session because of an error of its own"),
    1006: _Meaning((), "the connection to ElevenLabs was lost"),
    1008: _Meaning(
        (),
        "ElevenLabs refused the session: look at the agent's settings (Security: authentication, allowlist,"
        " overrides; dynamic variables)",
    ),
    1009: _Meaning((), "ElevenLabs found a message too big"),
    1011: _Meaning((), "ElevenLabs had an internal error"),
    1012: _Meaning((), "ElevenLabs restarts"),
    1013: _Meaning((), "ElevenLabs is overloaded"),
    3000: _Meaning((), "ElevenLabs refused the session: look at the workspace's quota and the key's rights"),
    3008: _Meaning((), "too many sessions are open at ElevenLabs"),
    QUEUE_TIMED_OUT: _Meaning((), "ElevenLabs kept the session waiting in its queue until it gave up"),
}
_LOST = _BY_CODE[1006]
_ENDED = _Meaning((), "ElevenLabs ended the session")
_NO_CAPACITY_CODES = frozenset({3008, QUEUE_TIMED_OUT})
_NO_CAPACITY_MARKS = ("concurren", "system_busy")
_NORMAL = frozenset({NORMAL_CLOSE, 1005})
_IDLE = "transport_receive_timeout"
_MAX_DURATION = "max_duration_exceeded"
_MAX_DURATION_MARKS = (_MAX_DURATION, "maximum duration", "max duration")


def closed_silently(code: int | None, reason: str, error: ErrorEvent | None) -> bool:
    """True if a session that closed without a text was ended by the agent, not by a limit or an error."""
    at_limit = any(mark in reason.lower() for mark in _MAX_DURATION_MARKS)
    return code == NORMAL_CLOSE and error is None and not at_limit


def why_closed(code: int | None, reason: str, error: ErrorEvent | None) -> NoAnswer | Failed:
    """The end of a session that brought no answer. `code` is None when the link just broke."""
    text = f"{error.error_type} {error.message} {reason}".lower() if error else reason.lower()
    if _IDLE in text:
        return NoAnswer("ElevenLabs closed the session after 60 s without input")
    if code in _NORMAL and (error is None or error.error_type == _MAX_DURATION):
        return NoAnswer("the session ended without an answer")
    meaning = _meaning(code, text, error)
    detail = _detail(code, error.message if error and error.message else reason)
    codes = {code, error.code if error else None}
    return Failed(
        f"{meaning.sentence} ({detail})",
        override_refused=meaning is _MEANINGS[0],
        no_capacity=bool(codes & _NO_CAPACITY_CODES) or any(mark in text for mark in _NO_CAPACITY_MARKS),
    )


def _meaning(code: int | None, text: str, error: ErrorEvent | None) -> _Meaning:
    for meaning in _MEANINGS:
        if any(mark in text for mark in meaning.marks):
            return meaning
    known = _BY_CODE.get(code) if code is not None else None
    if known is None and error is not None and error.code is not None:
        known = _BY_CODE.get(error.code)
    return known or (_LOST if code is None else _ENDED)


def _detail(code: int | None, reason: str) -> str:
    """The reason that ElevenLabs gave, made safe for one line of a log."""
    clean = " ".join("".join(mark if mark.isprintable() else " " for mark in reason).split())[:_LONGEST_REASON]
    shown = f"close code {code}" if code is not None else "no close code"
    return f"{shown}: {clean}" if clean else shown
