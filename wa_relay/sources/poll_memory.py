"""The poller's memory between its rounds, for as long as the process runs. Pure.

The calls themselves and the settled batches are in the ledger. What is kept here may be lost: the
first round after a start lists every batch, and asks again for what was missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wa_relay.elevenlabs.shapes import BatchPage, BatchSummary
from wa_relay.model import Moment
from wa_relay.sources.batch_outcomes import Rejection, is_stale, is_untouched, latest_of

FULL_LISTING = 3600.0
"""Seconds after which every batch is listed again: only then does a change in an old, settled one show."""

DETAILS_LAG = 600.0
"""Seconds for which a conversation that its batch names and that is not found is asked for again (contract 7.2)."""

LAG_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class _Missing:
    since: Moment
    asked_at: Moment


class PollMemory:
    """The batches to watch, the conversations that are missing so far, and what was rejected.

    `horizon` is in seconds: calls that ended longer ago are not followed up.
    """

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._watched: dict[str, BatchSummary] = {}
        self._listed_at: Moment | None = None
        self._missing: dict[str, _Missing] = {}
        self._rejected_keys: set[str] = set()
        self._reported: set[Rejection] = set()

    # --- batches

    def full_listing_due(self, now: Moment) -> bool:
        """True if the whole list has to be read: at first, once an hour, and after the clock was set back."""
        return self._listed_at is None or not 0.0 <= now - self._listed_at < FULL_LISTING

    def is_old(self, page: BatchPage, settled: Mapping[str, str], now: Moment) -> bool:
        """True for a page on which every batch is settled and too old to be followed up: nothing new comes after it."""
        since = now - self._horizon
        return all(
            (batch.whatsapp or settled.get(batch.id) == batch.mark)
            and latest_of(batch.created_at, batch.updated_at, batch.scheduled_for) < since
            for batch in page.batches
        )

    def note_listed(self, listed: Iterable[BatchSummary], *, full: bool, now: Moment) -> None:
        """Keeps what was listed; `full` means that nothing else exists."""
        if full:
            self._watched.clear()
            self._listed_at = now
        self._watched.update((batch.id, batch) for batch in listed if not batch.whatsapp)

    def note_read(self, batch: BatchSummary) -> None:
        """Keeps a batch as its details show it."""
        self._watched[batch.id] = batch

    def forget_batch(self, batch_id: str) -> None:
        """Stops watching a batch that does not exist."""
        self._watched.pop(batch_id, None)

    def unlisted(self, listed: Iterable[BatchSummary], settled: Mapping[str, str], now: Moment) -> list[str]:
        """Returns the ids of the batches that were not listed this time and may have news.

        These are the batches that are not settled, and those scheduled within the horizon. One
        that is scheduled for later and has dialled no recipient waits for its time.
        """
        since = now - self._horizon
        for batch_id, batch in list(self._watched.items()):
            if settled.get(batch_id) == batch.mark and latest_of(batch.scheduled_for) < since:
                del self._watched[batch_id]
        seen = {batch.id for batch in listed}
        return [
            batch_id
            for batch_id, batch in self._watched.items()
            if batch_id not in seen and not (is_untouched(batch) and latest_of(batch.scheduled_for) > now)
        ]

    # --- conversations

    def may_ask(self, key: str, now: Moment) -> bool:
        """False while a missing conversation rests: it is asked for with growing pauses."""
        missing = self._missing.get(key)
        if missing is None or now < missing.asked_at:
            return True
        pause = max(LAG_PAUSE, (missing.asked_at - missing.since) / 2)
        return now - missing.asked_at >= pause or now - missing.since >= DETAILS_LAG

    def may_lag(self, key: str, now: Moment, *reported: Moment | None) -> bool:
        """Notes that a conversation was not found; True while it may still appear.

        The time counts from the round in which it was first missing: the stamps of batches
        (`reported`) are unreliable, and serve only to recognise calls that are long over.
        """
        missing = self._missing.get(key) or _Missing(now, now)
        if is_stale(now, *reported) or not 0.0 <= now - missing.since < DETAILS_LAG:
            self._missing.pop(key, None)
            return False
        self._missing[key] = _Missing(missing.since, now)
        return True

    def note_found(self, key: str) -> None:
        """Forgets that a conversation was missing."""
        self._missing.pop(key, None)

    # --- rejections

    def is_rejected(self, key: str) -> bool:
        """True for a call key that was rejected before."""
        return key in self._rejected_keys

    def new_rejections(self, rejections: Sequence[Rejection]) -> list[Rejection]:
        """Keeps rejections and returns those that were not kept before."""
        new = [one for one in dict.fromkeys(rejections) if one not in self._reported]
        self._reported.update(new)
        self._rejected_keys.update(one.key for one in new if one.key is not None)
        return new
