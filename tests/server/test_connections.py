"""The connection itself: trickling requests, bytes that are not HTTP, and requests after an error."""

from __future__ import annotations

import json
import socket
from concurrent.futures import Future

import pytest

from tests.e2e.stage import TOKEN
from tests.server.served import Served, body_of, head_of, read_answers, status_of, whole_answers
from tests.server.trickles import TRICKLES

MALFORMED: dict[str, bytes] = {
    "garbage": b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
    "unknown method": b"FOO /canary HTTP/1.1\r\nHost: relay\r\n\r\n",
    "unknown version": b"GET /canary HTTP/9.9\r\nHost: relay\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no host": b"GET /canary HTTP/1.1\r\n\r\n",
    "a target of 9 KB": b"GET /canary" + b"a" * 9000 + b" HTTP/1.1\r\nHost: relay\r\n\r\n",
    "a header of 9 KB": b"GET /health HTTP/1.1\r\nHost: relay\r\nX-Canary: canary" + b"a" * 9000 + b"\r\n\r\n",
    "a NUL in a header": b"GET /health HTTP/1.1\r\nHost: relay\r\nX-A: canary\x00b\r\n\r\n",
    "a folded header": b"GET /health HTTP/1.1\r\nHost: relay\r\nX-A: canary\r\n b\r\n\r\n",
    "a space in a name": b"GET /health HTTP/1.1\r\nHost: relay\r\nX A: canary\r\n\r\n",
    "a negative length": b"POST /canary HTTP/1.1\r\nHost: relay\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /canary HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "an invalid length": b"POST /canary HTTP/1.1\r\nHost: relay\r\nContent-Length: canary\r\n\r\n",
    "length and chunks": head_of("/api/call-completed", Content_Length=2, Transfer_Encoding="chunked") + b"0\r\n\r\n",
    "an invalid chunk": head_of("/api/call-completed", Content_Type="application/json", Transfer_Encoding="chunked")
    + b"canary\r\nabc",
    "more than was announced": head_of("/api/call-completed", Content_Type="application/json", Content_Length=5)
    + b'{"canary": 7, "x": 1}',
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
def test_anything_but_http_is_refused_and_not_echoed(served: Served, request_: bytes) -> None:
    read = served.raw(request_)
    assert status_of(read) == 400
    assert b"x-request-id:" in read.lower()
    shown = body_of(read)
    assert list(shown) == ["success", "error", "message", "fields"]
    assert b"canary" not in read
    for word in ("Traceback", "canary", "BadStatusLine", "Error handling"):
        assert word not in served.relay.log
    assert served.call("GET", "/health").status == 200


def _connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.relay.port), timeout=15)


def test_after_an_error_the_connection_continues(served: Served) -> None:
    bad = head_of("/api/call-completed", Content_Type="application/json", Content_Length=2) + b"{}"
    with _connected(served) as connection:
        for _ in range(3):
            connection.sendall(bad)
            assert status_of(read_answers(connection, 1)) == 422
        connection.sendall(head_of("/nothing", "GET"))
        assert status_of(read_answers(connection, 1)) == 404
        connection.sendall(head_of("/health", "GET"))
        assert status_of(read_answers(connection, 1)) == 200


def test_requests_in_a_row_are_answered_in_their_order(served: Served) -> None:
    bad = head_of("/api/call-completed", Content_Type="application/json", Content_Length=2) + b"{}"
    with _connected(served) as connection:
        connection.sendall(head_of("/health", "GET") + bad + head_of("/nothing", "GET") + head_of("/health", "GET"))
        read = read_answers(connection, 4)
    assert whole_answers(read) == 4
    statuses = [int(line.split()[1]) for line in read.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    statuses += [int(part.split()[0]) for part in read.split(b"}HTTP/1.1 ")[1:]]
    assert sorted(statuses) == [200, 200, 404, 422]
    assert read.index(b"422") < read.index(b"404")


def test_a_body_in_pieces_is_read_whole(served: Served) -> None:
    body = json.dumps({"x": "y" * 50}).encode()
    with _connected(served) as connection:
        connection.sendall(head_of("/api/call-completed", Content_Type="application/json", Content_Length=len(body)))
        for index in range(0, len(body), 7):
            connection.sendall(body[index : index + 7])
        assert status_of(read_answers(connection, 1)) == 422


def test_a_client_that_asks_first_gets_a_continue(served: Served) -> None:
    head = head_of("/api/call-completed", Content_Type="application/json", Content_Length=2, Expect="100-continue")
    with _connected(served) as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert status_of(read_answers(connection, 1)) == 422


def test_a_client_that_asks_first_without_the_token_is_refused_at_once(served: Served) -> None:
    head = head_of("/api/call-completed", token=None, Content_Length=2, Expect="100-continue")
    assert status_of(served.raw(head)) == 401


def test_a_client_that_goes_away_in_the_middle_leaves_no_trace(served: Served) -> None:
    with _connected(served) as connection:
        connection.sendall(head_of("/api/call-completed", Content_Type="application/json", Content_Length=99) + b"{")
    assert served.call("GET", "/health").status == 200
    assert "request_fault" not in served.relay.log
    assert TOKEN not in served.relay.log


@pytest.mark.parametrize("name", TRICKLES)
def test_a_request_that_is_incomplete_after_10_seconds_is_closed(
    trickling: dict[str, Future[float]], name: str
) -> None:
    assert 9.0 < trickling[name].result(25) < 12.5
