"""Logging in and out: by a password or by a link, throttled, with a new token each time."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from aiohttp import web

from wa_relay.console.passwords import Checker
from wa_relay.console.render import Pages, redirect
from wa_relay.console.sessions import clear_cookie, set_cookie
from wa_relay.console.tokens import new_token, token_hash
from wa_relay.ledger import console_sessions
from wa_relay.ledger.console_sessions import Attempt
from wa_relay.ledger.console_users import NAME
from wa_relay.ledger.reader import Reader
from wa_relay.logs import say, warn
from wa_relay.model import Moment
from wa_relay.server.access import SESSION_COOKIE, Access, require_csrf_token
from wa_relay.server.answers import HttpError
from wa_relay.server.body import FORM, KIB, body_key, form_fields
from wa_relay.server.listener import RequestLedger, Route

_NEXT = re.compile(r"/console/[A-Za-z0-9/_.~?=&%+@:,;-]*")


@dataclass(frozen=True, slots=True)
class LoginRoutes:
    """`/console/login` and `/console/logout`. `session_seconds` is how long a session lasts."""

    ledger: RequestLedger
    reader: Reader
    access: Access
    pages: Pages
    session_seconds: float
    clock: Callable[[], Moment]
    checker: Checker

    def routes(self) -> tuple[Route, ...]:
        """The routes for the listener."""
        return (
            Route("GET", "/console/login", self.show),
            Route("POST", "/console/login", self.log_in, media_types=(FORM,), limit=16 * KIB),
            Route("POST", "/console/logout", self.log_out, limit=16 * KIB),
        )

    async def show(self, http: web.Request) -> web.StreamResponse:
        """The form; with `link`, a page with one button, so that a link preview does not use the link up."""
        link = http.query.get("link", "")
        if not link and await self.access.session(http) is not None:
            return redirect(self._next(http.query.get("next", "")))
        return self._form(http, link=link, following=http.query.get("next", ""))

    async def log_in(self, http: web.Request) -> web.StreamResponse:
        """Checks a password or a link, and opens a session."""
        _refuse_other_sites(http)
        fields = form_fields(http[body_key])
        if fields.get("link"):
            return await self._by_link(http, fields["link"])
        return await self._by_password(http, fields)

    async def log_out(self, http: web.Request) -> web.StreamResponse:
        """Ends the session."""
        actor = await self.access.session(http)
        if actor is not None:
            require_csrf_token(http, http[body_key], actor)
            token = token_hash(http.cookies[SESSION_COOKIE])
            await self.ledger.run(console_sessions.log_out, token, actor.name, self.clock())
        answer = redirect(f"{self.pages.place.home}login")
        # What the browser kept of the console for this tab goes with the session.
        answer.headers["Clear-Site-Data"] = '"storage"'
        clear_cookie(answer, path=self.pages.place.cookie_path, secure=self.pages.place.secure)
        return answer

    async def _by_password(self, http: web.Request, fields: dict[str, str]) -> web.StreamResponse:
        name, following, now = fields.get("user", "").strip(), fields.get("next", ""), self.clock()
        address = self.access.client_address(http)
        subjects = (_subject("name", name), _subject("address", address))
        attempt = await self.ledger.run(console_sessions.begin_attempt, subjects, now)
        if not isinstance(attempt, Attempt):
            minutes = max(1, math.ceil((attempt - now) / 60.0))
            warn("console_login_throttled", address=address)
            answer = self._form(http, status=429, user=name, following=following, minutes=minutes)
            answer.headers["Retry-After"] = str(math.ceil(attempt - now))
            return answer
        known = NAME.fullmatch(name) is not None
        user = await self.reader.read(console_sessions.find_credentials, name) if known else None
        right = await self.checker.matches(user.password_hash if user else None, fields.get("password", ""))
        if right and user is not None:
            token, now = new_token(), self.clock()
            ends_at = now + self.session_seconds
            detail = f"from {address}"
            if await self.ledger.run(
                console_sessions.log_in, user, attempt, subjects[0], token_hash(token), ends_at, detail, now
            ):
                return self._opened(token, following)
        await self.ledger.run(console_sessions.record_failure, name if user else None, f"from {address}", self.clock())
        warn("console_login_failed", address=address)
        return self._form(http, status=401, user=name, following=following)

    async def _by_link(self, http: web.Request, link: str) -> web.StreamResponse:
        now, token = self.clock(), new_token()
        detail = f"by link, from {self.access.client_address(http)}"
        ends_at = now + self.session_seconds
        opened = await self.ledger.run(
            console_sessions.log_in_by_link, token_hash(link), token_hash(token), ends_at, detail, now
        )
        return self._opened(token, "") if opened else self._form(http, status=401, spent=True)

    def _opened(self, token: str, following: str) -> web.StreamResponse:
        say("console_login")
        place = self.pages.place
        answer = redirect(self._next(following))
        set_cookie(answer, token, path=place.cookie_path, secure=place.secure)
        return answer

    def _next(self, following: str) -> str:
        """The page to show after a login: one below `/console/`, else the inbox."""
        return following if is_below_console(following, self.pages.place.base) else self.pages.place.home

    def _form(
        self,
        http: web.Request,
        *,
        status: int = 200,
        user: str = "",
        link: str = "",
        following: str = "",
        minutes: int = 0,
        spent: bool = False,
    ) -> web.Response:
        return self.pages.page(
            "login.html",
            None,
            self.clock(),
            status=status,
            language=http.query.get("lang", ""),
            user=user,
            link=link,
            following=following,
            minutes=minutes,
            failed=status == 401 and not spent,
            spent=spent,
        )


def is_below_console(path: str, base: str) -> bool:
    """True for a path of the console, as a browser would read it: no other host, no way up."""
    inner = path.removeprefix(base)
    decoded = unquote(inner.partition("?")[0])
    return (
        path.startswith(base)
        and _NEXT.fullmatch(inner) is not None
        and "//" not in decoded
        and "\\" not in decoded
        and ".." not in decoded.split("/")
    )


def login_path(pages: Pages, http: web.Request) -> str:
    """Returns where to send a browser without a session: to the login, and back afterwards."""
    wanted = pages.place.base + http.path_qs
    if wanted == pages.place.home or not is_below_console(wanted, pages.place.base):
        return f"{pages.place.home}login"
    return f"{pages.place.home}login?next={quote(wanted, safe='')}"


def _subject(kind: str, value: str) -> str:
    """Returns the subject that a failure counts for. Hashed: a user may type the password into the name's field."""
    return f"{kind} {hashlib.sha256(value.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _refuse_other_sites(http: web.Request) -> None:
    """Another site must not log a browser in with its own user; every current browser sends this header."""
    if http.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise HttpError(403, "forbidden", "log in on the page of the console itself.")
