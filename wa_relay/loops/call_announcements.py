"""Announces what becomes known of calls, whatever reports them: the log, the counters, and the loops with work."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wa_relay import metrics
from wa_relay.ledger.calls import CallState
from wa_relay.ledger.waiting_openings import Decided
from wa_relay.logs import say
from wa_relay.loops.bell import Wakers
from wa_relay.model import Call, Moment, Source
from wa_relay.sources.batch_outcomes import Rejection

CHECK_EVERY = 60.0
"""Seconds after which a new call's details are fetched although nobody needs them: a key that ElevenLabs refuses is to
show in `/health` before a customer writes."""

_EVENTS = {
    "number_unusable": ("call_number_unusable", logging.WARNING),
    "not_a_phone_call": ("call_ignored", logging.INFO),
    "never_ended": ("call_never_ended", logging.WARNING),
    "unreadable_entries": ("batch_entries_unreadable", logging.WARNING),
    "batch_not_found": ("batch_not_found", logging.WARNING),
}
"""The log event and level of each rejection."""


class CallAnnouncements:
    """Announces the calls that the ledger has stored, and logs the reports that it does not store."""

    def __init__(self, clock: Callable[[], Moment], wakers: Wakers) -> None:
        self._clock = clock
        self._wakers = wakers
        self._unusable: set[str] = set()
        self._check: int | None = None
        self._checked_at = -CHECK_EVERY

    def announce(self, call: Call, state: CallState, source: Source) -> None:
        """Logs a call that was not known before, and wakes the loops that act on it."""
        if not state.created:
            return
        metrics.count_call(source, call.outcome)
        say(
            "call_received",
            call=state.key,
            conversation=state.conversation_id,
            message=state.message_id,
            source=source,
            skipped=state.skipped,
        )
        if state.message_id is not None:
            self._ring_sender(state)
        if state.details == "later" and not 0.0 <= self._clock() - self._checked_at < CHECK_EVERY:
            self._check = state.conversation_id
        if state.details == "due" or self._check is not None:
            self._wakers.follow_up.ring()

    def announce_repeated(self, state: CallState) -> None:
        """Wakes the sender after a repeated report: the opening may have stopped waiting for a name."""
        if state.message_status == "queued":
            self._ring_sender(state)

    def announce_decision(self, decided: Decided) -> None:
        """Logs the decision about a call that waited for facts, and wakes the sender for its opening."""
        say(
            "call_decided",
            call=decided.key,
            conversation=decided.conversation_id,
            message=decided.message_id,
            skipped=decided.skipped,
        )
        if decided.due_at is not None:
            self._wakers.send.ring_at(decided.due_at, self._clock())

    def reject(self, rejection: Rejection, source: Source) -> None:
        """Logs something that is not stored as a call; an unusable number counts once per call."""
        if rejection.reason == "number_unusable" and rejection.key is not None:
            # The poller meets the same recipient in every round.
            if rejection.key in self._unusable:
                return
            self._unusable.add(rejection.key)
            metrics.count_call(source, "unusable_number")
        event, level = _EVENTS[rejection.reason]
        say(
            event,
            level=level,
            call=rejection.key,
            batch=rejection.batch_id,
            recipient=rejection.recipient_id,
            source=source,
            phone=rejection.phone,
            count=rejection.count if rejection.count > 1 else None,
        )

    def take_check(self) -> int | None:
        """Returns the conversation whose details are to be fetched as a check of the key, once."""
        found, self._check = self._check, None
        return found

    def note_check(self) -> None:
        """Notes that ElevenLabs has just answered."""
        self._checked_at = self._clock()

    def _ring_sender(self, state: CallState) -> None:
        now = self._clock()
        self._wakers.send.ring_at(now if state.due_at is None else state.due_at, now)
