"""The control socket: how the commands that change something reach the running daemon.

A Unix socket of mode 0600 beside the database: a user who may write to the file may use it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from wa_relay.ledger import console_users, operator_decisions
from wa_relay.ledger.console_users import NAME, USER_ACTIONS, UserChange, role_of
from wa_relay.ledger.restoring import ListIncomplete
from wa_relay.logs import say
from wa_relay.loops.bell import Bell
from wa_relay.loops.send_barrier import until_begun
from wa_relay.model import Moment, PayloadError
from wa_relay.server.access import Access
from wa_relay.server.answers import JSON, error_answer, json_answer
from wa_relay.server.body import body_key
from wa_relay.server.health import Checkup
from wa_relay.server.listener import RequestLedger, Route, application
from wa_relay.server.protocol import Runner
from wa_relay.server.unix_socket import address
from wa_relay.sources import jsonbody
from wa_relay.sources.jsonbody import Json

DECISIONS: dict[str, operator_decisions.Decision] = {"sent": "sent", "resend": "resend", "cancel": "cancel"}


class HealthRoute:
    """`GET /health` for `doctor`, which learns from it which daemon holds the database."""

    def __init__(self, checkup: Checkup) -> None:
        self._checkup = checkup

    def routes(self) -> tuple[Route, ...]:
        """The route for the control socket."""
        return (Route("GET", "/health", self.health),)

    async def health(self, _: web.Request) -> web.StreamResponse:
        """Shows the health, including what strangers must not see."""
        return json_answer((await self._checkup.look()).to_json(inside=True))


class ControlRoutes:
    """`POST /pause`, `/resume` and `/resolve`, for the commands of the same names."""

    def __init__(self, ledger: RequestLedger, clock: Callable[[], Moment], send: Bell) -> None:
        self._ledger = ledger
        self._clock = clock
        self._send = send

    def routes(self) -> tuple[Route, ...]:
        """The routes for the control socket."""
        return (
            Route("POST", "/pause", self.pause),
            Route("POST", "/resume", self.resume),
            Route("POST", "/resolve", self.resolve, media_types=(JSON,)),
            Route("POST", "/console", self.console, media_types=(JSON,)),
        )

    async def console(self, http: web.Request) -> web.StreamResponse:
        """Changes a user of the console, or stores a login link."""
        body = jsonbody.parse_object(http[body_key])
        try:
            await self._ledger.run(console_users.change_users, _user_change(body, _read_user(http)), self._clock())
        except (console_users.NameTaken, console_users.NoSuchUser) as error:
            return error_answer(409, "refused", error.message)
        say("console_users_changed")
        return json_answer({"success": True})

    async def pause(self, http: web.Request) -> web.StreamResponse:
        """Holds openings."""
        await self._ledger.run(operator_decisions.pause, _read_user(http), self._clock())
        await until_begun(self._ledger)
        say("paused", by="operator")
        return json_answer({"success": True})

    async def resume(self, http: web.Request) -> web.StreamResponse:
        """Releases the held openings; with a `template`, only what that stopped template holds."""
        template = _text(http, "template")
        if template is not None:
            return await self._resume_template(http, template)
        anyway = bool(http[body_key]) and jsonbody.parse_object(http[body_key]).get("anyway") is True
        try:
            waiting = await self._ledger.run(operator_decisions.resume, _read_user(http), self._clock(), anyway)
        except ListIncomplete as error:
            return error_answer(409, "list_incomplete", error.message)
        say("resumed", waiting=waiting)
        self._send.ring()
        return json_answer({"success": True, "waiting": waiting})

    async def _resume_template(self, http: web.Request, template: str) -> web.StreamResponse:
        if not await self._ledger.run(operator_decisions.resume_template, template, _read_user(http), self._clock()):
            return error_answer(409, "not_stopped", f"the template {template[:40]} is not stopped.")
        say("template_resumed", template=template)
        self._send.ring()
        return json_answer({"success": True})

    async def resolve(self, http: web.Request) -> web.StreamResponse:
        """Applies an operator's decision about an uncertain send."""
        body = jsonbody.parse_object(http[body_key])
        message_id, decision, sid = body.get("id"), body.get("decision"), body.get("sid")
        if not isinstance(message_id, int) or not isinstance(decision, str) or decision not in DECISIONS:
            raise PayloadError("send an id and a decision.", code="invalid_payload")
        try:
            status = await self._ledger.run(
                operator_decisions.resolve,
                message_id,
                DECISIONS[decision],
                sid if isinstance(sid, str) else None,
                _read_user(http),
                self._clock(),
            )
        except operator_decisions.NotUncertain as error:
            return error_answer(409, "not_uncertain", error.message)
        say("resolved", message=message_id, decision=decision, status=status)
        self._send.ring()
        return json_answer({"success": True, "status": status})


def _user_change(body: Mapping[str, Json], by: str) -> UserChange:
    """Reads a change from the command's body; the schema refuses an invalid role or hash."""
    action, name, role, value = (str(body.get(key) or "") for key in ("action", "name", "role", "value"))
    for known in USER_ACTIONS:
        if known == action and NAME.fullmatch(name):
            return UserChange(known, name, by, role_of(role), value)
    raise PayloadError("send an action and a name.", code="invalid_payload")


def _read_user(http: web.Request) -> str:
    """The user that the command names. Only the database's owner can use the socket, so the name is trusted."""
    return _text(http, "by") or "operator"


def _text(http: web.Request, name: str) -> str | None:
    """A text of the body, at most 100 characters of it; None without one."""
    body = jsonbody.parse_object(http[body_key]) if http[body_key] else {}
    value = body.get(name)
    return value[:100] if isinstance(value, str) and value else None


@asynccontextmanager
async def control_socket(database: Path, routes: Iterable[Route]) -> AsyncIterator[Path]:
    """Serves these routes on the database's control socket, and yields its path."""
    path = database.with_name(database.name + ".sock")
    with suppress(FileNotFoundError):
        path.unlink()
    runner = Runner(application(routes, Access("")), shutdown_timeout=2.0)
    # Until the end, since asyncio removes a socket by the address that it was bound to.
    with address(path) as reachable:
        await runner.setup()
        try:
            await _begin(runner, reachable)
            yield path
        finally:
            await runner.cleanup()
            with suppress(FileNotFoundError):
                path.unlink()


async def _begin(runner: web.AppRunner, reachable: str) -> None:
    old_umask = os.umask(0o177)
    try:
        await web.UnixSite(runner, reachable).start()
    finally:
        os.umask(old_umask)
