"""The composition root: opens everything, runs it, and stops it in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import aiohttp
from aiohttp import web
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from wa_relay import __version__
from wa_relay.agent.gateway import GatewayAgent
from wa_relay.agent.session import TextAgent
from wa_relay.channel.inbound import listed_inbound
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.config import Config
from wa_relay.config.rules import rules_of
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.signing import UrlSigner
from wa_relay.ledger import control, file, sends, store, turns
from wa_relay.ledger.faults import AlreadyServed, DatabaseFault, StorageUnavailable
from wa_relay.ledger.lock import DatabaseLock, Holder
from wa_relay.ledger.reader import Reader
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.logs import fail, say, warn
from wa_relay.loops import systemd
from wa_relay.loops.answering import Agent, TurnWorker
from wa_relay.loops.bell import Wakers
from wa_relay.loops.intake import Intake
from wa_relay.loops.reconcile import Reconciler
from wa_relay.loops.sending import SendWorker
from wa_relay.model import Moment, RelayError
from wa_relay.moments import stamp
from wa_relay.server.calls import CallRoutes
from wa_relay.server.control import ControlRoutes, control_socket
from wa_relay.server.health import Health, judge
from wa_relay.server.listener import Listener
from wa_relay.server.protocol import Listening
from wa_relay.server.reading import ReadingRoutes
from wa_relay.server.webhooks import Trust, WebhookRoutes

SEND_GRACE = 40.0
"""Seconds in which a stop lets requests to Twilio end: above Twilio's own limit of 26 s."""

TURN_GRACE = 3.0
"""A turn that is being asked is given back: nothing of it has been sent."""

HEALTH_WITHIN = 2.0
LOCK_PATIENCE = 5.0
"""Seconds for which a start waits for a command that changes something in the database just now: after a kill it
checks the file first, which takes 3 s with a million messages.
"""

SWEEP_WITHIN = 3.0
"""Seconds for which sending waits at the start for what customers wrote meanwhile: one of them may have opted out."""


@dataclass(frozen=True, slots=True)
class Listens:
    """Where the daemon can be reached, once it can."""

    url: str
    database_made: bool


class LoopEnded(RelayError):
    """A loop of the daemon ended by an error that nothing foresaw: the daemon can't go on without it."""

    exit_code = 1


class Daemon:
    """One relay on one database."""

    def __init__(self, config: Config, clock: Callable[[], Moment] = time.time) -> None:
        self._config, self._clock, self._rules = config, clock, rules_of(config)
        self._stop = asyncio.Event()
        self._give_up = threading.Event()
        self._ended: LoopEnded | None = None
        self._began = clock()
        self._wakers = Wakers()

    def stop(self) -> None:
        """Asks the daemon to end; one that is still starting gives up."""
        self._stop.set()
        self._give_up.set()

    async def run(self, ready: Callable[[Listens], None]) -> None:
        """Serves until it is stopped; calls `ready` once it listens.

        Raises a `DatabaseFault` when the database can't be used, `AlreadyServed` when the port is taken, and
        `LoopEnded` after a clean stop when one of the loops ended by itself.
        """
        config = self._config
        async with AsyncExitStack() as opened:
            lock = DatabaseLock(config.database.path)
            opened.callback(lock.release)
            try:
                found = await asyncio.to_thread(self._open_database, lock)
            except DatabaseFault:
                if self._stop.is_set():
                    return
                raise
            made = await self._open_ledger(found, opened)
            await opened.enter_async_context(systemd.watchdog(self._ledger))
            await self._open_upstreams(opened)
            self._build(opened)
            url = await self._listen(opened)
            control_path = await opened.enter_async_context(
                control_socket(config.database.path, self._control_listener)
            )
            lock.announce(Holder(os.getpid(), stamp(self._began), str(control_path)))
            await opened.enter_async_context(self._working())
            self._say_what_matters()
            say("listening", url=url, database=str(config.database.path), version=__version__)
            ready(Listens(url, made))
            systemd.notify("READY=1", os.environ)
            await self._stop.wait()
            say("stopping")
            systemd.notify("STOPPING=1", os.environ)
            await self._site.stop()
        if self._ended is not None:
            raise self._ended

    def _open_database(self, lock: DatabaseLock) -> file.Opened:
        # In a thread: waiting for the lock, a migration and a check of the file block for seconds, and a signal
        # that arrives meanwhile has to end the start.
        now, path, give_up = self._clock(), self._config.database.path, self._give_up.is_set
        lock.take(stamp(now), LOCK_PATIENCE, give_up)
        return file.open_for_writing(path, account_sid=self._config.twilio.account_sid, now=now, give_up=give_up)

    async def _open_ledger(self, found: file.Opened, opened: AsyncExitStack) -> bool:
        config, now = self._config, self._clock()
        ledger = Ledger(found.connection, self._rules)
        self._ledger = LedgerThread(ledger)
        opened.push_async_callback(self._ledger.close)
        self._mark = await self._ledger.run(store.begin_run, now)
        unclear = await self._ledger.run(sends.rescue_sends, now)
        reopened = await self._ledger.run(turns.rescue_turns, now)
        self._reader = Reader(config.database.path)
        opened.callback(self._reader.close)
        # Of its own: no turn waits for somebody's report.
        self._threads = Reader(config.database.path)
        opened.callback(self._threads.close)
        if unclear or reopened:
            warn("rescued", sends=unclear, turns=reopened)
        return found.created

    async def _open_upstreams(self, opened: AsyncExitStack) -> None:
        config = self._config
        self._http = await opened.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        )
        self._api = ElevenLabs(config.elevenlabs.base_url, config.elevenlabs.api_key.reveal())
        opened.push_async_callback(self._api.close)
        self._channel = TwilioChannel.of(
            self._http,
            config.twilio,
            status_callback=f"{config.server.public_url}/webhook/twilio/status",
            database=self._mark,
        )

    def _build(self, opened: AsyncExitStack) -> None:
        config, clock = self._config, self._clock
        self._sender = SendWorker(
            self._ledger,
            self._channel,
            self._wakers,
            clock,
            per_second=config.twilio.messages_per_second,
        )
        self._intake = Intake(
            self._ledger,
            self._api,
            clock,
            self._wakers,
            agent_ids=config.poll.agent_ids,
            horizon=self._rules.horizon,
        )
        self._turns = TurnWorker(
            self._ledger,
            self._agent(opened),
            clock,
            self._rules,
            self._threads,
            self._wakers,
            fetch_details=self._intake.fetch_details,
        )
        self._reconciler = Reconciler(
            self._ledger,
            self._channel,
            clock,
            self._rules,
            self._wakers,
            read_inbound=listed_inbound,
            # A send that Twilio turns out to have accepted was no failure of Twilio.
            on_adopted=self._sender.circuit.succeeded,
        )
        self._add_routes()

    def _agent(self, opened: AsyncExitStack) -> Agent:
        settings = self._config.elevenlabs
        if settings.transport == "http":
            return GatewayAgent(
                self._http,
                settings.base_url,
                settings.api_key.reveal(),
                turn_timeout=settings.turn_timeout_seconds,
            )
        text_agent = TextAgent(
            self._api,
            self._http,
            turn_timeout=settings.turn_timeout_seconds,
            settle=settings.settle_seconds,
            base_url=settings.base_url,
            signer=UrlSigner(self._http, settings.base_url, settings.api_key.reveal()),
        )
        opened.push_async_callback(text_agent.close)
        return text_agent

    def _add_routes(self) -> None:
        config, clock = self._config, self._clock
        self._listener = Listener(self._ledger, config.server.token.reveal())
        CallRoutes(self._listener, self._intake, self._wakers.board, self._channel, clock)
        trust = Trust(
            config.server.public_url,
            config.twilio.account_sid,
            config.twilio.auth_token.reveal(),
            config.twilio.verify_signature,
            config.elevenlabs.webhook_secret.reveal(),
        )
        WebhookRoutes(
            self._listener,
            self._intake,
            trust,
            clock,
            self._wakers,
        )
        ReadingRoutes(self._listener, self._reader, self, self._rules.timezone, clock)
        self._control_listener = Listener(self._ledger, "")
        ControlRoutes(self._control_listener, clock, self._wakers.send.ring)

    async def _listen(self, opened: AsyncExitStack) -> str:
        server = self._config.server
        runner = web.ServerRunner(Listening(self._listener.handle), handle_signals=False, shutdown_timeout=6.0)
        await runner.setup()
        opened.push_async_callback(runner.cleanup)
        self._site = web.TCPSite(runner, server.host, server.port, backlog=4096)
        try:
            await self._site.start()
        except OSError as error:
            raise AlreadyServed(
                f"port {server.port} of {server.host} can't be had: {error.strerror}. Set server.port to another one, "
                "or stop what listens there."
            ) from error
        host, port = runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """Runs the loops; on the way out polling ends first, and the workers end their jobs."""
        scheduler = AsyncIOScheduler(timezone=UTC)
        if self._config.poll.enabled:
            scheduler.add_job(
                self._wakers.poll.ring,
                "interval",
                seconds=self._config.poll.interval_seconds,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
            self._wakers.poll.ring()
        scheduler.start()
        loops: dict[str, Coroutine[Any, Any, None]] = {
            "follow_up": self._intake.follow_up(),
            "follow_sends": self._reconciler.follow_sends(),
            "sweep": self._reconciler.sweep_inbound(),
        }
        if self._config.poll.enabled:
            loops["poll"] = self._intake.poll()
        background = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
        workers = [
            asyncio.create_task(self._send_after_sweep(), name="send"),
            asyncio.create_task(self._turns.run(), name="answer"),
        ]
        for task in (*background, *workers):
            task.add_done_callback(self._loop_ended)
        try:
            yield
        finally:
            scheduler.shutdown(wait=False)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.gather(self._turns.stop(TURN_GRACE), self._sender.stop(SEND_GRACE))
            # A sender that still waits for the first sweep need not wait any more.
            self._reconciler.swept_once.set()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _send_after_sweep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rules.scaled(SWEEP_WITHIN)):
                await self._reconciler.swept_once.wait()
        await self._sender.run()

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            fail("loop_fault", error, loop=task.get_name())
            self._ended = self._ended or LoopEnded(
                f"the loop {task.get_name()} ended by an error ({type(error).__name__}); wa-relay stopped cleanly. "
                "Start it again, and report this with the log."
            )
            self.stop()

    async def health(self) -> Health:
        """How the daemon fares; nothing that can be stored within 2 s is `down`."""
        queue, database = None, "ok"
        try:
            async with asyncio.timeout(HEALTH_WITHIN):
                queue = await self._ledger.run(control.queue_health, self._clock())
        except (StorageUnavailable, TimeoutError):
            database = "unavailable"
        polled = self._intake.health
        upstreams = {
            "twilio": max(self._sender.circuit.failures, self._reconciler.failures),
            "elevenlabs": max(polled.consecutive_failures, self._turns.failures),
        }
        return Health(
            status=judge(queue, list(upstreams.values())),
            uptime=self._clock() - self._began,
            queue=queue,
            database=database,
            polling=self._config.poll.enabled,
            last_poll_at=polled.last_success_at,
            poll_failures=polled.consecutive_failures,
            upstreams=upstreams,
        )

    def _say_what_matters(self) -> None:
        for words in self._config.warnings:
            warn("configuration", what=words)
        for outcome, opening in self._rules.openings.items():
            if opening.body and not opening.content_sid:
                warn(
                    "no_template",
                    outcome=outcome,
                    what="outside the 24-hour window WhatsApp refuses free text (63016): a call opens no window. "
                    f"Set opening.{outcome}.content_sid to an approved template.",
                )


async def serve(config: Config, ready: Callable[[Listens], None]) -> None:
    """Runs a daemon until SIGTERM or SIGINT; a second signal ends the process at once."""
    daemon = Daemon(config)
    loop, signals = asyncio.get_running_loop(), 0

    def stop() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(0)
        daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await daemon.run(ready)
