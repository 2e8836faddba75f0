"""The listener: aiohttp's application and router, with the contract's checks and errors as middlewares.

A request passes in this order: path and method (the router), token, size, media type; then its route checks the
signature, the JSON and the fields. Every failure ends in the error envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from aiohttp import web

from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.logs import fail
from wa_relay.model import PayloadError
from wa_relay.server.access import Access, Level
from wa_relay.server.answers import HttpError, error_answer
from wa_relay.server.body import MIB, body_key, read_body, require_media_type

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
    """The ledger as requests use it: an operation that takes too long is answered with a 503."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger = ledger

    async def run(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs an operation of the ledger; raises `StorageUnavailable` if 2 s are not enough."""
        try:
            async with asyncio.timeout(STORE_DEADLINE):
                return await self._ledger.run(operation, *args, **kwargs)
        except TimeoutError:
            raise StorageUnavailable("the database did not answer within 2 s: try again.", retry_after=2.0) from None


def application(routes: Iterable[Route], access: Access) -> web.Application:
    """Makes aiohttp's application of these routes."""
    checks: dict[Handler, Route] = {}

    @web.middleware
    async def check_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = checks.get(request.match_info.handler)
        if route is not None:
            access.require(request, route.access)
            if route.method == "POST":
                request[body_key] = await read_body(request, route.limit, streams=route.streams)
                require_media_type(request, route.media_types)
        return await handler(request)

    app = web.Application(middlewares=[answer_errors, check_request])
    for route in routes:
        checks[route.handler] = route
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, allow_head=True, expect_handler=_expect_nothing)
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=_expect_nothing)
    return app


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every exception into the contract's error envelope."""
    try:
        return await handler(request)
    except HttpError as error:
        answer = error_answer(error.status, error.code, error.message, fields=error.fields, headers=error.headers)
    except PayloadError as error:
        status = 422 if error.code == "invalid_payload" else 400
        answer = error_answer(status, error.code, error.message, fields=error.fields)
    except CallConflict as error:
        answer = error_answer(409, "call_conflict", error.message)
    except StorageUnavailable as error:
        answer = error_answer(503, "unavailable", error.message, headers={"Retry-After": "2"})
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        message = f"use {allowed[0]} for this path."
        answer = error_answer(405, "method_not_allowed", message, headers={"Allow": ", ".join(allowed)})
    except web.HTTPNotFound:
        answer = error_answer(404, "not_found", "there is nothing at this path.")
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        # The route's pattern, not the path: that may hold somebody's number.
        resource = request.match_info.route.resource
        fail("request_fault", error, method=request.method, route=resource.canonical if resource else "none")
        answer = error_answer(500, "internal", "this should not happen: see the log of wa-relay.")
    if not request.content.is_eof():
        answer.force_close()
    return answer


async def _expect_nothing(_http: web.Request) -> None:
    """Leaves `Expect: 100-continue` to `read_body`: what is refused by its head never asks for the body."""
