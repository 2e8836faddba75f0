"""Attacks on the console, each with its required result; docs/security.md lists them."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest

from tests.console.visiting import PASSWORD, Visitor
from tests.server.served import Served, new_phone
from tests.stopwatch import Stopwatch

Make = Callable[..., Visitor]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def link_of(served: Served, name: str) -> str:
    code, out, err = served.run(served.relay.command("console", "link", name), 60)
    assert code == 0, err
    return urlsplit(out.strip()).query.removeprefix("link=")


def test_a_cookie_that_was_planted_before_the_login_opens_nothing(visitor: Make) -> None:
    one, thief = visitor(), visitor()
    one.http.cookies.set("wa_relay_session", "planted-by-the-attacker")
    one.log_in("oscar")
    thief.http.cookies.set("wa_relay_session", "planted-by-the-attacker")
    assert not thief.is_logged_in


@pytest.mark.parametrize(
    "cookie", ["", "x" * 129, "x" * 4000, "' or 1=1 --", "%00", "../../etc/passwd", "0" * 64, "ñ", "a;b"]
)
def test_a_made_up_cookie_leads_to_the_login(visitor: Make, cookie: str) -> None:
    answer = visitor().get("/console/", headers={"Cookie": f"wa_relay_session={cookie}".encode()})
    assert answer.status_code == 303


@pytest.mark.parametrize(
    "body",
    [
        "user=%ff%fe&password=%00%00",
        "user=oscar&password=" + "x" * 12_000,
        "&".join(f"f{number}=1" for number in range(1500)),
        "user=oscar&user=ada&password=a&password=b",
        "user[]=oscar&password[$ne]=x",
        "user=oscar'%20or%20'1'='1&password=x",
        "%",
        "",
        "link=' or 1=1 --",
        "user=%ED%A0%80&password=%F0%9F%99%8F",
    ],
)
def test_a_strange_form_is_a_failed_login(visitor: Make, body: str) -> None:
    one = visitor()
    answer = one.http.post("/console/login", content=body, headers=FORM)
    assert answer.status_code == 401
    assert one.cookie is None


def test_a_form_that_is_too_large_or_of_another_type_is_refused(visitor: Make) -> None:
    one = visitor()
    assert one.http.post("/console/login", content="user=" + "x" * 20_000, headers=FORM).status_code == 413
    assert one.http.post("/console/login", json={"user": "oscar", "password": PASSWORD}).status_code == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_another_method_changes_nothing(oscar: Visitor, method: str) -> None:
    for path in ("/console/", "/console/users", "/console/conversations/1"):
        answer = oscar.http.request(method, path)
        assert answer.status_code in (403, 404, 405)
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_other_origin_is_allowed_to_read(oscar: Visitor) -> None:
    answer = oscar.get("/api/conversations", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/console/conversations/1%20or%201=1",
        "/console/conversations/-1",
        "/console/conversations/99999999999999999999999",
        "/console/conversations/999999999",
        "/console/conversations/1/../../api/stats",
        "/console/%2e%2e/%2e%2e/etc/passwd",
        "/console/static/../templates/base.html",
        "/console/static/%2e%2e%2fpages.py",
        "/console/\r\nSet-Cookie:x",
    ],
)
def test_a_path_that_was_made_up_shows_nothing(oscar: Visitor, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", oscar.served.relay.port, timeout=40)
    try:
        connection.putrequest("GET", quote(path, safe="/%?=&"), skip_accept_encoding=True)
        connection.putheader("Cookie", f"wa_relay_session={oscar.cookie}")
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    assert answer.status in (303, 404), text[:200]
    assert "root:" not in text
    assert "{%" not in text


@pytest.mark.parametrize("before", ["x", "' or 1=1", "OTk5OQ", "A" * 3000, "%00", "-1", "MjAyNiAxOyBkcm9w"])
def test_a_made_up_place_in_a_list_leads_back(oscar: Visitor, before: str) -> None:
    assert oscar.get("/console/", params={"before": before}).status_code in (200, 303)
    assert oscar.get("/console/campaigns", params={"since": before, "until": before}).status_code == 200


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "';--"])
def test_a_search_is_shown_as_text(oscar: Visitor, text: str) -> None:
    page = oscar.get("/console/", params={"q": text}).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert ">49<" not in page


def test_a_language_that_there_is_not_changes_nothing(oscar: Visitor) -> None:
    answer = oscar.submit("/console/language", lang="../../etc", next="https://evil.example/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/")
    assert '<html lang="es">' in oscar.get("/console/").text


def test_a_link_that_two_use_at_once_opens_one_session(served: Served, visitor: Make) -> None:
    token = link_of(served, "oscar")
    visitors = [visitor() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda one: one.http.post("/console/login", data={"link": token}).status_code, visitors)
    assert sorted(answers) == [303] + [401] * 7


def test_a_link_of_a_user_who_was_removed_opens_nothing(served: Served, visitor: Make) -> None:
    name = f"gone-{new_phone()[-6:]}"
    stdin = PASSWORD.encode() + b"\n"
    assert served.run(served.relay.command("console", "user", "add", name, stdin=stdin), 60)[0] == 0
    token = link_of(served, name)
    assert served.run(served.relay.command("console", "user", "remove", name), 60)[0] == 0
    assert visitor().http.post("/console/login", data={"link": token}).status_code == 401


def test_a_customers_text_ends_no_session_and_changes_no_page(served: Served, oscar: Visitor) -> None:
    phone = new_phone()
    served.opened(phone, "</title></head><body onload=alert(1)>")
    for text in (
        "</textarea><script>alert(1)</script>",
        "\x1b[2J\x00",
        "javascript:alert(1)",
        "<meta http-equiv=refresh>",
    ):
        served.form("/webhook/twilio/incoming", served.inbound(phone, text))
    number = served.conversation(phone)["conversation_id"].removeprefix("conv_local_")
    for path in ("/console/", f"/console/conversations/{number}", "/console/campaigns"):
        page = oscar.get(path).text
        assert "<body onload" not in page
        assert "<script>alert" not in page
        assert "<meta http-equiv" not in page
        assert "\x1b" not in page


def test_an_event_stream_ends_within_a_second_of_the_logout(served: Served, visitor: Make) -> None:
    one = visitor("oscar")
    cookies = {"wa_relay_session": one.cookie or ""}
    with one.http.stream("GET", "/api/events", timeout=60) as stream:
        assert stream.status_code == 200
        other = visitor()
        other.http.cookies.update(cookies)
        assert other.submit("/console/logout").status_code == 303
        watch = Stopwatch()
        for _ in stream.iter_bytes():
            pass
    assert watch.seconds < 2.0


def test_no_response_and_no_log_line_holds_a_token(served: Served, visitor: Make) -> None:
    one = visitor("ada")
    token = link_of(served, "ada")
    pages = [one.get(path).text for path in ("/console/", "/console/users", "/console/system")]
    assert one.cookie
    for text in (*pages, served.relay.log):
        assert one.cookie not in text
        assert token not in text
