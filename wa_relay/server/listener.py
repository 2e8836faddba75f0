"""The way of every request: route, token, size, media type, then the route's own steps.

The routes are a table; each says who may ask and what it takes. Whatever goes wrong ends in the
error envelope, and never in a traceback.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from wa_relay.ledger.faults import CallConflict, StorageUnavailable
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.thread import LedgerThread
from wa_relay.logs import fail
from wa_relay.model import PayloadError
from wa_relay.server.answers import JSON, Refused, refusal
from wa_relay.server.protocol import ARRIVAL_DEADLINE, Connection

P = ParamSpec("P")
T = TypeVar("T")

FORM = "application/x-www-form-urlencoded"
MIB, KIB = 1024 * 1024, 1024
STORE_DEADLINE = 2.0
"""Seconds after which a request that could not be stored gets its 503."""

FORWARDED = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)
"""Headers by which proxies say whom they speak for, beside every `X-Forwarded-…`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request on its way through a route.

    `target` is path and query as they arrived, `tail` what follows a path that takes one.
    """

    http: web.BaseRequest
    path: str
    target: str
    query: str
    tail: str = ""
    body: bytes = b""

    def parameters(self) -> dict[str, str]:
        """The query's parameters; one that is given twice counts once, with its last value."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


Answering = Callable[[Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """What one path takes: the first of `media_types` is the one to send, none takes any.

    `limit` is the body's size in bytes; `streams` leaves the body to the route.
    """

    method: str
    answer: Answering
    token: bool = False
    media_types: tuple[str, ...] = ()
    limit: int = MIB
    streams: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are answered: who may read may ask for the head alone."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


class Listener:
    """Answers requests. `routes` maps a path, or a prefix that ends in `/`, to its route."""

    def __init__(self, ledger: LedgerThread, token: str) -> None:
        self._ledger, self._token = ledger, token.encode()
        self.routes: dict[str, Route] = {}

    def add(self, routes: Mapping[str, Route]) -> None:
        """Adds routes to the table."""
        self.routes.update(routes)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answers one request, whatever it is."""
        try:
            return await self._answer(http)
        except Refused as error:
            answer = refusal(error.status, error.code, error.message, fields=error.fields, headers=error.headers)
        except PayloadError as error:
            status = 422 if error.code == "invalid_payload" else 400
            answer = refusal(status, error.code, error.message, fields=error.fields)
        except CallConflict as error:
            answer = refusal(409, "call_conflict", error.message)
        except StorageUnavailable as error:
            answer = refusal(503, "unavailable", error.message, headers={"Retry-After": "2"})
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            fail("request_fault", error, method=http.method, route=self._named(http))
            answer = refusal(500, "internal", "this should not happen: see the log of wa-relay.")
        if not http.content.is_eof():
            answer.force_close()
        return answer

    async def store(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs an operation of the ledger; raises `StorageUnavailable` when 2 s are not enough."""
        try:
            async with asyncio.timeout(STORE_DEADLINE):
                return await self._ledger.run(operation, *args, **kwargs)
        except TimeoutError:
            raise StorageUnavailable("the database did not answer within 2 s: try again.", retry_after=2.0) from None

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        target = _target(http)
        path, _, query = target.partition("?")
        name, tail = self._found(path)
        route = self.routes[name]
        if http.method not in route.methods:
            raise Refused(
                405,
                "method_not_allowed",
                f"use {route.method} for this path.",
                headers={"Allow": ", ".join(route.methods)},
            )
        if route.token:
            self.require_token(http)
        body = b""
        if route.method != "GET":
            body = await _sized(http, route)
            _require_media_type(http, route)
        return await route.answer(Request(http, path, target, query, tail, body))

    def _found(self, path: str) -> tuple[str, str]:
        """The name in the table of the route that a path leads to, and the path's tail."""
        if path in self.routes and not path.endswith("/"):
            return path, ""
        head, _, tail = path.rpartition("/")
        if head + "/" not in self.routes or not tail:
            raise Refused(404, "not_found", "there is nothing at this path.")
        return head + "/", unquote(tail)

    def _named(self, http: web.BaseRequest) -> str:
        """A request's route for the log: a path may hold somebody's number."""
        try:
            return self._found(_target(http).partition("?")[0])[0]
        except Refused:
            return "none"

    def require_token(self, http: web.BaseRequest) -> None:
        """Refuses a request that does not carry the service token, in constant time."""
        given = http.headers.getall("X-Service-Token", [])
        token = given[0].encode("utf-8", "surrogateescape") if len(given) == 1 else b""
        if not self._token or not hmac.compare_digest(token, self._token):
            raise Refused(401, "unauthorized", "send the service token in the header X-Service-Token.")


def from_loopback(http: web.BaseRequest) -> bool:
    """True for a request of this machine that says nothing of having been forwarded."""
    remote = http.remote or ""
    here = remote.startswith("127.") or remote in ("::1", "::ffff:127.0.0.1")
    return here and not any(
        name.lower() in FORWARDED or name.lower().startswith("x-forwarded-") for name in http.headers
    )


def arrival(http: web.BaseRequest) -> asyncio.Timeout:
    """The time in which a request must have arrived whole, from its first byte on."""
    connection = http.protocol
    if isinstance(connection, Connection):
        return asyncio.timeout_at(connection.deadline)
    return asyncio.timeout(ARRIVAL_DEADLINE)


def _target(http: web.BaseRequest) -> str:
    """The path and the query as they arrived; a proxy may write the whole address before them."""
    target = http.raw_path
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    return target


async def _sized(http: web.BaseRequest, route: Route) -> bytes:
    """The body, if it is no larger than its route takes; nothing of one that the route streams."""
    announced = http.content_length
    if announced is not None and announced > route.limit and not route.streams:
        raise _too_large(route.limit)
    if http.headers.get("Expect", "").lower() == "100-continue" and http.transport is not None:
        http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return b"" if route.streams else await _read(http, route.limit)


def _require_media_type(http: web.BaseRequest, route: Route) -> None:
    if http.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise Refused(415, "unsupported_media_type", "send the body as it is, not encoded.")
    if route.media_types and http.content_type not in route.media_types:
        raise Refused(415, "unsupported_media_type", f"send the body as {route.media_types[0]}.")


async def _read(http: web.BaseRequest, limit: int) -> bytes:
    chunks, size = [], 0
    try:
        if http.content.is_eof() and http.content.total_bytes <= limit:
            # The usual case: all of it has arrived, and there is nothing to wait for.
            return http.content.read_nowait()
        async with arrival(http):
            async for chunk in http.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise too_slow(http) from None
    except web.RequestPayloadError:
        raise Refused(400, "bad_request", "the body is not what its headers announce.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_slow(http: web.BaseRequest) -> ConnectionError:
    """Closes the connection of a request whose body trickles in."""
    if http.transport is not None:
        http.transport.close()
    return ConnectionResetError("the request did not arrive within 10 s")


def _too_large(limit: int) -> Refused:
    size = f"{limit // MIB} MiB" if limit >= MIB else f"{limit // KIB} KiB"
    return Refused(413, "too_large", f"a body here has at most {size}.")


__all__ = ["FORM", "JSON", "KIB", "MIB", "Listener", "Request", "Route", "arrival", "from_loopback", "too_slow"]
