"""The console's pages behind the login. They read; what a page changes goes through the routes of the API."""

from __future__ import annotations

import functools
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Literal

from aiohttp import web

from wa_relay.console import campaigns, downloads, lists, threads
from wa_relay.console.approved_templates import ApprovedTemplates
from wa_relay.console.login import is_below_console, login_path
from wa_relay.console.render import Clock, Pages, redirect
from wa_relay.doctor import Report
from wa_relay.ledger import audit, console_users, handover, journal, merging
from wa_relay.ledger.erasing import MessageInFlight
from wa_relay.ledger.faults import StorageUnavailable
from wa_relay.ledger.reader import Reader
from wa_relay.loops.forgetting import Forgetter, UnknownCustomer
from wa_relay.model import Moment
from wa_relay.phone import mask
from wa_relay.reports import awaiting_operator, conversation, conversation_list, spans, stats_queries
from wa_relay.reports.awaiting_operator import count_waiting
from wa_relay.reports.conversation import overview
from wa_relay.server.access import Access, Actor, Role, require_csrf_token
from wa_relay.server.answers import JSON, HttpError, json_answer
from wa_relay.server.body import FORM, KIB, body_key, form_fields
from wa_relay.server.health import Checkup
from wa_relay.server.listener import RequestLedger, Route

Handler = Callable[[web.Request, Actor], Awaitable[web.StreamResponse]]
Examine = Callable[[], Awaitable[Report]]
"""Makes all checks of doctor."""

PAGE, NEWEST = 50, 200
"""Conversations on a page of the inbox, and messages on a page of a thread."""

LANGUAGES: dict[str, Literal["es", "en"]] = {"es": "es", "en": "en"}
GROUPINGS: tuple[stats_queries.Grouping, ...] = ("batch", "day", "group", "agent")
USUAL_GROUPING: stats_queries.Grouping = "batch"


@dataclass(frozen=True, slots=True)
class PageRoutes:
    """Every page behind the login, and what serves its files."""

    ledger: RequestLedger
    reader: Reader
    access: Access
    pages: Pages
    checkup: Checkup
    templates: ApprovedTemplates
    examine: Examine
    forgetter: Forgetter
    timezone: tzinfo
    clock: Callable[[], Moment]

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener; the last one is for every other path below `/console`."""
        pages: tuple[tuple[str, str, Handler, Role], ...] = (
            ("GET", "/console/", self.inbox, "viewer"),
            ("GET", "/console/conversations/{id:[0-9]{1,18}}", self.thread, "viewer"),
            ("GET", "/console/conversations/{id:[0-9]{1,18}}/export", self.export, "admin"),
            ("GET", "/console/campaigns", self.campaigns, "viewer"),
            ("GET", "/console/campaigns/calls.csv", self.calls, "viewer"),
            ("GET", "/console/system", self.system, "viewer"),
            ("GET", "/console/system/checks", self.checks, "viewer"),
            ("GET", "/console/users", self.users, "admin"),
            ("POST", "/console/language", self.set_language, "viewer"),
            ("POST", "/console/conversations/{id:[0-9]{1,18}}/forget", self.forget, "admin"),
        )
        return (
            Route("GET", "/console", self.home),
            Route("GET", "/console/static/{name:[a-z.]+}", self.asset),
            *(
                Route(method, path, self._guarded(handler, role), media_types=_accepted(method), limit=16 * KIB)
                for method, path, handler, role in pages
            ),
            Route("*", "/console/{rest:.*}", self._guarded(self.nothing, "viewer")),
        )

    async def home(self, _http: web.Request) -> web.StreamResponse:
        """`/console` leads to the inbox."""
        return redirect(self.pages.place.home)

    async def asset(self, http: web.Request) -> web.StreamResponse:
        """The style sheet, the script and the icon."""
        answer = self.pages.asset(http.match_info["name"])
        if answer is None:
            raise HttpError(404, "not_found", "there is nothing at this path.")
        return answer

    async def inbox(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """Shows the conversations, latest activity first, filtered by state and text."""
        state = next((each for each in conversation_list.STATES if each == http.query.get("state")), None)
        text, before = http.query.get("q", "").strip()[:200], http.query.get("before") or None
        try:
            found = await self.reader.read(
                conversation_list.page, state=state, limit=PAGE, before=before, text=text or None, customers=True
            )
        except conversation_list.WrongPlace:
            return redirect(self.pages.place.home)
        t = self.pages.messages(actor.language)
        rows = [lists.row(listed, t) for listed in found.conversations]
        return await self._page(
            "inbox.html",
            actor,
            rows=rows,
            following=found.following,
            state=state,
            states=conversation_list.STATES,
            words=text,
        )

    async def thread(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """One conversation. Opening it counts as looking, except for a viewer."""
        conversation_id, now = int(http.match_info["id"]), self.clock()
        before = http.query.get("before", "")
        earlier = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
        try:
            phone = (await self.reader.read(overview, conversation_id)).phone
        except LookupError:
            older = await self.reader.read(merging.merged_into, conversation_id)
            if older is not None:
                return redirect(f"{self.pages.place.home}conversations/{older}")
            return await self._error(http, actor, 404, "unknown_conversation")
        found = await self.reader.read(conversation.conversation, phone=phone, limit=NEWEST, before=earlier)
        if found is None:
            return await self._error(http, actor, 404, "unknown_conversation")
        if found.overview.unread and actor.may("operator"):
            await self.ledger.run(handover.note_read, phone)
        t = self.pages.messages(actor.language)
        entries = await self.reader.read(journal.read_of_conversation, conversation_id)
        shown = threads.bubbles(found.messages, t, Clock(t, self.timezone, now))
        window_ends_at = found.overview.window_ends_at
        templates = await self.templates.get() if actor.may("operator") else None
        return await self._page(
            "thread.html",
            actor,
            thread=found,
            customer=lists.customer(found.overview, t),
            bubbles=shown,
            earlier=shown[0].id if found.messages and len(found.messages) == NEWEST else None,
            decisions=threads.decisions(entries, t),
            window_open=window_ends_at is not None and window_ends_at > now,
            templates=templates,
        )

    async def export(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """Sends everything that is stored of a conversation, as a file."""
        try:
            phone = (await self.reader.read(overview, int(http.match_info["id"]))).phone
        except LookupError:
            return await self._error(http, actor, 404, "unknown_conversation")
        content = await self.reader.read(downloads.write_customer, phone, self.clock())
        if content is None:
            return await self._error(http, actor, 404, "unknown_conversation")
        await self.ledger.run(audit.record_deed, audit.Deed(actor.name, "export", address=phone), self.clock())
        return await downloads.send_file(http, io.BytesIO(content), "customer.json", "application/json")

    async def campaigns(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """The funnel, with charts and the figures of each batch, day, group or agent."""
        by = next((each for each in GROUPINGS if each == http.query.get("by")), USUAL_GROUPING)
        t = self.pages.messages(actor.language)
        since, until = http.query.get("since", ""), http.query.get("until", "")
        span, fault = self._span(http)
        report = await self.reader.read(
            functools.partial(stats_queries.stats, span=span, by=by, timezone=self.timezone, traffic=False)
        )
        shown = campaigns.campaigns(report, t)
        return await self._page("campaigns.html", actor, shown=shown, by=by, since=since, until=until, fault=fault)

    async def calls(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """The calls as CSV, as `wa-relay calls --format csv` lists them."""
        span, fault = self._span(http)
        if fault:
            return redirect(f"{self.pages.place.home}campaigns?{http.query_string}")
        file = await self.reader.read(downloads.write_calls, span)
        await self.ledger.run(audit.record_deed, audit.Deed(actor.name, "csv"), self.clock())
        return await downloads.send_file(http, file, "calls.csv", "text/csv")

    async def system(self, _http: web.Request, actor: Actor) -> web.StreamResponse:
        """Health, queue, sends with an unknown outcome, holds."""
        health = await self.checkup.look()
        undecided = await self.reader.read(awaiting_operator.uncertain, self.clock())
        standing = await self.reader.read(awaiting_operator.standing)
        shown = health.to_json(inside=True)
        t = self.pages.messages(actor.language)
        return await self._page(
            "system.html",
            actor,
            health=shown,
            undecided=undecided,
            standing=standing,
            meaning=functools.partial(threads.code_meaning, t=t),
        )

    async def checks(self, _http: web.Request, actor: Actor) -> web.StreamResponse:
        """Shows doctor's report; it contacts both services, so that it takes seconds."""
        return self.pages.page("checks.html", actor, self.clock(), checks=(await self.examine()).checks)

    async def users(self, _http: web.Request, actor: Actor) -> web.StreamResponse:
        """The users and what they did."""
        users = await self.reader.read(console_users.list_users)
        lines = await self.reader.read(audit.read_log)
        return await self._page("users.html", actor, users=users, lines=lines[::-1][:NEWEST])

    async def set_language(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """Chooses the language for this user, and shows the same page again."""
        given = form_fields(http[body_key])
        language, following = LANGUAGES.get(given.get("lang", "")), given.get("next", "")
        if language is not None:
            await self.ledger.run(console_users.set_language, actor.name, language)
        place = self.pages.place
        return redirect(following if is_below_console(following, place.base) else place.home)

    async def forget(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """Erases a customer, as `wa-relay forget` does."""
        conversation_id = int(http.match_info["id"])
        try:
            address = (await self.reader.read(overview, conversation_id)).phone
            deed = audit.Deed(actor.name, "forget", conversation_id=conversation_id, masked=mask(address))
            await self.forgetter.forget(address, actor.name, upstream=False, deed=deed)
        except (LookupError, UnknownCustomer):
            raise HttpError(404, "unknown_conversation", "there is no such conversation.") from None
        except MessageInFlight as error:
            raise HttpError(409, "in_flight", error.message) from None
        return json_answer({"success": True})

    async def nothing(self, http: web.Request, actor: Actor) -> web.StreamResponse:
        """A path that leads nowhere."""
        return await self._error(http, actor, 404, "not_found")

    def _span(self, http: web.Request) -> tuple[spans.Span, str]:
        """The time that the query asks for, and what is wrong with it; everything if anything is."""
        asked = (http.query.get("since") or None, http.query.get("until") or None)
        try:
            return spans.span(*asked, self.timezone, self.clock()), ""
        except spans.SpanError as error:
            return spans.Span(), error.message

    def _guarded(self, handler: Handler, role: Role) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Lets a handler see only sessions of at least that role; all others are sent to the login."""

        async def serve(http: web.Request) -> web.StreamResponse:
            actor = await self.access.session(http)
            if actor is None:
                return redirect(login_path(self.pages, http))
            if http.method not in ("GET", "HEAD"):
                try:
                    require_csrf_token(http, http.get(body_key, b""), actor)
                except HttpError:
                    return await self._error(http, actor, 403, "bad_csrf_token")
            if not actor.may(role):
                return await self._error(http, actor, 403, "forbidden")
            try:
                return await handler(http, actor)
            except StorageUnavailable:
                return await self._error(http, actor, 503, "unavailable")

        return serve

    async def _page(self, template: str, actor: Actor, **facts: Any) -> web.Response:
        waiting = await self.reader.read(count_waiting)
        return self.pages.page(template, actor, self.clock(), waiting=waiting, **facts)

    async def _error(self, http: web.Request, actor: Actor, status: int, what: str) -> web.Response:
        return self.pages.page("error.html", actor, self.clock(), status=status, what=what, waiting=0, path=http.path)


def _accepted(method: str) -> tuple[str, ...]:
    """Forms from pages, JSON from their script."""
    return (FORM, JSON) if method == "POST" else ()
