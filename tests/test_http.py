"""The one way to make a request: a deadline, a limit, no redirect; and what a `Retry-After` asks for."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from wa_relay.http import Answer, AnswerTooLarge, fetch, retry_after

DATE = "Wed, 25 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 1.0),
        (" 30 ", 30.0),
        ("2.5", 2.5),
        ("0", 1.0),
        ("3600", 3600.0),
        ("1000000000", 3600.0),
        ("9" * 400, None),
        ("1e999", None),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        (None, None),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 1.0),
        ("Wed, 25 Nov 2099 12:00:00 GMT", 3600.0),
        ("Wed, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_a_pause_is_read_as_seconds_or_as_a_date_and_never_absurd(header: str | None, seconds: float | None) -> None:
    headers = {"Date": DATE} if header is None else {"Date": DATE, "Retry-After": header}
    assert retry_after(headers) == seconds
    assert retry_after({name.lower(): value for name, value in headers.items()}) == seconds


@given(st.text(), st.text())
def test_any_header_gives_no_pause_or_one_between_a_second_and_an_hour(header: str, date: str) -> None:
    seconds = retry_after({"Retry-After": header, "Date": date})
    assert seconds is None or 1.0 <= seconds <= 3600.0


def test_a_date_without_the_answers_own_date_asks_for_nothing() -> None:
    assert retry_after({"Retry-After": "Wed, 25 Nov 2026 12:00:30 GMT"}) is None


async def _answer(request: web.Request) -> web.StreamResponse:
    if request.path == "/slow":
        await asyncio.sleep(5.0)
    if request.path == "/moved":
        raise web.HTTPFound("/")
    return web.Response(body=b"x" * 100)


def get(path: str, *, limit: int = 1000, within: float = 2.0, cut: bool = False) -> Answer:
    """One request to a server of this test."""

    async def scenario() -> Answer:
        app = web.Application()
        app.router.add_get("/{path:.*}", _answer)
        async with TestServer(app, handler_cancellation=True) as server, aiohttp.ClientSession() as http:
            return await fetch(http, "GET", server.make_url(path), limit=limit, within=within, cut=cut)

    return asyncio.run(scenario())


def test_an_answer_comes_with_its_status_and_its_body() -> None:
    answer = get("/")
    assert (answer.status, answer.body) == (200, b"x" * 100)


def test_a_longer_answer_is_refused_or_cut() -> None:
    with pytest.raises(AnswerTooLarge):
        get("/", limit=99)
    assert get("/", limit=99, cut=True).body == b"x" * 99
    assert len(get("/", limit=100).body) == 100


def test_a_redirect_is_not_followed() -> None:
    assert get("/moved").status == 302


def test_an_answer_that_does_not_come_in_time_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        get("/slow", within=0.1)
