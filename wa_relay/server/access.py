"""Access to the routes: the tokens, a console session, the loopback address, and a client's address behind a proxy."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, Protocol

from aiohttp import web

from wa_relay.server.answers import HttpError
from wa_relay.server.body import FORM, form_fields

Level = Literal["anyone", "push", "local", "token", "view", "operate", "administer"]
"""`push` takes either token, `local` a request from this machine or the service token. The last three take the service
token, or a console session whose role is at least viewer, operator or admin."""

Role = Literal["viewer", "operator", "admin"]
RANKS: dict[Role, int] = {"viewer": 0, "operator": 1, "admin": 2}
LEAST_ROLE: dict[Level, Role] = {"view": "viewer", "operate": "operator", "administer": "admin"}
"""The levels that a console session opens, and the least role that each needs."""

SESSION_COOKIE = "wa_relay_session"


@dataclass(frozen=True, slots=True)
class Actor:
    """The maker of a request: the backend by its token (`api`), or a user of the console.

    `csrf` is what each POST of the session must carry; empty for the backend.
    """

    name: str
    source: Literal["api", "console"]
    role: Role
    csrf: str = ""
    language: str = ""

    def may(self, role: Role) -> bool:
        """Returns True if this actor's role is at least that one."""
        return RANKS[self.role] >= RANKS[role]


BACKEND = Actor("api", "api", "admin")
actor_key = web.RequestKey("actor", Actor)
"""The key under which a request of one of the last three levels keeps its actor."""


class SessionBook(Protocol):
    """The sessions of the console."""

    async def find(self, cookie: str) -> Actor | None:
        """Returns the user of a session that has not ended, None for any other cookie."""


FORWARDED = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)
"""Headers by which proxies say that they forward a request, beside every `X-Forwarded-…`."""


class Access:
    """Decides by the service token, the push token, the console's sessions and the client's address.

    While `sessions` is None the console is off, and no cookie opens anything.
    """

    def __init__(
        self,
        token: str,
        push_token: str = "",
        proxies: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self.sessions: SessionBook | None = None
        self._token = token.encode()
        self._push_token = push_token.encode()
        self._proxies = tuple(proxies)

    def require(self, http: web.BaseRequest, level: Level) -> None:
        """Raises `HttpError` (401) unless the request may have what needs this level."""
        if level == "anyone" or (level == "local" and from_loopback(http)):
            return
        given = _given_token(http)
        if not (self._is_service(given) or (level == "push" and _equals(given, self._push_token))):
            raise HttpError(401, "unauthorized", "send the service token in the header X-Service-Token.")

    async def admit(self, http: web.Request, level: Level) -> Actor:
        """Returns who makes a request of a level in `LEAST_ROLE`; raises `HttpError` (401, 403) if they may not."""
        # A token that is sent must be right: a cookie beside a wrong one does not help.
        if "X-Service-Token" in http.headers or self.sessions is None:
            self.require(http, "token")
            return BACKEND
        actor = await self.session(http)
        if actor is None:
            raise HttpError(
                401, "unauthorized", "log in to the console, or send the service token in the header X-Service-Token."
            )
        if not actor.may(LEAST_ROLE[level]):
            raise HttpError(403, "forbidden", f"this needs the role {LEAST_ROLE[level]}; yours is {actor.role}.")
        return actor

    async def session(self, http: web.BaseRequest) -> Actor | None:
        """Returns the user whose console session the request carries; None without one, or once it has ended."""
        cookie = http.cookies.get(SESSION_COOKIE, "")
        return await self.sessions.find(cookie) if cookie and self.sessions is not None else None

    def sees_inside(self, http: web.BaseRequest) -> bool:
        """Returns True for a request from this machine, or one with the service token."""
        return from_loopback(http) or self._is_service(_given_token(http))

    def client_address(self, http: web.BaseRequest) -> str:
        """Returns the client's address: behind our proxies, the last in `X-Forwarded-For` that is not one of them."""
        address = http.remote or ""
        listed = ",".join(http.headers.getall("X-Forwarded-For", [])).split(",")
        # From the right: everything left of our own proxies was written by the client, and may be forged.
        while listed and self._is_proxy(address):
            following = listed.pop().strip()
            if _parsed(following) is None:
                break
            address = following
        return address

    def _is_service(self, given: bytes) -> bool:
        return _equals(given, self._token)

    def _is_proxy(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)


def require_csrf_token(http: web.BaseRequest, body: bytes, actor: Actor) -> None:
    """Raises `HttpError` (403) unless a session's request carries the session's token; the backend needs none."""
    if actor.source == "api":
        return
    given = http.headers.get("X-CSRF-Token", "")
    if not given and http.content_type == FORM:
        given = form_fields(body).get("csrf_token", "")
    if not _equals(given.encode("utf-8", "surrogateescape"), actor.csrf.encode()):
        raise HttpError(403, "bad_csrf_token", "the page is too old: reload it and try again.")


def from_loopback(http: web.BaseRequest) -> bool:
    """Returns True for a request from a loopback address that does not say that it was forwarded."""
    address = _parsed(http.remote or "")
    return (
        address is not None
        and address.is_loopback
        and not any(name.lower() in FORWARDED or name.lower().startswith("x-forwarded-") for name in http.headers)
    )


def _given_token(http: web.BaseRequest) -> bytes:
    given = http.headers.getall("X-Service-Token", [])
    # Of two headers, a proxy and this server might each believe another one.
    return given[0].encode("utf-8", "surrogateescape") if len(given) == 1 else b""


def _equals(given: bytes, token: bytes) -> bool:
    # In constant time. A token that is not configured opens nothing.
    return bool(token) and hmac.compare_digest(given, token)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A listener on :: sees 127.0.0.1 as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
