"""Access: the push token, the loopback address, and clients behind proxies."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from tests.e2e.stage import payload
from tests.server.served import Served, new_key, new_phone, refused, serving
from wa_relay.server.access import Access, from_loopback

PUSH = "push-token-0123456789abcdef"
PROXIES = [ip_network("127.0.0.0/8"), ip_network("::1"), ip_network("10.0.0.0/8")]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon with a token for the campaign's backend."""
    with serving(tmp_path_factory.mktemp("pushed"), {"server": {"push_token": PUSH}}) as one:
        yield one


def test_the_push_token_reports_calls(pushed: Served) -> None:
    report = payload(new_key(), new_phone())
    assert pushed.call("POST", "/api/call-completed", token=PUSH, json=report).status == 200
    assert pushed.call("POST", "/api/call-completed", json=report).json["duplicate"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/test-whatsapp"), ("GET", "/api/conversations/+573001234567"), ("GET", "/api/stats")],
)
def test_the_push_token_opens_nothing_else(pushed: Served, method: str, path: str) -> None:
    refused(pushed.call(method, path, token=PUSH), 401, "unauthorized")


def test_the_push_token_shows_nothing_of_the_inside(pushed: Served) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    refused(pushed.call("GET", "/metrics", token=PUSH, headers=forwarded), 401, "unauthorized")
    assert "poller" not in pushed.call("GET", "/health", token=PUSH, headers=forwarded).json


def test_a_push_token_that_is_not_configured_opens_nothing(served: Served) -> None:
    refused(served.call("POST", "/api/call-completed", token="", json={}), 401, "unauthorized")


@pytest.mark.parametrize(
    ("peer", "listed", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.7, nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
    ],
)
def test_a_client_is_the_last_address_that_is_not_our_proxy(peer: str, listed: list[str], client: str) -> None:
    headers = CIMultiDict([("X-Forwarded-For", value) for value in listed])
    request = make_mocked_request("GET", "/health", headers=headers).clone(remote=peer)
    assert Access("token", proxies=PROXIES).client_address(request) == client


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        *(("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("203.0.113.7", False), ("127.0.0.1.example", False), ("", False)),
    ],
)
def test_loopback_is_a_loopback_address(peer: str, local: bool) -> None:
    assert from_loopback(make_mocked_request("GET", "/health").clone(remote=peer)) == local
