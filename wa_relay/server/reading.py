"""What can be asked: a conversation, the statistics, the health, the metrics, the description."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import tzinfo
from typing import Protocol

from aiohttp import web

from wa_relay import phone, reports
from wa_relay.ledger.reader import Reader
from wa_relay.model import Moment, PayloadError
from wa_relay.server.answers import Refused, plain, reply
from wa_relay.server.health import Health, metrics_text
from wa_relay.server.listener import Listener, Request, Route, from_loopback
from wa_relay.server.openapi import description

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_MESSAGES, USUAL_MESSAGES = 500, 100
GROUPINGS: tuple[reports.Grouping, ...] = ("day", "batch", "group", "agent")


class Checkup(Protocol):
    """Who knows how the daemon fares."""

    async def health(self) -> Health:
        """Looks now."""
        ...


class ReadingRoutes:
    """The routes that change nothing."""

    def __init__(
        self, listener: Listener, reader: Reader, checkup: Checkup, timezone: tzinfo, clock: Callable[[], Moment]
    ) -> None:
        self._listener, self._reader, self._checkup = listener, reader, checkup
        self._timezone, self._clock = timezone, clock
        listener.add(
            {
                "/api/conversations/": Route("GET", self.conversation, token=True),
                "/api/stats": Route("GET", self.stats, token=True),
                "/health": Route("GET", self.health),
                "/metrics": Route("GET", self.metrics),
                "/openapi.json": Route("GET", self.openapi),
            }
        )

    async def conversation(self, request: Request) -> web.StreamResponse:
        """One person's calls and thread."""
        try:
            person = phone.e164(request.tail) or phone.parse(request.tail)
        except ValueError as error:
            raise _faulty("phone", str(error)) from None
        asked = request.parameters()
        limit = _whole(asked.get("limit"), "limit", USUAL_MESSAGES, 1, MOST_MESSAGES)
        before = _whole(asked["before"], "before", 0, 1, 2**63 - 1) if asked.get("before") else None
        query = functools.partial(reports.conversation, phone=person, limit=limit, before=before)
        found = await self._reader.read(query)
        if found is None:
            raise Refused(404, "unknown_conversation", "nobody with this number has been called or has written.")
        return reply(found.to_json())

    async def stats(self, request: Request) -> web.StreamResponse:
        """The report, of a span of time and by a grouping."""
        asked = request.parameters()
        by = next((grouping for grouping in GROUPINGS if grouping == asked.get("by")), None)
        if by is None and asked.get("by"):
            raise _faulty("by", f"one of {', '.join(GROUPINGS)}")
        try:
            span = reports.span(asked.get("since") or None, asked.get("until") or None, self._timezone, self._clock())
        except reports.SpanError as error:
            raise _faulty(error.path, error.message) from None
        query = functools.partial(reports.stats, span=span, by=by, timezone=self._timezone)
        return reply((await self._reader.read(query)).to_json())

    async def health(self, _request: Request) -> web.StreamResponse:
        """How the daemon fares: 503 only if nothing can be stored."""
        health = await self._checkup.health()
        return reply(health.to_json(), 503 if health.status == "down" else 200)

    async def metrics(self, request: Request) -> web.StreamResponse:
        """The same figures for Prometheus, for this machine or whoever has the token."""
        if not from_loopback(request.http):
            self._listener.require_token(request.http)
        return plain(metrics_text(await self._checkup.health()), METRICS_TYPE)

    async def openapi(self, _request: Request) -> web.StreamResponse:
        """The description of all of this."""
        return reply(description())


def _whole(given: str | None, path: str, usual: int, least: int, most: int) -> int:
    if given is None or given == "":
        return usual
    if not (given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most):
        raise _faulty(path, f"a whole number from {least} to {most}")
    return int(given)


def _faulty(path: str, wanted: str) -> PayloadError:
    return PayloadError("the request's parameters are not right.", code="invalid_payload", fields=[(path, wanted)])
