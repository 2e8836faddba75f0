"""The composition root: opens everything, runs it, and stops it in the right order.

The parts are made in the order of their groups: `Storage`, `ServiceClients`, `Loops`, then the routes. Each group is
frozen and knows only the groups before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from wa_relay import __version__
from wa_relay.config import Config
from wa_relay.config.policy_rules import rules_of
from wa_relay.ledger.faults import DatabaseFault, ServerAway
from wa_relay.ledger.location import location_of
from wa_relay.ledger.lock import DatabaseLock, Holder
from wa_relay.logs import fail, say, warn
from wa_relay.loops import systemd
from wa_relay.loops.assembly import Common, Loops, make_loops
from wa_relay.loops.bell import Wakers
from wa_relay.loops.daemon_wakeups import DaemonWakeups
from wa_relay.loops.file_check import FileCheck
from wa_relay.loops.health_signs import Signs
from wa_relay.loops.lease import DatabaseClock, Lease
from wa_relay.loops.open_database import Storage, begin_storage, open_database, server_needed
from wa_relay.loops.rates import rates_of
from wa_relay.loops.schedules import start_schedules
from wa_relay.loops.service_clients import ServiceClients, open_clients
from wa_relay.loops.startup import Work, lead, log_startup_warnings, send_after_sweep, work_when_sound
from wa_relay.model import Moment, RelayError
from wa_relay.moments import stamp
from wa_relay.server.access import Access
from wa_relay.server.calls import CallRoutes
from wa_relay.server.control_operators import OperatorControl
from wa_relay.server.control_privacy import PrivacyControl
from wa_relay.server.control_socket import ControlRoutes, HealthRoute, control_socket
from wa_relay.server.conversation_routes import ConversationRoutes
from wa_relay.server.events import EventRoutes
from wa_relay.server.health import Checkup, Watched
from wa_relay.server.listen_address import listen
from wa_relay.server.listener import RequestLedger, Route, application
from wa_relay.server.media import MediaRoutes
from wa_relay.server.operator_actions import OperatorActions
from wa_relay.server.outbox_routes import OutboxRoutes
from wa_relay.server.read_routes import ReadRoutes
from wa_relay.server.webhooks import Trust, WebhookRoutes

SEND_GRACE = 40.0
"""Seconds for which a stop waits for requests to Twilio: above the request's own limit of 26 s."""

TURN_GRACE = 3.0
"""Seconds for which a stop waits for the agent. Then the turn is given back: nothing of it has been sent."""

MEDIA_GRACE = 5.0
"""Seconds for which a stop waits for files: a transcription that can finish is not paid twice."""

GRACES = (TURN_GRACE, MEDIA_GRACE, SEND_GRACE)

RESTART_PAUSE = 1.0
"""Seconds between two starts after a lost lease while the database is away."""


@dataclass(frozen=True, slots=True)
class Listens:
    """The address of the running daemon, and whether it made its database."""

    url: str
    database_made: bool


class LoopEnded(RelayError):
    """A loop of the daemon ended by an unexpected error: the daemon can't run without it."""

    exit_code = 1


class Daemon:
    """One relay on one database."""

    def __init__(self, config: Config, clock: Callable[[], Moment] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._rules = rules_of(config)
        self._began = clock()
        self._stop = asyncio.Event()
        self._give_up = threading.Event()
        self._ended: RelayError | None = None
        self._place = location_of(config)
        self.lease_lost = False

    def stop(self) -> None:
        """Asks the daemon to end, also while it is still starting."""
        self._stop.set()
        self._give_up.set()

    def _lose(self) -> None:
        """Ends at once: other daemons have taken over this one's work."""
        if not self.lease_lost:
            warn("lease_lost", what="this daemon was away for over 10 s: others have its work, and it starts again")
        self.lease_lost = True
        self.stop()

    async def run(self, ready: Callable[[Listens], None]) -> None:
        """Serves until it is stopped; calls `ready` once it listens.

        Raises a `DatabaseFault` if the database can't be used or is found to be damaged, `AlreadyServed` if the port
        is taken, and `LoopEnded` after a clean stop if one of the loops ended on its own.
        """
        config = self._config
        async with AsyncExitStack() as opened:
            lock = None if self._place.is_shared else DatabaseLock(config.database.path)
            if lock is not None:
                opened.callback(lock.release)
            try:
                found = await open_database(config, self._place, lock, self._clock(), self._give_up.is_set)
            except DatabaseFault:
                if self._stop.is_set():
                    return
                raise
            check = FileCheck(config.database.path if found.unclean else None, self._end)
            opened.callback(check.end)
            shared_clock = DatabaseClock(self._clock)
            clock = shared_clock if self._place.is_shared else self._clock
            common = Common(config, self._rules, clock, Wakers(), Signs())
            rates = rates_of(config, self._rules, clock())
            with server_needed(self._place.is_shared):
                storage = await begin_storage(
                    config, self._rules, found, opened, check, clock=clock, on_lost=self._lose
                )
                lease = Lease(storage.ledger, shared_clock, rates.share, shared=self._place.is_shared)
                await lease.begin()
            await opened.enter_async_context(systemd.watchdog(storage.ledger))
            clients = await open_clients(config, storage.mark, storage.files, opened)
            loops = make_loops(common, storage, clients, rates)
            access = Access(
                config.server.token.reveal(), config.server.push_token.reveal(), config.server.trusted_proxies
            )
            actions = OperatorActions(RequestLedger(storage.ledger), clock, common.wakers)
            events = EventRoutes(access, storage.events, clock)
            wakeups = DaemonWakeups(self._place, storage.ledger.epoch, common.wakers, clock)
            own: dict[str, Work] = {"lease": lease.run, "events": events.run, "wakeups": wakeups.run}
            checkup = _make_checkup(common, storage, loops, lease, check)
            routes = _make_routes(common, storage, clients, loops, access, actions, checkup)
            site, url = await listen(config.server, application((*routes, *events.routes()), access), opened)
            if lock is not None:
                control = ControlRoutes(RequestLedger(storage.ledger), clock, common.wakers.send)
                privacy = PrivacyControl(storage.ledger, loops.forgetting, clock)
                health = HealthRoute(checkup)
                commands = (*control.routes(), *OperatorControl(actions).routes(), *privacy.routes(), *health.routes())
                control_path = await opened.enter_async_context(control_socket(config.database.path, commands))
                lock.announce(Holder(os.getpid(), stamp(self._began), str(control_path)))
            await opened.enter_async_context(self._working(loops, common.wakers, own, lease, check))
            log_startup_warnings(config, self._rules)
            say("listening", url=url, database=self._place.shown, version=__version__)
            ready(Listens(url, found.created))
            systemd.notify("READY=1", os.environ)
            await self._stop.wait()
            say("stopping")
            systemd.notify("STOPPING=1", os.environ)
            await site.stop()
        if self._ended is not None:
            raise self._ended

    @asynccontextmanager
    async def _working(
        self, loops: Loops, wakers: Wakers, own: dict[str, Work], lease: Lease, check: FileCheck
    ) -> AsyncIterator[None]:
        """Runs the loops. On the way out the schedules end first, then the loops, and the workers end their jobs."""
        scheduler = start_schedules(self._config, wakers)
        running: dict[str, Work] = {
            "follow_up": loops.call_facts.run,
            "follow_sends": loops.reconciler.follow_sends,
            "sweep": loops.reconciler.sweep_inbound,
            "handovers": loops.handovers.run,
            "indexing": loops.indexer.run,
            "retention": loops.forgetting.run,
        }
        if self._config.poll.enabled:
            running["poll"] = loops.polling.run
        if loops.alert_delivery is not None:
            running |= {"alert_watch": loops.alert_delivery.watch, "alerts": loops.alert_delivery.deliver}
        background = [
            asyncio.create_task(work_when_sound(check, partial(lead, lease, loop)), name=name)
            for name, loop in running.items()
        ]
        # Every daemon renews its own lease, and serves its own listeners.
        background += [asyncio.create_task(run(), name=name) for name, run in own.items()]
        send = partial(send_after_sweep, loops.sending, loops.reconciler, self._rules)
        working: dict[str, Work] = {
            "send": send,
            "answer": loops.answering.run,
            "media": loops.media.run,
        }
        workers = [asyncio.create_task(work_when_sound(check, work), name=name) for name, work in working.items()]
        for task in (*background, *workers):
            task.add_done_callback(self._loop_ended)
        try:
            yield
        finally:
            scheduler.shutdown(wait=False)
            check.end()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            turn_grace, file_grace, send_grace = (0.0, 0.0, 0.0) if self.lease_lost else GRACES
            await asyncio.gather(
                loops.answering.stop(turn_grace), loops.media.stop(file_grace), loops.sending.stop(send_grace)
            )
            # A sender that still waits for the first sweep must not wait any longer.
            loops.reconciler.swept_once.set()
            await asyncio.gather(*workers, return_exceptions=True)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            fail("loop_fault", error, loop=task.get_name())
            what = f"the loop {task.get_name()} ended with an error ({type(error).__name__})"
            self._end(LoopEnded(f"{what}; wa-relay stopped cleanly. Start it again, and report this with the log."))

    def _end(self, error: RelayError) -> None:
        """Stops the daemon, and makes `run` raise the first such error."""
        self._ended = self._ended or error
        self.stop()


def _make_checkup(common: Common, storage: Storage, loops: Loops, lease: Lease, check: FileCheck) -> Checkup:
    watched = Watched(
        ledger=storage.ledger,
        sending=loops.sending,
        answering=loops.answering,
        media=loops.media,
        polling=loops.polling,
        call_facts=loops.call_facts,
        reconciler=loops.reconciler,
        signs=common.signs,
        lease=lease,
        check=check,
    )
    return Checkup(watched, common.clock, polling=common.config.poll.enabled, instance=secrets.token_hex(8))


def _make_routes(
    common: Common,
    storage: Storage,
    clients: ServiceClients,
    loops: Loops,
    access: Access,
    actions: OperatorActions,
    checkup: Checkup,
) -> tuple[Route, ...]:
    config, clock, wakers, signs = common.config, common.clock, common.wakers, common.signs
    ledger = RequestLedger(storage.ledger)
    trust = Trust.of(config)
    routes = (
        *CallRoutes(ledger, loops.announcements, wakers.board, clients.twilio, clock).routes(),
        *WebhookRoutes(ledger, loops.announcements, trust, access, clock, wakers, signs).routes(),
        *ConversationRoutes(actions, ledger, storage.reports, clock).routes(),
        *OutboxRoutes(ledger, clock, wakers.send).routes(),
        *MediaRoutes(storage.files).routes(),
        *ReadRoutes(access, storage.reports, checkup, common.rules.timezone, clock).routes(),
    )
    if not config.console.enabled:
        return routes
    # Imported only if the console is on: argon2 and Jinja2 take 8 MB.
    from wa_relay.console import site

    parts = site.Parts(ledger, storage.reports, storage.threads, access, checkup, clients, loops.forgetting, clock)
    return (*routes, *site.routes(parts, config))


async def serve(config: Config, ready: Callable[[Listens], None]) -> None:
    """Runs a daemon until SIGTERM or SIGINT; a second signal ends the process at once."""
    daemons = [Daemon(config)]
    loop, signals = asyncio.get_running_loop(), 0

    def stop() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(0)
        daemons[-1].stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await daemons[-1].run(ready)
        while daemons[-1].lease_lost and not signals:
            daemons.append(Daemon(config))
            await _run_again(daemons[-1])


async def _run_again(daemon: Daemon) -> None:
    """Runs a daemon after a lost lease: one whose database is away again tries until it is back."""
    try:
        await daemon.run(lambda _listens: None)
    except ServerAway as error:
        warn("storage_away", message=error.message)
        daemon.lease_lost = True
        await asyncio.sleep(RESTART_PAUSE)
