"""The paths and methods, and the headers of every answer."""

from __future__ import annotations

import pytest

from tests.server.served import Served, body_of, head_of, refused, status_of

POSTED = (
    "/api/call-completed",
    "/api/test-whatsapp",
    "/webhook/twilio/incoming",
    "/webhook/twilio/status",
    "/webhook/elevenlabs/post-call",
)
ASKED = ("/api/conversations/+573001234567", "/api/stats", "/health", "/metrics", "/openapi.json")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", POSTED)
def test_a_post_route_takes_no_other_method(served: Served, path: str, method: str) -> None:
    answer = served.call(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.headers["X-Request-Id"]
    if method != "HEAD":
        refused(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ASKED)
def test_a_get_route_takes_no_other_method(served: Served, path: str, method: str) -> None:
    assert refused(answer := served.call(method, path), 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ASKED[1:])
def test_a_head_has_the_status_and_the_headers_of_the_whole(served: Served, path: str) -> None:
    whole, head = served.call("GET", path), served.call("HEAD", path)
    assert (whole.status, head.status, head.text) == (200, 200, "")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]


def test_the_method_is_looked_at_before_the_token(served: Served) -> None:
    refused(served.call("GET", "/api/call-completed", token=None), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/api", "/api/", "/api/stats/", "/api/conversations/", "/api/conversations/a/b"),
        *("//health", "//api/../", "/api/../health", "/%00", "/health%2f", "/HEALTH", "/docs"),
        *("/webhook/twilio/incoming/", "/favicon.ico", "/api/call-completed;x", "/.env"),
    ],
)
def test_an_unknown_path_is_not_found(served: Served, target: str) -> None:
    answer = served.raw(head_of(target, "GET"))
    assert status_of(answer) == 404
    assert body_of(answer) == {
        "success": False,
        "error": "not_found",
        "message": "there is nothing at this path.",
        "fields": [],
    }


def test_a_target_with_the_whole_address_is_its_path(served: Served) -> None:
    assert status_of(served.raw(head_of("http://relay.example.com/health?x=1", "GET"))) == 200


def test_every_answer_has_a_request_id_of_its_own_and_no_banner(served: Served) -> None:
    answers = [
        *(served.call("GET", path) for path in (*ASKED, "/nothing")),
        *(served.call("POST", path) for path in POSTED),
        *(served.call("GET", path, token=None) for path in ASKED),
    ]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for answer in answers:
        assert answer.headers["Server"] == "wa-relay"
        for word in ("aiohttp", "Python", "uvloop"):
            assert word not in str(answer.headers)
            assert word not in answer.text
