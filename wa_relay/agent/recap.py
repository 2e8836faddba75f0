"""The context that the agent gets before the question: the call, and the thread so far.

Pure. A finished conversation can't be reopened, so each text session begins with this. The limits are
those that other clients use; ElevenLabs documents none.
"""

from __future__ import annotations

from collections.abc import Iterable

from wa_relay.model import Question, Scalar
from wa_relay.text.fixed_phrases import SPANISH

RECAP_LIMIT = 40_000
TEXT_LIMIT = 4_000

_LEFT_OUT = "[…]"


def recap(question: Question, limit: int = RECAP_LIMIT) -> str:
    """The context of a turn, in Spanish, at most `limit` characters.

    The call's summary, else its transcript, takes at most half; of the thread the newest lines stay.
    """
    opening = SPANISH.context_without_call if question.call_key is None else SPANISH.context_after_call
    parts = [f"{opening} {SPANISH.nobody_free}" if question.nobody_free else opening]
    call = _call(question, limit // 2)
    if call or question.thread or question.not_arrived:
        parts.append(SPANISH.data_notice)
    if call:
        parts.append(call)
    if question.not_arrived:
        lines = [f"- {_indented(text)}" for text in question.not_arrived]
        parts.append(SPANISH.not_arrived_heading + "\n" + _newest(lines, limit // 4))
    if question.thread:
        used = sum(len(part) + 2 for part in parts) + len(SPANISH.thread_heading) + 1
        parts.append(SPANISH.thread_heading + "\n" + _newest(_lines(question), limit - used))
    return "\n\n".join(parts)[:limit]


def variables(question: Question) -> dict[str, Scalar]:
    """The dynamic variables of a session: the call's own, without `system__…`, and ours."""
    own = {name: value for name, value in question.variables.items() if not name.startswith("system__")}
    return own | {
        "channel": "whatsapp",
        "previous_conversation_id": question.call_key or "",
        "previous_summary": question.summary or "",
    }


def question_text(question: Question, limit: int = TEXT_LIMIT) -> str:
    """Returns the turn's text in at most `limit` characters: of a longer one the beginning and the end, with a note."""
    text = question.text
    if len(text) <= limit:
        return text
    room = limit - len(SPANISH.message_cut)
    return text[: room - room // 3] + SPANISH.message_cut + text[len(text) - room // 3 :]


def with_notes(text: str, missing: Iterable[str]) -> str:
    """A question with a note for each file that could not be given, by the types of their attachments."""
    return "\n".join(filter(None, (text, *(SPANISH.unreadable(kind) for kind in missing))))


def _call(question: Question, limit: int) -> str:
    if question.call_key is None:
        return ""
    if question.summary and question.summary.strip():
        return f"{SPANISH.summary_heading}\n{_head(question.summary.strip(), limit)}"
    if question.transcript and question.transcript.strip():
        return f"{SPANISH.transcript_heading}\n{_tail(question.transcript.strip(), limit)}"
    return SPANISH.nothing_known


def _lines(question: Question) -> list[str]:
    """The thread, a message a line. Its further lines are indented, so that none looks like another message."""
    return [f"{SPANISH.thread_speakers[line.role]}: {_indented(line.text)}" for line in question.thread]


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n    ")


def _newest(lines: list[str], room: int) -> str:
    kept: list[str] = []
    left = room - len(SPANISH.earlier_omitted) - 1
    for line in reversed(lines):
        if len(line) + 1 > left:
            break
        kept.append(line)
        left -= len(line) + 1
    if not kept:
        return _head(lines[-1], max(room, 0))
    return "\n".join(_with_note(reversed(kept), complete=len(kept) == len(lines)))


def _with_note(lines: Iterable[str], *, complete: bool) -> list[str]:
    return list(lines) if complete else [SPANISH.earlier_omitted, *lines]


def _head(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(limit - len(_LEFT_OUT), 0)] + _LEFT_OUT


def _tail(text: str, limit: int) -> str:
    return text if len(text) <= limit else _LEFT_OUT + text[len(text) - max(limit - len(_LEFT_OUT), 0) :]
