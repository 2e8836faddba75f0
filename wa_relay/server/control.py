"""The control socket: how the commands that change something reach the running daemon.

A Unix socket of mode 0600 beside the database; who may write to the file may speak here.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from wa_relay.ledger import control
from wa_relay.logs import say
from wa_relay.model import Moment, PayloadError
from wa_relay.server.answers import JSON, refusal, reply
from wa_relay.server.listener import Listener, Request, Route
from wa_relay.server.protocol import Listening
from wa_relay.server.unix_socket import address
from wa_relay.sources import jsonbody

DECISIONS: dict[str, control.Decision] = {"sent": "sent", "resend": "resend", "cancel": "cancel"}


class ControlRoutes:
    """`POST /pause`, `/resume` and `/resolve`, for the commands of the same names."""

    def __init__(self, listener: Listener, clock: Callable[[], Moment], on_send: Callable[[], None]) -> None:
        self._listener, self._clock, self._on_send = listener, clock, on_send
        listener.add(
            {
                "/pause": Route("POST", self.pause),
                "/resume": Route("POST", self.resume),
                "/resolve": Route("POST", self.resolve, media_types=(JSON,)),
            }
        )

    async def pause(self, _request: Request) -> web.StreamResponse:
        """Holds openings."""
        await self._listener.store(control.pause)
        say("paused", by="operator")
        return reply({"success": True})

    async def resume(self, _request: Request) -> web.StreamResponse:
        """Lets openings go."""
        waiting = await self._listener.store(control.resume)
        say("resumed", waiting=waiting)
        self._on_send()
        return reply({"success": True, "waiting": waiting})

    async def resolve(self, request: Request) -> web.StreamResponse:
        """Carries out a decision about an uncertain send."""
        body = jsonbody.parse_object(request.body)
        identity, decision, sid = body.get("id"), body.get("decision"), body.get("sid")
        if not isinstance(identity, int) or not isinstance(decision, str) or decision not in DECISIONS:
            raise PayloadError("an id and a decision are wanted.", code="invalid_payload")
        try:
            status = await self._listener.store(
                control.resolve,
                identity,
                DECISIONS[decision],
                sid if isinstance(sid, str) else None,
                "operator",
                self._clock(),
            )
        except control.NotUncertain as error:
            return refusal(409, "not_uncertain", error.message)
        say("resolved", message=identity, decision=decision, status=status)
        self._on_send()
        return reply({"success": True, "status": status})


@asynccontextmanager
async def control_socket(database: Path, listener: Listener) -> AsyncIterator[Path]:
    """Serves a listener's routes on the database's control socket."""
    path = database.with_name(database.name + ".sock")
    with suppress(FileNotFoundError):
        path.unlink()
    runner = web.ServerRunner(Listening(listener.handle), handle_signals=False, shutdown_timeout=2.0)
    # To the end, since asyncio removes a socket by the address that it was bound to.
    with address(path) as reachable:
        await runner.setup()
        try:
            await _begin(runner, reachable)
            yield path
        finally:
            await runner.cleanup()
            with suppress(FileNotFoundError):
                path.unlink()


async def _begin(runner: web.ServerRunner, reachable: str) -> None:
    old_umask = os.umask(0o177)
    try:
        await web.UnixSite(runner, reachable).start()
    finally:
        os.umask(old_umask)
