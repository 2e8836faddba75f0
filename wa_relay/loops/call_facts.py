"""Asks ElevenLabs for what known calls lack: batches for outcomes, conversations for details."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import batches, call_details, calls, waiting_openings, wanted_details
from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Bell
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.model import BatchHint, Call, CallDetails, Moment, UpstreamError
from wa_relay.sources import poller
from wa_relay.sources.batch_outcomes import HINT_PATIENCE, outcome_of

HINTS_AT_ONCE, DETAILS_AT_ONCE, DECISIONS_AT_ONCE = 200, 8, 50

DETAILS_DEADLINE = 5.0
"""Seconds that a turn waits for the call's details before it is asked without them."""


class CallFacts:
    """Completes what the ledger knows of calls. `failures` counts ElevenLabs' failures since its last answer."""

    def __init__(
        self,
        ledger: LedgerThread,
        api: ElevenLabs,
        clock: Callable[[], Moment],
        bell: Bell,
        announcements: CallAnnouncements,
    ) -> None:
        self._ledger = ledger
        self._api = api
        self._clock = clock
        self._bell = bell
        self._announcements = announcements
        self.failures = 0

    async def run(self) -> None:
        """Runs until cancelled: asks batches for hinted outcomes, and conversations for calls' details."""
        while True:
            self._bell.clear()
            try:
                busy = await self._hints() + await self._details() + await self._decisions()
            except StorageUnavailable:
                busy = 0
            except Exception as error:
                fail("follow_up_fault", error)
                busy = 0
            if not busy:
                await self._bell.wait(1.0)

    async def fetch_details(self, call_id: int, key: str) -> None:
        """Fetches one call's summary and variables, for a turn that is about to be asked."""
        try:
            # The customer waits: the agent is asked without the summary rather than late.
            async with asyncio.timeout(DETAILS_DEADLINE):
                await self._detail(call_id, key)
        except TimeoutError:
            say("details_late", call=key)

    async def _hints(self) -> int:
        hints = await self._ledger.run(batches.take_due_hints, HINTS_AT_ONCE, HINT_PATIENCE, self._clock())
        # A campaign ends many calls at a time: its batch is read once for all of them.
        by_batch: dict[str, list[BatchHint]] = {}
        for hint in hints:
            by_batch.setdefault(hint.batch_id, []).append(hint)
        await asyncio.gather(*(self._resolve(*same) for same in by_batch.items()))
        return len(hints)

    async def _resolve(self, batch_id: str, hints: Sequence[BatchHint]) -> None:
        """Takes the outcomes of several calls from their batch, which is read once."""
        try:
            outcomes = await poller.resolve_hints(self._api, batch_id, hints, self._clock())
        except UpstreamError as error:
            self.failures += 1
            warn("batch_outcome_missing", batch=batch_id, why=error.message)
            outcomes = [outcome_of(None, hint, self._clock()) for hint in hints]
        else:
            self.failures = 0
        for call in outcomes:
            if call is not None:
                await self._record_hinted(call)

    async def _record_hinted(self, call: Call) -> None:
        try:
            state = await self._ledger.run(calls.record_call, call, self._clock())
        # The hint is dropped all the same: it would conflict at every try.
        except CallConflict as error:
            warn("call_conflict", call=call.key, what=error.message)
        else:
            self._announcements.announce(call, state, "webhook")
        await self._ledger.run(batches.drop_hint, call.key)

    async def _details(self) -> int:
        conversation_id = self._announcements.take_check()
        if conversation_id is not None:
            await self._ledger.run(wanted_details.want, conversation_id, self._clock())
        due = await self._ledger.run(wanted_details.due_details, DETAILS_AT_ONCE, self._clock())
        await asyncio.gather(*(self._detail(call_id, key) for call_id, key in due))
        return len(due)

    async def _detail(self, call_id: int, key: str) -> None:
        try:
            conversation = await self._api.conversation(key)
        except UpstreamError as error:
            say("details_missing", call=key, why=error.message)
            # An unknown conversation is an answer about it, and no failure of the service.
            self.failures = 0 if error.status == 404 else self.failures + 1
            if error.status == 404:
                self._announcements.note_check()
                await self._ledger.run(wanted_details.no_details, call_id)
            return
        self.failures = 0
        self._announcements.note_check()
        details = CallDetails(
            conversation.summary,
            conversation.transcript,
            conversation.variables,
            conversation.length,
            conversation.collected,
            final=conversation.status in ("done", "failed"),
        )
        decided = await self._ledger.run(call_details.save_details, call_id, details, self._clock())
        if decided is not None:
            self._announcements.announce_decision(decided)

    async def _decisions(self) -> int:
        """Decides the calls whose length or collected values did not become known in time."""
        overdue = await self._ledger.run(waiting_openings.decide_overdue, DECISIONS_AT_ONCE, self._clock())
        for decided in overdue:
            self._announcements.announce_decision(decided)
        return len(overdue)
