"""One text turn with an agent, sans-I/O: the service's events in, frames to send and an end out.

`session` carries it: it hands in what arrives and the time, sends what comes back, and calls `tick` at
`wake_at`. Order of a session: our initiation, the service's metadata, perhaps the agent's greeting, our
context and the customer's text, then replies in every shape that `replies` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from wa_relay.agent import frames
from wa_relay.agent.ask import Ask
from wa_relay.agent.close_reasons import NORMAL_CLOSE, QUEUE_TIMED_OUT, ErrorEvent, closed_silently, why_closed
from wa_relay.agent.frames import Frame
from wa_relay.agent.greeting import squeezed
from wa_relay.agent.recap import with_notes
from wa_relay.agent.replies import Replies
from wa_relay.agent.session_end import Answered, ChoseSilence, Failed, NoAnswer, NothingReadable, SessionEnd
from wa_relay.agent.tools import Tools
from wa_relay.elevenlabs.session_events import Body, body_of, id_of, parse, text_of
from wa_relay.model import Moment

METADATA_SECONDS = 10.0
"""After this the question is put without metadata: an agent's list of events may leave it out."""
GREETING_SECONDS = 3.0
"""Seconds to wait for a greeting, from the metadata on."""
UNSEEN_WORK = 3
"""Times `settle`: the quiet that ends a turn while more text is expected, or none has come."""
UNANNOUNCED_END = 2
"""Times `settle`: the quiet that ends the turn of an agent that announces its ends and has not done so."""
SEEN_WORK_SECONDS = 20.0
"""The quiet that ends a turn while a tool runs or a stream is open: the service's own limit for both."""
ERROR_SECONDS = 2.0
"""Seconds to wait for the close that belongs to an `error` event."""
_MAX_MALFORMED = 100


class Turn:
    """A session from its opening to its end. Once `end` is set nothing more is sent."""

    def __init__(self, ask: Ask) -> None:
        self.end: SessionEnd | None = None
        self.session_id: str | None = None
        self.handover_requested = False  # the agent has called the handover tool
        self._ask = ask
        self._out: list[Frame] = []
        self._put_at: Moment = ask.deadline  # when the question is put at the latest
        self._begun = False  # metadata came
        self._asked = False
        self.wants_files = False  # the session waits for the ids of the question's files
        self._greeted = False
        self._before: dict[int | None, str] = {}  # what was written before the question, by event id
        self._replies = Replies()
        self._last: Moment | None = None  # when the agent last showed that it is at work
        self._tools = Tools()
        self._owed = False  # a tool was answered: the agent will speak again
        self._ended_ids: set[int] = set()
        self._error: ErrorEvent | None = None
        self._error_until: Moment = ask.deadline  # when the close that belongs to `_error` is given up
        self._malformed = 0

    @property
    def asked(self) -> bool:
        """True once the question has been put: it is among the frames that are sent next, or were sent before."""
        return self._asked

    @property
    def tools_called(self) -> bool:
        """True once the agent called a tool that may change something in the world."""
        return self._tools.called

    @property
    def wake_at(self) -> Moment:
        """The time at which `tick` must be called if nothing arrives before."""
        waiting = self._asked or self.wants_files
        due = self._ask.deadline if waiting else min(self._ask.deadline, self._put_at)
        if self._error is not None:
            due = min(due, self._error_until)
        quiet_end = self._quiet_end()
        return due if quiet_end is None else min(due, quiet_end)

    def opened(self, now: Moment) -> list[Frame]:
        """The connection is there: what is sent first."""
        self._put_at = now + METADATA_SECONDS
        return [frames.initiation(self._ask.variables, text_only=self._ask.text_only)]

    def received(self, event: str | Body, now: Moment) -> list[Frame]:
        """Takes in one event, parsed or as its JSON text; returns the frames to send, in order."""
        if self.end is not None:
            return []
        known = parse(event)
        if known is None:
            self._malformed += 1
            if self._malformed > _MAX_MALFORMED:
                self.end = Failed("ElevenLabs sent something that is not a conversation")
            return []
        kind = known.get("type")
        handler = self._HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is not None:
            handler(self, known, now)
        self._decide(now)
        return self._flushed()

    def uploaded(self, file_ids: Sequence[str | None]) -> list[Frame]:
        """Takes the ids of the question's files, None for one that could not be given; returns the frames to send."""
        self.wants_files = False
        if self.end is None and not self._asked:
            self._ask_with([file_id for file_id in file_ids if file_id is not None], file_ids)
        return self._flushed()

    def tick(self, now: Moment) -> list[Frame]:
        """Notices that time has passed; returns the frames to send."""
        self._decide(now)
        return self._flushed()

    def closed(self, code: int | None, reason: str) -> None:
        """The connection is gone: with a close `code`, or None when it just broke."""
        if self.end is not None:
            return
        text = self._replies.text()
        whole = not (self._replies.streaming or self._tools.running or self._owed)
        if text and (whole or code == NORMAL_CLOSE):
            self.end = Answered(text)
        elif self._asked and not self._replies.text(unfinished=True) and self._closed_silently(code, reason):
            self.end = ChoseSilence()
        else:
            self.end = why_closed(code, reason, self._error)

    def _closed_silently(self, code: int | None, reason: str) -> bool:
        return (self._tools.silenced and self._error is None) or closed_silently(code, reason, self._error)

    # --- deciding ---

    def _decide(self, now: Moment) -> None:
        if self.end is not None:
            return
        if self._error is not None and now >= self._error_until:
            self.closed(self._error.code, "")
        elif now >= self._ask.deadline:
            self._run_out()
        elif not self._asked:
            if now >= self._put_at and not self.wants_files:
                self._put_question()
        else:
            quiet_end = self._quiet_end()
            if quiet_end is not None and now >= quiet_end:
                self._finish()

    def _run_out(self) -> None:
        if text := self._replies.text():
            self.end = Answered(text)
        elif self._tools.silenced:
            self.end = ChoseSilence()
        elif self._asked:
            self.end = NoAnswer("the agent wrote nothing within elevenlabs.turn_timeout_seconds")
        else:
            self.end = Failed("ElevenLabs did not begin the session in time")

    def _finish(self) -> None:
        if text := self._replies.text(unfinished=True):
            self.end = Answered(text)
        elif self._tools.silenced:
            self.end = ChoseSilence()
        else:
            self.end = NoAnswer("the agent answered with no text")

    def _quiet_end(self) -> Moment | None:
        """Returns when the quiet since the agent's last sign of work ends the turn; None while it can't."""
        if self._last is None:
            return None
        working = self._replies.streaming or self._tools.running
        spoken = bool(self._replies.text(unfinished=True))
        if not spoken and (working or not (self._replies.empty_ids or self._tools.silenced)):
            return None
        if working:
            return self._last + max(SEEN_WORK_SECONDS, self._ask.settle)
        if self._owed or not spoken:
            return self._last + self._ask.settle * UNSEEN_WORK
        return self._last + self._ask.settle * (UNANNOUNCED_END if self._ask.announces_end else 1)

    def _put_question(self) -> None:
        if self._ask.files and self.session_id is not None:
            self.wants_files = True
        else:
            self._ask_with([], [None] * len(self._ask.files))

    def _ask_with(self, given: list[str], file_ids: Sequence[str | None]) -> None:
        if not given and not self._ask.has_words:
            self.end = NothingReadable()
            return
        self._asked = True
        if self._ask.context:
            self._out.append(frames.contextual_update(self._ask.context))
        missing = [file.type for file, file_id in zip(self._ask.files, file_ids, strict=True) if file_id is None]
        text = with_notes(self._ask.text, missing)
        self._out.append(frames.multimodal_message(text, given) if given else frames.user_message(text))

    def _flushed(self) -> list[Frame]:
        out, self._out = self._out, []
        return out

    # --- the session and its greeting ---

    def _on_metadata(self, event: Body, now: Moment) -> None:
        body = body_of(event, "conversation_initiation_metadata_event")
        self.session_id = text_of(body, "conversation_id") or self.session_id
        if self._begun or self._asked:
            return
        self._begun = True
        if self._ask.greeting.expected is False or self._greeted:
            self._put_question()
        else:
            self._put_at = now + GREETING_SECONDS

    def _on_ping(self, event: Body, _now: Moment) -> None:
        event_id = body_of(event, "ping_event").get("event_id")
        if isinstance(event_id, int | str):
            self._out.append(frames.pong(event_id))

    def _greeting_heard(self) -> None:
        self._greeted = True
        if self._begun:
            self._put_question()

    def _is_late_greeting(self, text: str) -> bool:
        return not self._greeted and not self._replies.text() and self._ask.greeting.matches(text)

    # --- what the agent says ---

    def _on_response(self, event: Body, now: Moment) -> None:
        body = body_of(event, "agent_response_event")
        event_id, text = id_of(body), text_of(body, "agent_response")
        if text is None:
            return
        if not self._asked:
            self._before[event_id] = text
            if text.strip():
                self._greeting_heard()
        elif self._written_before(event_id, text):
            return
        elif self._is_late_greeting(text):
            self._greeted = True
            self._before[event_id] = text
            self._replies.forget(event_id)
        else:
            self._before.pop(event_id, None)
            self._replies.whole(event_id, text)
            self._spoke(event_id, text, now)

    def _written_before(self, event_id: int | None, text: str) -> bool:
        """True if this only repeats, or completes, what was written before the question."""
        if event_id is None or event_id not in self._before:
            return False
        heard = squeezed(self._before[event_id])
        return squeezed(text).startswith(heard) or self._ask.greeting.matches(text)

    def _spoke(self, event_id: int | None, text: str, now: Moment) -> None:
        self._last = now
        if not text.strip():
            return
        self._owed = False
        if event_id is not None and any(event_id <= ended for ended in self._ended_ids):
            self._finish()

    def _on_part(self, event: Body, now: Moment) -> None:
        body = body_of(event, "text_response_part")
        event_id, kind, text = id_of(body), body.get("type"), text_of(body, "text") or ""
        if not self._asked:
            self._greeting_part(event_id, kind, text)
            return
        if event_id is not None and event_id in self._before:
            return
        self._last = now
        if kind == "start":
            self._replies.start(event_id)
        if kind in ("start", "delta") and text:
            self._replies.delta(event_id, text)
        elif kind == "stop":
            self._stream_ended(event_id, now)

    def _stream_ended(self, event_id: int | None, now: Moment) -> None:
        text = self._replies.stop(event_id)
        if text and not self._greeted and self._ask.greeting.matches(text):
            self._greeted = True
            self._before[event_id] = text
            self._replies.forget(event_id)
        else:
            self._spoke(event_id, text, now)

    def _greeting_part(self, event_id: int | None, kind: object, text: str) -> None:
        heard = self._before.get(event_id, "")
        if kind == "stop":
            if heard.strip():
                self._greeting_heard()
        else:
            self._before[event_id] = heard + text

    def _on_correction(self, event: Body, now: Moment) -> None:
        event_id = id_of(body := body_of(event, "agent_response_correction_event"))
        original, corrected = text_of(body, "original_agent_response"), text_of(body, "corrected_agent_response")
        if not self._asked or corrected is None or event_id in self._before:
            return
        self._last = now
        self._replies.correct(event_id, original or "", corrected)

    def _on_complete(self, event: Body, _now: Moment) -> None:
        """Ends the turn if a reply to us ends, not the greeting."""
        event_id = id_of(body_of(event, "agent_response_complete_event"))
        if not self._asked or (event_id is not None and event_id in self._before):
            return
        lowest = self._replies.lowest_id
        if self._replies.text(unfinished=True):
            if event_id is None or lowest is None or event_id >= lowest:
                self._finish()
        elif event_id in self._replies.empty_ids or self._tools.silenced:
            self._finish()
        elif event_id is not None:
            self._ended_ids.add(event_id)

    def _on_work(self, _event: Body, now: Moment) -> None:
        if self._asked:
            self._last = now

    # --- tools ---

    def _on_client_tool(self, event: Body, now: Moment) -> None:
        body = body_of(event, "client_tool_call")
        call_id = text_of(body, "tool_call_id")
        self._tools.client_called()
        if call_id is None:
            return
        name = text_of(body, "tool_name") or "?"
        self.handover_requested |= (hands_over := name == self._ask.handover_tool)
        if body.get("expects_response") is not False:
            self._out.append(frames.tool_result(call_id, name, hands_over=hands_over))
            self._owed = self._asked
        self._on_work(event, now)

    def _on_tool_request(self, event: Body, now: Moment) -> None:
        self._tools.requested(body_of(event, "agent_tool_request"), asked=self._asked)
        self._on_work(event, now)

    def _on_tool_response(self, event: Body, now: Moment) -> None:
        body = body_of(event, "agent_tool_response") or body_of(event, "agent_tool_response_full_payload")
        if self._tools.responded(body):
            self._owed = self._asked
        self._on_work(event, now)

    def _on_mcp(self, event: Body, now: Moment) -> None:
        body = body_of(event, "mcp_tool_call")
        if body.get("state") == "awaiting_approval":
            self._out.append(frames.tool_not_approved(text_of(body, "tool_call_id") or ""))
        if self._tools.mcp_called(body, asked=self._asked):
            self._owed = self._asked
        self._on_work(event, now)

    # --- trouble ---

    def _on_error(self, event: Body, now: Moment) -> None:
        body = body_of(event, "error_event")
        code = body.get("code")
        message = text_of(body, "reason") or text_of(body, "message") or text_of(body, "debug_message") or ""
        self._error = ErrorEvent(code if isinstance(code, int) else None, text_of(body, "error_type") or "", message)
        self._error_until = now + ERROR_SECONDS

    def _on_guardrail(self, _event: Body, _now: Moment) -> None:
        if self._error is None:
            self._error = ErrorEvent(None, "guardrail_triggered", "")
            self._error_until = self._ask.deadline

    def _on_queue(self, event: Body, now: Moment) -> None:
        status = body_of(event, "queue_status_event").get("status")
        if self._begun or self._asked:
            return
        if status == "timed_out":
            self.closed(QUEUE_TIMED_OUT, "queue timed out")
        elif status == "waiting":
            self._put_at = self._ask.deadline
        elif status == "admitted":
            self._put_at = now + METADATA_SECONDS

    _HANDLERS: ClassVar[Mapping[str, Callable[[Turn, Body, Moment], None]]] = {
        "conversation_initiation_metadata": _on_metadata,
        "ping": _on_ping,
        "agent_response": _on_response,
        "agent_chat_response_part": _on_part,
        "agent_response_correction": _on_correction,
        "agent_response_complete": _on_complete,
        "agent_reasoning_response_part": _on_work,
        "client_tool_call": _on_client_tool,
        "agent_tool_request": _on_tool_request,
        "agent_tool_response": _on_tool_response,
        "agent_tool_response_full_payload": _on_tool_response,
        "mcp_tool_call": _on_mcp,
        "error": _on_error,
        "guardrail_triggered": _on_guardrail,
        "queue_status": _on_queue,
    }
