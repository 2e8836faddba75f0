"""Asks for missing reports: about uncertain sends, receipts and inbound messages.

All of it asks Twilio's list, and none of it ever sends. It runs beside the workers and holds none
of them back. A look-up that fails does not count: it is made again later.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from wa_relay.channel.attachments import ListedFile
from wa_relay.ledger import inbox, receipts, restoring, waiting_openings
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.receipts import Lookup
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops.bell import Wakers
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.twilio_events import follow_inbound, follow_lookup, follow_receipt
from wa_relay.model import Inbound, Listed, Moment, Page, Receipt, UpstreamError
from wa_relay.policy import Rules, retry_delay

LOOKUPS_AT_ONCE = 4
SWEEP_INTERVAL, SWEEP_OVERLAP = 60.0, 600.0
"""Seconds between inbound sweeps, and how far each looks back behind the last complete one."""

TICK = 1.0


class MessageList(Protocol):
    """Twilio's list of messages. Every method raises `UpstreamError`."""

    @property
    def senders(self) -> tuple[str | None, ...]:
        """Our numbers to sweep, one after the other; None stands for all of them at once."""
        ...

    async def find(self, to: str, since: Moment, sender: str | None, /) -> tuple[Listed, ...]:
        """Returns every message from one of our numbers to one customer since a moment, newest first."""
        ...

    async def fetch(self, sid: str) -> Listed | None:
        """Returns one message, or None if Twilio does not know it."""
        ...

    async def files_of(self, sid: str) -> tuple[ListedFile, ...]:
        """Returns the files of one message."""
        ...

    async def inbound_page(self, following: str | None, sender: str | None, /) -> Page:
        """Returns one page of what customers sent to one of our numbers, newest first."""
        ...


class Reconciler:
    """Looks up uncertain sends, fetches receipts, sweeps for inbound messages."""

    def __init__(
        self,
        ledger: LedgerThread,
        listing: MessageList,
        clock: Callable[[], Moment],
        rules: Rules,
        wakers: Wakers,
        signs: Signs,
        *,
        read_inbound: Callable[[Listed, Sequence[ListedFile]], Inbound],
        on_adopted: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._list = listing
        self._clock = clock
        self._rules = rules
        self._wakers = wakers
        self._signs = signs
        self._read_inbound = read_inbound
        self._on_adopted = on_adopted
        self.failures = 0
        self.swept_once = asyncio.Event()

    async def follow_sends(self) -> None:
        """Runs until cancelled: look-ups, holds that end, receipts to fetch, openings that expire."""
        while True:
            self._wakers.lookup.clear()
            await self._guarded(self._follow_once)
            await self._wakers.lookup.wait(self._rules.scaled(TICK) if self._rules.divisor > 1 else TICK)

    async def sweep_inbound(self) -> None:
        """Runs until cancelled: a sweep at the start, then whenever its bell rings or a minute has passed."""
        for tries in itertools.count():
            self._wakers.sweep.clear()
            done = await self._guarded(self.sweep)
            # Also after a failure: what waits for the first sweep must not wait for Twilio.
            self.swept_once.set()
            pause = self._rules.scaled(SWEEP_INTERVAL)
            if not done:
                pause = min(pause, 1.0 + retry_delay(tries, None, base=1.0, cap=pause))
            await self._wakers.sweep.wait(pause)

    async def sweep(self) -> None:
        """Stores what Twilio's list has and we have not. The mark moves once every page is stored."""
        began = self._clock()
        await self._apply_consents(began)
        # A clock that was ahead has left a mark in the future: nothing was seen from there on.
        back_to = min(await self._ledger.run(receipts.swept_to), began) - self._rules.scaled(SWEEP_OVERLAP)
        found = 0
        async for page in self._pages(back_to):
            inbounds = await self._read_unknown(page)
            now = self._clock()
            storing = [self._ledger.hand_over(inbox.record_inbound, inbound, now) for inbound in inbounds]
            for inbound, received in zip(inbounds, await asyncio.gather(*storing), strict=True):
                found += follow_inbound(self._wakers, self._signs, inbound, received, now, listed=True)
        # Only now, and to the beginning of the sweep: a sweep that fails half-way is repeated from the old mark.
        await self._ledger.run(receipts.complete_sweep, began)
        if found:
            say("sweep_found", messages=found)

    async def _apply_consents(self, began: Moment) -> None:
        """After a restore: reads the opt-outs and returns since the backup, all pages before the first is applied."""
        since = await self._ledger.run(restoring.consent_from)
        if since is None:
            return
        back_to = since - self._rules.scaled(SWEEP_OVERLAP)
        written = [
            self._read_inbound(message, ())
            async for page in self._pages(back_to)
            for message in page
            if message.created_at is not None and message.created_at >= back_to
        ]
        applied = await self._ledger.run(restoring.apply_consents, written, began, self._clock())
        say("opt_outs_restored", changed=applied)

    async def _read_unknown(self, page: list[Listed]) -> list[Inbound]:
        """Reads the listed messages that are not stored yet, oldest first. Twilio is asked for their files.

        A sweep lists the last ten minutes again and again. To store each of them once more took the ledger 20 ms a
        page of 200, and webhooks waited. Twilio lists the newest first; stored in that order, ids and thread would run
        against time.
        """
        unknown = await self._ledger.run(inbox.unknown_sids, [message.sid for message in page])
        return [
            self._read_inbound(message, await self._list.files_of(message.sid) if message.num_media else ())
            for message in reversed(page)
            if message.sid in unknown
        ]

    async def _pages(self, back_to: Moment) -> AsyncIterator[list[Listed]]:
        for sender in self._list.senders:
            async for page in self._pages_of(sender, back_to):
                yield page

    async def _pages_of(self, sender: str | None, back_to: Moment) -> AsyncIterator[list[Listed]]:
        following: str | None = None
        seen: set[str] = set()
        while True:
            page = await self._list.inbound_page(following, sender)
            self.failures = 0
            # Without a sender to filter by, the list also holds messages of other channels.
            # A message without a time may be history, which is not answered.
            yield [m for m in page.messages if m.direction == "inbound" and m.sender and m.created_at is not None]
            oldest = min((message.created_at for message in page.messages if message.created_at), default=None)
            if page.next is None or (oldest is not None and oldest < back_to):
                return
            # A page that leads back is not the end: the mark would move past what lies behind it.
            if page.next in seen:
                raise UpstreamError("Twilio's list of messages has no end: it named the same page twice.")
            seen.add(page.next)
            following = page.next

    async def _follow_once(self) -> None:
        now = self._clock()
        if await self._ledger.run(receipts.release_holds, now):
            self._wakers.send.ring()
        for message_id in await self._ledger.run(waiting_openings.expire, now):
            say("message_ended", message=message_id, reason="expired")
        lookups = await self._ledger.run(receipts.due_lookups, LOOKUPS_AT_ONCE, now)
        await asyncio.gather(*(self._look_up(lookup) for lookup in lookups))
        polls = await self._ledger.run(receipts.due_polls, LOOKUPS_AT_ONCE, now)
        await asyncio.gather(*(self._fetch_receipt(*poll) for poll in polls))
        if lookups or polls:
            self._wakers.lookup.ring()

    async def _look_up(self, lookup: Lookup) -> None:
        try:
            # Twilio's clock may be behind ours, and its list has whole seconds.
            listed = await self._list.find(lookup.phone, lookup.attempted_at - 5.0, lookup.sender)
        except UpstreamError as error:
            self._away(error, "look_up_failed", lookup.message_id)
            # A look-up that Twilio did not answer proves nothing, and must not use up one of the few.
            await self._ledger.run(receipts.put_off_lookup, lookup.message_id, self._again_at(error))
            return
        self.failures = 0
        finished = await self._ledger.run(receipts.record_lookup, lookup, listed, self._clock())
        if follow_lookup(self._wakers, finished):
            self._on_adopted()

    async def _fetch_receipt(self, message_id: int, sid: str) -> None:
        try:
            listed = await self._list.fetch(sid)
        except UpstreamError as error:
            self._away(error, "receipt_not_fetched", message_id)
            await self._ledger.run(receipts.put_off_poll, message_id, self._again_at(error))
            return
        self.failures = 0
        if listed is not None:
            receipt = Receipt(sid, listed.status, error_code=listed.error_code)
            noted = await self._ledger.run(receipts.record_receipt, receipt, self._clock())
            follow_receipt(self._wakers, receipt, noted, by="fetch")
        # Counted last: a kill after the count of the last poll would lose its receipt forever.
        await self._ledger.run(receipts.poll_answered, message_id, self._clock())

    def _again_at(self, error: UpstreamError) -> Moment:
        pause = retry_delay(self.failures, error.retry_after, base=1.0, cap=60.0)
        return self._clock() + self._rules.scaled(pause)

    def _away(self, error: UpstreamError, action: str, message_id: int | None) -> None:
        self.failures += 1
        warn(action, message=message_id, why=error.message, status=error.status)

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Runs one step and logs its failure, so that the loop lives on. Returns True if it went through."""
        try:
            await step()
        except StorageUnavailable as error:
            warn("storage_away", message=error.message)
        except UpstreamError as error:
            self._away(error, "twilio_away", None)
        except Exception as error:
            fail("reconcile_fault", error)
        else:
            return True
        return False
