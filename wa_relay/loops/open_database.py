"""Opens the database for a daemon: the writer, the readers, and what a run begins with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from wa_relay import metrics
from wa_relay.config import Config
from wa_relay.ledger import erasing, media, runs, send_results, store, turns, waiting_openings
from wa_relay.ledger.engine import Engine, Opened
from wa_relay.ledger.faults import ServerAway, StorageUnavailable
from wa_relay.ledger.location import Location, location_of
from wa_relay.ledger.lock import DatabaseLock
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import warn, write_kept
from wa_relay.loops.file_check import FileCheck
from wa_relay.loops.file_reader import FileReader
from wa_relay.loops.forgetting import scrub
from wa_relay.loops.lease import compare_settings, settings_of
from wa_relay.model import Moment
from wa_relay.moments import stamp
from wa_relay.policy import Rules

LOCK_PATIENCE = 5.0
"""Seconds for which a start waits for a command that is changing the database."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The writer, and a reader each of reports, threads, events, files. `mark` names the database in callbacks."""

    ledger: LedgerThread
    reports: Reader
    threads: Reader
    events: Reader
    files: FileReader
    mark: str


async def open_database(
    config: Config, place: Location, lock: DatabaseLock | None, now: Moment, give_up: Callable[[], bool]
) -> Opened[Engine]:
    """Takes the lock of a file and opens the database, until `give_up` returns true.

    In a thread: waiting for the lock and a migration block for seconds, and a signal that arrives meanwhile has to end
    the start. Raises a `DatabaseFault`.
    """

    def open_it() -> Opened[Engine]:
        if lock is not None:
            lock.take(stamp(now), LOCK_PATIENCE, give_up)
        return place.open_for_writing(account_sid=config.twilio.account_sid, now=now, give_up=give_up)

    return await asyncio.to_thread(open_it)


async def begin_storage(
    config: Config,
    rules: Rules,
    found: Opened[Engine],
    opened: AsyncExitStack,
    check: FileCheck,
    *,
    clock: Callable[[], Moment],
    on_lost: Callable[[], None],
) -> Storage:
    """Begins a run, and rescues what lost runs had under way.

    Raises a `DatabaseFault`: `SettingsDiffer` beside a daemon with others.
    """
    try:
        await check.begin()
    except BaseException:
        found.connection.close()
        raise
    try:
        return await _begin(config, rules, found, opened, check, clock=clock, on_lost=on_lost)
    except StorageUnavailable as error:
        place = location_of(config)
        if place.is_shared or not isinstance(error.__cause__, Exception):
            raise
        # A daemon that does not run yet tries nothing again by itself.
        raise place.fault_of(error.__cause__) from error


async def _begin(
    config: Config,
    rules: Rules,
    found: Opened[Engine],
    opened: AsyncExitStack,
    check: FileCheck,
    *,
    clock: Callable[[], Moment],
    on_lost: Callable[[], None],
) -> Storage:
    place = location_of(config)
    written = Ledger(found.connection, rules, forgotten=config.forgotten)
    ledger = LedgerThread(
        written, metrics.COMMIT_SECONDS.observe, on_lost, lambda: check.is_sound, beside_commit=write_kept
    )
    opened.push_async_callback(ledger.close)
    mark = await ledger.run(store.begin_run, clock())
    now = await ledger.run(_database_time, clock())
    own = settings_of(config)
    if differing := compare_settings(own, await ledger.run(runs.describe_run, own)):
        warn("settings_differ", keys=", ".join(differing), what="another daemon on this database has other values")
    if forgotten_again := await ledger.run(erasing.forget_again, now):
        warn("forgotten_again", customers=forgotten_again)
        await scrub(ledger)
    uncertain = await ledger.run(send_results.rescue_sends, now)
    reopened = await ledger.run(turns.rescue_turns, now)
    files = await ledger.run(media.rescue_media, now)
    await ledger.run(waiting_openings.replan, now)
    if uncertain or reopened or files:
        warn("rescued", sends=uncertain, turns=reopened, files=files)
    # A separate reader each: no turn and no alert waits for a report, or for a file of 16 MB.
    reports, threads, events, parts = Reader(place), Reader(place), Reader(place), Reader(place)
    for reader in (reports, threads, events, parts):
        opened.callback(reader.close)
    return Storage(ledger, reports, threads, events, FileReader(parts), mark)


def _database_time(ledger: Ledger, now: Moment) -> Moment:
    return ledger.db.now(now)


@contextmanager
def server_needed(is_shared: bool) -> Iterator[None]:
    """Ends a start that loses its server as one that does not find it: nothing was begun that would be tried again."""
    try:
        yield
    except StorageUnavailable as error:
        if not is_shared:
            raise
        raise ServerAway(
            f"PostgreSQL was lost during the start: {error.__cause__ or error.message}. Start wa-relay again."
        ) from error
