"""Forgetting customers: by a command or the console, and old threads by age.

First what waits for the customer ends and what is in flight is awaited; with `upstream`, Twilio and ElevenLabs delete
their copies; then the database is erased, and its log and free space are cleared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from wa_relay.ledger import erasing, indexing
from wa_relay.ledger.audit import Deed, run_audited
from wa_relay.ledger.erasing import MessageInFlight, Traces
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.model import Moment, RelayError, UpstreamError
from wa_relay.moments import stamp

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for which a message in flight is awaited, and a reader that keeps the log from being cut."""

LOOK_AGAIN = 0.25
THREADS_AT_ONCE = 500
EVERY = 86400.0
DAY = 86400.0


class TwilioCopies(Protocol):
    """Deletes at Twilio. Both raise `UpstreamError`; what is not there counts as deleted."""

    async def delete_media(self, sid: str) -> None:
        """Deletes the media of one message."""
        ...

    async def delete_message(self, sid: str) -> None:
        """Deletes one message."""
        ...


class ElevenLabsCopies(Protocol):
    """Deletes at ElevenLabs. Raises `UpstreamError`; what is not there counts as deleted."""

    async def delete_conversation(self, conversation_id: str) -> None:
        """Deletes a call or a text session."""
        ...


@dataclass(frozen=True, slots=True)
class Copies:
    """The services that have copies of what is erased."""

    twilio: TwilioCopies
    elevenlabs: ElevenLabsCopies


class UnknownCustomer(RelayError):
    """Nothing is stored of the customer."""


class CopyRemains(RelayError):
    """Twilio or ElevenLabs did not delete its copy: nothing was erased here."""


class Forgetter:
    """Erases customers. `copies` is None where no account is configured; threads are kept for `days`, 0: for ever."""

    def __init__(
        self, ledger: LedgerThread, clock: Callable[[], Moment], copies: Copies | None, days: float = 0.0
    ) -> None:
        self._days = days
        self._ledger = ledger
        self._clock = clock
        self._copies = copies

    async def forget(self, address: str, actor: str | None, *, upstream: bool, deed: Deed | None = None) -> None:
        """Erases one customer, and records the `deed` of a user of the console in the same transaction.

        Raises `UnknownCustomer`, `MessageInFlight`, `CopyRemains` or `StorageUnavailable`.
        """
        traces = await self._ledger.run(erasing.stop_customer, address, actor, self._clock())
        if traces.empty:
            raise UnknownCustomer(f"nothing is stored of {address}.", permanent=True)
        await patiently(lambda: self._ledger.run(erasing.refuse_in_flight, traces.conversation_id))
        if upstream:
            await self._delete_copies(await self._ledger.run(erasing.find_traces, address))

        def erase() -> Awaitable[bool]:
            now = self._clock()
            return self._ledger.run(run_audited, deed, now, erasing.erase, address, actor, now)

        await patiently(erase)
        await scrub(self._ledger)
        say("forgotten", conversation=traces.conversation_id, upstream=upstream)

    async def forget_old(self, days: float, actor: str | None = None) -> int:
        """Erases the threads whose last message is older. Returns how many; what is in flight is left for later."""
        before, erased = stamp(self._clock() - days * DAY), 0
        skipped: set[str] = set()
        while True:
            addresses = await self._ledger.run(erasing.old_threads, before, THREADS_AT_ONCE + len(skipped))
            wanted = [address for address in addresses if address not in skipped]
            if not wanted:
                break
            for address in wanted:
                try:
                    erased += await self._ledger.run(erasing.erase, address, actor, self._clock())
                except MessageInFlight:
                    skipped.add(address)
        if erased:
            await scrub(self._ledger)
            say("threads_erased", threads=erased, older_than=before)
        return erased

    async def run(self) -> None:
        """Runs until cancelled: erases old threads at the start and every 24 hours. Returns if they are kept."""
        while self._days > 0:
            try:
                await self.forget_old(self._days)
            except StorageUnavailable as error:
                warn("retention_put_off", why=error.message)
            except Exception as error:
                fail("retention_fault", error)
            await asyncio.sleep(EVERY)

    async def _delete_copies(self, traces: Traces) -> None:
        """Deletes at Twilio and ElevenLabs, in an order in which a failure can be repeated."""
        if self._copies is None:
            raise CopyRemains("no account of Twilio and ElevenLabs is configured.", permanent=True)
        twilio, elevenlabs = self._copies.twilio, self._copies.elevenlabs
        sids = [*traces.message_sids, *(sid for _, sid in traces.strangers if sid is not None)]
        try:
            for sid in traces.sids_with_media:
                await twilio.delete_media(sid)
            for sid in sids:
                await twilio.delete_message(sid)
            for conversation in (*traces.session_ids, *(key for key in traces.call_keys if "/" not in key)):
                await elevenlabs.delete_conversation(conversation)
        except UpstreamError as error:
            raise CopyRemains(f"nothing was erased here: {error.message} Repeat the command.") from error


async def scrub(ledger: LedgerThread) -> None:
    """Clears the search index, the database's log and its free space, a part at a time."""
    more = await ledger.run(partial(indexing.clean, begins=True))
    while more:
        more = await ledger.run(partial(indexing.clean, begins=False))
    place: int | None = 0
    while place is not None:
        place = await patiently(partial(ledger.scrub, place))


async def patiently(operation: Callable[[], Awaitable[T]]) -> T:
    """Repeats an operation while a message in flight or a reader blocks it, until `PATIENCE` is over."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await operation()
        except (MessageInFlight, StorageUnavailable):
            if asyncio.get_running_loop().time() >= end:
                raise
            await asyncio.sleep(LOOK_AGAIN)
