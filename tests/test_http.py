"""The one way to make a request: a deadline, a limit, no redirect; and what a `Retry-After` asks for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from wa_relay.http import Answer, AnswerTooLarge, Poster, fetch, retry_after

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


class Wire:
    """A server that gives one answer to every request, and keeps what it got by connection."""

    def __init__(self, answer: bytes, *, closes: bool = False) -> None:
        self.connections: list[list[bytes]] = []
        self._answer, self._closes = answer, closes
        self.serving = list[asyncio.Task[None]]()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a connection in a task of its own."""
        self.serving.append(asyncio.get_running_loop().create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        requests: list[bytes] = []
        self.connections.append(requests)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                requests.append(head + await reader.readexactly(length))
                writer.write(self._answer)
                if self._closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


HEADERS = {"Content-Type": "application/json", "xi-api-key": "key"}
OK = b"HTTP/1.1 200 OK\r\n"


def on_wire(wire: Wire, use: Callable[[aiohttp.ClientSession, str], Awaitable[None]]) -> None:
    """Runs requests to a server of this test."""

    async def scenario() -> None:
        server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with server:
            async with aiohttp.ClientSession() as http:
                await use(http, f"http://{host}:{port}/base")
            await asyncio.gather(*wire.serving)

    asyncio.run(scenario())


def post_once(wire: Wire, *, limit: int = 1000, within: float = 30.0) -> Answer:
    """The answer to one post."""
    answers: list[Answer] = []

    async def use(http: aiohttp.ClientSession, url: str) -> None:
        answers.append(await Poster(http, url, HEADERS).post("/a%20b", b"{}", limit=limit, within=within))

    on_wire(wire, use)
    return answers[0]


def test_a_post_says_what_aiohttps_own_request_says() -> None:
    wire = Wire(OK + b"Content-Length: 2\r\n\r\nok")

    async def use(http: aiohttp.ClientSession, url: str) -> None:
        await Poster(http, url + "/", HEADERS).post("/a%20b", b"{}", limit=1000, within=30.0)
        await fetch(http, "POST", URL(f"{url}/a%20b", encoded=True), limit=9, within=30.0, data=b"{}", headers=HEADERS)

    on_wire(wire, use)
    ours, theirs = [sorted(request.split(b"\r\n")) for request in wire.connections[0]]
    assert ours == theirs


def test_posts_use_the_connection_of_the_one_before() -> None:
    wire = Wire(OK + b"Content-Length: 2\r\n\r\nok")

    async def use(http: aiohttp.ClientSession, url: str) -> None:
        poster = Poster(http, url, HEADERS)
        for _ in range(3):
            assert (await poster.post("/", b"{}", limit=1000, within=30.0)).body == b"ok"

    on_wire(wire, use)
    assert [len(requests) for requests in wire.connections] == [3]


@pytest.mark.parametrize(
    ("answer", "closes", "status", "body"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n", False, 200, b"ok!"),
        (OK + b"\r\nuntil the end", True, 200, b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", False, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b""),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", False, 302, b""),
    ],
)
def test_a_post_reads_every_form_of_an_answer(answer: bytes, closes: bool, status: int, body: bytes) -> None:
    wire = Wire(answer, closes=closes)
    found = post_once(wire)
    assert (found.status, found.body) == (status, body)
    assert len(wire.connections) == 1


@pytest.mark.parametrize(
    ("answer", "closes", "error"),
    [
        (b"no such thing\r\n\r\n", False, aiohttp.ClientPayloadError),
        (b"", True, aiohttp.ServerDisconnectedError),
        (OK + b"Content-Length: 9\r\n\r\nhalf", True, aiohttp.ClientPayloadError),
        (OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, False, AnswerTooLarge),
        (b"", False, TimeoutError),
    ],
)
def test_a_post_without_a_whole_answer_fails_and_its_connection_is_not_used_again(
    answer: bytes, closes: bool, error: type[Exception]
) -> None:
    wire = Wire(answer, closes=closes)

    async def use(http: aiohttp.ClientSession, url: str) -> None:
        poster = Poster(http, url, HEADERS)
        for _ in range(2):
            with pytest.raises(error):
                await poster.post("/", b"{}", limit=1000, within=0.5 if error is TimeoutError else 30.0)

    on_wire(wire, use)
    assert len(wire.connections) == 2


def test_a_post_to_nobody_shows_that_nothing_left() -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession() as http:
            await Poster(http, "http://127.0.0.1:9", HEADERS).post("/", b"{}", limit=1000, within=30.0)

    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(scenario())


def test_a_post_refuses_a_header_that_would_be_two() -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession() as http:
            Poster(http, "http://127.0.0.1:9", {"xi-api-key": "key\r\nHost: other"})

    with pytest.raises(ValueError, match="line break"):
        asyncio.run(scenario())
