"""The listener: aiohttp's application and router, with the contract's checks and errors as a middleware.

A request passes in this order: path and method (the router), token, size, media type; then its route checks the
signature, the JSON and the fields. Every failure ends in the error envelope.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from aiohttp import web

from wa_relay import metrics
from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.logs import fail
from wa_relay.model import PayloadError
from wa_relay.server.access import LEAST_ROLE, Access, Level, actor_key, require_csrf_token
from wa_relay.server.answers import HttpError, error_answer
from wa_relay.server.body import MIB, body_key, read_body, require_media_type
from wa_relay.server.protocol import direct_key

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STORE_DEADLINE = 2.0
"""Seconds after which a request that could not be stored gets its 503."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method, and what the request must bring.

    Of `media_types`, the first is the one that the error names; none accepts any. `limit` is the body's size in bytes;
    with `streams`, the handler reads the body itself.
    """

    method: str
    path: str
    handler: Handler
    access: Level = "anyone"
    media_types: tuple[str, ...] = ()
    limit: int = MIB
    streams: bool = False


class RequestLedger:
    """The ledger as requests use it: an operation that takes longer than `within` seconds is answered with a 503.

    One timer serves all that wait: with a timer for each, a stored webhook took 5 % more.
    """

    def __init__(self, ledger: LedgerThread, *, within: float = STORE_DEADLINE) -> None:
        self._ledger = ledger
        self._within = within
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs an operation of the ledger; raises `StorageUnavailable` if it takes too long."""
        # A caller must learn soon that nothing was stored, while it can still repeat its request.
        future = self._ledger.hand_over(operation, *args, **kwargs)
        self._limit(future)
        return await future

    def _limit(self, future: asyncio.Future[Any]) -> None:
        loop, waiting = future.get_loop(), self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()
        waiting.append((loop.time() + self._within, future))
        if self._timer is None:
            self._timer = loop.call_later(self._within, self._refuse_late)

    def _refuse_late(self) -> None:
        loop, waiting = asyncio.get_running_loop(), self._waiting
        while waiting and (waiting[0][1].done() or waiting[0][0] <= loop.time()):
            _, future = waiting.popleft()
            if not future.done():
                message = f"the database did not answer within {self._within:g} s: try again."
                future.set_exception(StorageUnavailable(message, retry_after=2.0))
        self._timer = loop.call_at(waiting[0][0], self._refuse_late) if waiting else None


def application(routes: Iterable[Route], access: Access) -> web.Application:
    """Makes aiohttp's application of these routes."""
    known: dict[Handler, Route] = {}

    async def serve(request: web.Request, route: Route | None, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        try:
            if route is not None:
                await _admit(request, route, access)
            answer = await handler(request)
            if route is not None and route.access in LEAST_ROLE and not answer.prepared:
                # A browser asks too: it must not cache the answer or guess its type.
                answer.headers.setdefault("Cache-Control", "no-store")
                answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        # The client has gone, so there is no one to answer.
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            answer = _answer_error(request, route, error)
            # The rest of the body would be read as the next request on this connection.
            if not request.content.is_eof():
                answer.force_close()
        if route is not None and route.path in metrics.WEBHOOK_CODES:
            metrics.count_webhook(route.path, answer.status, time.perf_counter() - began)
        return answer

    @web.middleware
    async def serve_found(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await serve(request, known.get(request.match_info.handler), handler)

    app = web.Application(middlewares=[serve_found])
    app[direct_key] = direct = {}
    for route in routes:
        known[route.handler] = route
        if route.method == "POST" and "{" not in route.path:
            direct[route.path] = partial(serve, route=route, handler=route.handler)
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, allow_head=True, expect_handler=_expect_nothing)
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=_expect_nothing)
    return app


async def _admit(request: web.Request, route: Route, access: Access) -> None:
    if route.access in LEAST_ROLE:
        request[actor_key] = await access.admit(request, route.access)
    else:
        access.require(request, route.access)
    if route.method == "POST":
        request[body_key] = await read_body(request, route.limit, streams=route.streams)
        require_media_type(request, route.media_types)
        if route.access in LEAST_ROLE:
            require_csrf_token(request, request[body_key], request[actor_key])


def _answer_error(request: web.Request, route: Route | None, error: Exception) -> web.Response:
    """Turns any exception into the contract's error envelope."""
    if isinstance(error, HttpError):
        return error_answer(error.status, error.code, error.message, fields=error.fields, headers=error.headers)
    if isinstance(error, PayloadError):
        status = 422 if error.code == "invalid_payload" else 400
        return error_answer(status, error.code, error.message, fields=error.fields)
    if isinstance(error, CallConflict):
        return error_answer(409, "call_conflict", error.message)
    if isinstance(error, StorageUnavailable):
        return error_answer(503, "unavailable", error.message, headers={"Retry-After": "2"})
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        headers = {"Allow": ", ".join(allowed)}
        return error_answer(405, "method_not_allowed", f"use {allowed[0]} for this path.", headers=headers)
    if isinstance(error, web.HTTPNotFound):
        return error_answer(404, "not_found", "there is nothing at this path.")
    # The route's pattern, not the path: that may hold a customer's number.
    fail("request_fault", error, method=request.method, route=route.path if route else "none")
    return error_answer(500, "internal", "this should not happen: see the log of wa-relay.")


async def _expect_nothing(_http: web.Request) -> None:
    """Leaves `Expect: 100-continue` to `read_body`: what is refused by its head never asks for the body."""
