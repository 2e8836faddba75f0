"""Who may ask for what: the tokens, the loopback address, and a client's address behind a proxy."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

from aiohttp import web

from wa_relay.server.answers import HttpError

Level = Literal["anyone", "push", "local", "token"]
"""`push` takes either token, `local` a request from this machine or the service token."""

FORWARDED = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)
"""Headers by which proxies say that they forward a request, beside every `X-Forwarded-…`."""


class Access:
    """Decides by the service token, the push token and the client's address."""

    def __init__(self, token: str, push_token: str = "", proxies: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._token = token.encode()
        self._push_token = push_token.encode()
        self._proxies = tuple(proxies)

    def require(self, http: web.BaseRequest, level: Level) -> None:
        """Raises `HttpError` (401) unless the request may have what needs this level."""
        if level == "anyone" or (level == "local" and from_loopback(http)):
            return
        given = _given_token(http)
        if not (self._is_service(given) or (level == "push" and _same(given, self._push_token))):
            raise HttpError(401, "unauthorized", "send the service token in the header X-Service-Token.")

    def sees_inside(self, http: web.BaseRequest) -> bool:
        """Returns True for a request from this machine, or one with the service token."""
        return from_loopback(http) or self._is_service(_given_token(http))

    def client_address(self, http: web.BaseRequest) -> str:
        """Returns the client's address: behind our proxies, the last in `X-Forwarded-For` that is not one of them."""
        address = http.remote or ""
        listed = ",".join(http.headers.getall("X-Forwarded-For", [])).split(",")
        while listed and self._is_proxy(address):
            following = listed.pop().strip()
            if _parsed(following) is None:
                break
            address = following
        return address

    def _is_service(self, given: bytes) -> bool:
        return _same(given, self._token)

    def _is_proxy(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)


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
    return given[0].encode("utf-8", "surrogateescape") if len(given) == 1 else b""


def _same(given: bytes, token: bytes) -> bool:
    # In constant time. A token that is not configured opens nothing.
    return bool(token) and hmac.compare_digest(given, token)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
