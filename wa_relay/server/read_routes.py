"""The routes that only read: a conversation, the statistics, health, metrics, the API's description."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import tzinfo

from aiohttp import web

from wa_relay import metrics
from wa_relay.ledger.reader import Reader
from wa_relay.model import Moment
from wa_relay.reports import conversation, spans, stats_queries
from wa_relay.server.access import Access
from wa_relay.server.answers import json_answer, text_answer
from wa_relay.server.health import Checkup, exposition
from wa_relay.server.listener import Route
from wa_relay.server.openapi import description
from wa_relay.server.parameters import customer, faulty, parameters, unknown_customer, whole

MOST_MESSAGES, USUAL_MESSAGES = 500, 100
GROUPINGS: tuple[stats_queries.Grouping, ...] = ("day", "batch", "group", "agent", "conversation")


class ReadRoutes:
    """The routes that change nothing."""

    def __init__(
        self, access: Access, reader: Reader, checkup: Checkup, timezone: tzinfo, clock: Callable[[], Moment]
    ) -> None:
        self._access = access
        self._reader = reader
        self._checkup = checkup
        self._timezone = timezone
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (
            Route("GET", "/api/conversations/{phone:[^/]+}", self.conversation, access="view"),
            Route("GET", "/api/stats", self.stats, access="view"),
            Route("GET", "/health", self.health),
            Route("GET", "/metrics", self.metrics, access="local"),
            Route("GET", "/openapi.json", self.openapi),
        )

    async def conversation(self, http: web.Request) -> web.StreamResponse:
        """One customer's calls and thread."""
        address = customer(http)
        asked = parameters(http)
        limit = whole(asked.get("limit"), "limit", USUAL_MESSAGES, 1, MOST_MESSAGES)
        before = whole(asked["before"], "before", 0, 1, 2**63 - 1) if asked.get("before") else None
        query = functools.partial(conversation.conversation, phone=address, limit=limit, before=before)
        found = await self._reader.read(query)
        if found is None:
            raise unknown_customer()
        return json_answer(found.to_json(self._clock()))

    async def stats(self, http: web.Request) -> web.StreamResponse:
        """The report, of a span of time and by a grouping."""
        asked = parameters(http)
        by = next((grouping for grouping in GROUPINGS if grouping == asked.get("by")), None)
        if by is None and asked.get("by"):
            raise faulty("by", f"one of {', '.join(GROUPINGS)}")
        try:
            span = spans.span(asked.get("since") or None, asked.get("until") or None, self._timezone, self._clock())
        except spans.SpanError as error:
            raise faulty(error.path, error.message) from None
        query = functools.partial(stats_queries.stats, span=span, by=by, timezone=self._timezone)
        return json_answer((await self._reader.read(query)).to_json())

    async def health(self, http: web.Request) -> web.StreamResponse:
        """The daemon's health; 503 only if nothing can be stored."""
        health = await self._checkup.look()
        inside = self._access.sees_inside(http)
        return json_answer(health.to_json(inside=inside), 503 if health.status == "down" else 200)

    async def metrics(self, _http: web.Request) -> web.StreamResponse:
        """The figures for Prometheus."""
        return text_answer(exposition(await self._checkup.look()), metrics.CONTENT_TYPE)

    async def openapi(self, _http: web.Request) -> web.StreamResponse:
        """The description of all of this."""
        return json_answer(description())
