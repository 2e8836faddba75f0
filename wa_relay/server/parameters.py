"""Reads the parameters of requests: the customer in the path, and the query."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

from aiohttp import web

from wa_relay import phone
from wa_relay.model import PayloadError
from wa_relay.server.answers import HttpError
from wa_relay.server.body import target

CUSTOMERS = "conversations"
"""The part of a path after which the customer is named."""


def customer(http: web.BaseRequest) -> str:
    """Returns the address of the customer whom the path names; raises `PayloadError` for none."""
    # From the path as it arrived: the router has decoded some of it already.
    parts = target(http).partition("?")[0].split("/")
    given = unquote(parts[parts.index(CUSTOMERS) + 1])
    try:
        return phone.e164(given) or phone.parse(given)
    except ValueError as error:
        raise faulty("phone", str(error)) from None


def unknown_customer() -> HttpError:
    """The error for an address that no conversation has."""
    return HttpError(404, "unknown_conversation", "no customer with this number has been called or has written.")


def parameters(http: web.BaseRequest) -> dict[str, str]:
    """Returns the query's parameters; of one that is given twice, the last value."""
    return dict(parse_qsl(http.query_string, keep_blank_values=True))


def whole(given: str | None, path: str, usual: int, least: int, most: int) -> int:
    """Returns a whole number, `usual` without one; raises `PayloadError` for anything else."""
    if given is None or given == "":
        return usual
    if not (given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most):
        raise faulty(path, f"a whole number from {least} to {most}")
    return int(given)


def faulty(path: str, wanted: str) -> PayloadError:
    """The error for a parameter of the query or the path."""
    return PayloadError("a parameter of the query is invalid.", code="invalid_payload", fields=[(path, wanted)])
