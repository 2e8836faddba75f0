"""Logging in and out: passwords, links, the cookie, the throttle, and what another site can't do."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.console.visiting import PASSWORD, Visitor, consoled
from tests.server.served import Served, new_key

Make = Callable[..., Visitor]


def add_user(served: Served, role: str = "viewer") -> str:
    name = f"user-{new_key()[-12:]}"
    stdin = PASSWORD.encode() + b"\n"
    code, _, err = served.run(served.relay.command("console", "user", "add", name, "--role", role, stdin=stdin), 60)
    assert code == 0, err
    return name


def command(served: Served, *arguments: str) -> str:
    code, out, err = served.run(served.relay.command("console", *arguments), 60)
    assert code == 0, err
    return out


def test_a_password_opens_the_inbox_with_a_new_cookie_each_time(visitor: Make) -> None:
    one, other = visitor(), visitor()
    answer = one.log_in("oscar")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    other.log_in("oscar")
    assert one.cookie
    assert one.cookie != other.cookie
    assert one.is_logged_in


@pytest.mark.parametrize(
    ("name", "password"),
    [("oscar", "wrong horse battery"), ("nobody", PASSWORD), ("oscar", ""), ("", PASSWORD), ("oscar'--", PASSWORD)],
)
def test_a_wrong_name_or_password_shows_the_form_again(visitor: Make, name: str, password: str) -> None:
    one = visitor()
    answer = one.log_in(name, password)
    assert answer.status_code == 401
    assert 'name="password"' in answer.text
    assert password not in answer.text or not password
    assert one.cookie is None


def test_the_database_holds_neither_the_password_nor_the_token(served: Served, oscar: Visitor) -> None:
    assert oscar.cookie
    with sqlite3.connect(served.relay.database) as db:
        hashes = [row[0] for row in db.execute("select password_hash from console_users")]
        tokens = [row[0] for row in db.execute("select token_hash from console_sessions")]
    db.close()
    assert all(each.startswith("$argon2id$") for each in hashes)
    assert oscar.cookie not in tokens
    assert hashlib.sha256(oscar.cookie.encode()).hexdigest() in tokens


@pytest.mark.parametrize(
    ("wanted", "led_to"),
    [
        ("/console/conversations/1", "/console/conversations/1"),
        ("/console/?state=human&q=plan", "/console/?state=human&q=plan"),
        ("https://evil.example/console/", "/console/"),
        ("//evil.example/console/", "/console/"),
        ("/console//evil.example", "/console/"),
        ("/console/../api/stats", "/console/"),
        ("/console/%2e%2e/api/stats", "/console/"),
        ("/console/\\evil.example", "/console/"),
        ("/console/x\r\nSet-Cookie: a=b", "/console/"),
        ("/consoleevil", "/console/"),
        ("javascript:alert(1)", "/console/"),
    ],
)
def test_a_login_leads_only_below_the_console(visitor: Make, wanted: str, led_to: str) -> None:
    assert visitor().log_in("vera", next=wanted).headers["Location"] == led_to


def test_a_page_without_a_session_leads_to_the_login_and_back(visitor: Make) -> None:
    one = visitor()
    answer = one.get("/console/conversations/7?before=3")
    assert answer.status_code == 303
    target = urlsplit(answer.headers["Location"])
    assert target.path == "/console/login"
    form = one.get(answer.headers["Location"])
    assert 'value="/console/conversations/7?before=3"' in form.text


def test_logging_out_ends_the_session_on_the_server(visitor: Make) -> None:
    one = visitor("oscar")
    cookie = one.cookie
    assert one.submit("/console/logout").status_code == 303
    assert one.cookie is None
    one.http.cookies.set("wa_relay_session", cookie or "")
    assert not one.is_logged_in


def test_the_token_in_the_header_alone_logs_out(visitor: Make) -> None:
    one = visitor("oscar")
    assert one.http.post("/console/logout").status_code == 403
    assert one.http.post("/console/logout", headers={"X-CSRF-Token": one.csrf}).status_code == 303
    assert not one.is_logged_in


def test_another_site_can_log_nobody_in(visitor: Make) -> None:
    one = visitor()
    form = {"user": "oscar", "password": PASSWORD}
    answer = one.http.post("/console/login", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert one.cookie is None


def test_a_name_is_throttled_after_five_failures_also_for_the_right_password(served: Served, visitor: Make) -> None:
    name = add_user(served)
    for _ in range(5):
        assert visitor().log_in(name, "wrong horse battery").status_code == 401
    answer = visitor().log_in(name)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 900
    link = command(served, "link", name).strip()
    one = visitor()
    token = urlsplit(link).query.removeprefix("link=")
    assert one.http.post("/console/login", data={"link": token}).status_code == 303


def test_an_address_is_throttled_after_five_failures_for_every_name(visitor: Make) -> None:
    for count in range(5):
        assert visitor(as_from="198.51.100.7").log_in(f"nobody{count}").status_code == 401
    assert visitor(as_from="198.51.100.7").log_in("vera").status_code == 429
    assert visitor(as_from="198.51.100.8").log_in("vera").status_code == 303


def test_an_address_that_the_client_invents_before_the_proxys_does_not_help(visitor: Make) -> None:
    for count in range(5):
        assert visitor(as_from=f"192.0.2.{count}, 198.51.100.9").log_in(f"nobody-{count}-behind").status_code == 401
    assert visitor(as_from="192.0.2.77, 198.51.100.9").log_in("vera").status_code == 429


def test_parallel_failures_do_not_slip_through_the_throttle(served: Served, visitor: Make) -> None:
    name = add_user(served)
    visitors = [visitor() for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(lambda one: one.log_in(name, "wrong horse battery").status_code, visitors))
    assert sorted(set(statuses)) == [401, 429]
    assert statuses.count(401) == 5


def test_a_success_clears_the_name(served: Served, visitor: Make) -> None:
    name = add_user(served)
    for _ in range(2):
        for _ in range(4):
            assert visitor().log_in(name, "wrong horse battery").status_code == 401
        assert visitor().log_in(name).status_code == 303


def test_a_link_shows_a_button_and_logs_in_once(served: Served, visitor: Make) -> None:
    link = command(served, "link", "oscar").strip()
    assert link.startswith(served.relay.url + "/console/login?link=")
    path, token = link.removeprefix(served.relay.url), urlsplit(link).query.removeprefix("link=")
    one, other = visitor(), visitor()
    for _ in range(3):
        page = one.get(path)
        assert page.status_code == 200
        assert len(re.findall(r'<button class="primary"', page.text)) == 1
    assert one.cookie is None
    assert one.http.post("/console/login", data={"link": token}).status_code == 303
    assert one.is_logged_in
    assert other.http.post("/console/login", data={"link": token}).status_code == 401
    assert not other.is_logged_in


def test_a_removed_user_is_logged_out_at_once(served: Served, visitor: Make) -> None:
    name = add_user(served)
    one = visitor(name)
    command(served, "user", "remove", name)
    assert not one.is_logged_in


def test_a_role_that_changes_holds_at_once(served: Served, visitor: Make) -> None:
    name = add_user(served, "admin")
    one = visitor(name)
    assert one.get("/console/users").status_code == 200
    command(served, "user", "role", name, "viewer")
    assert one.get("/console/users").status_code == 403


def test_a_new_password_ends_the_sessions_of_the_old_one(served: Served, visitor: Make) -> None:
    name = add_user(served)
    one = visitor(name)
    password = "another horse battery"
    stdin = password.encode() + b"\n"
    code, _, err = served.run(served.relay.command("console", "user", "password", name, stdin=stdin), 60)
    assert code == 0, err
    assert not one.is_logged_in
    assert visitor().log_in(name).status_code == 401
    assert visitor().log_in(name, password).status_code == 303


def test_the_log_says_who_logged_in_failed_and_logged_out(served: Served, visitor: Make) -> None:
    name = add_user(served)
    one = visitor(as_from="198.51.100.40")
    one.log_in(name, "wrong horse battery")
    one.log_in(name)
    one.submit("/console/logout")
    lines = json.loads(command(served, "log", "--json"))
    assert [line["action"] for line in lines if line["user"] == name] == ["login_failed", "login", "logout"]
    assert lines[-2]["detail"] == "from 198.51.100.40"


@pytest.fixture(scope="module")
def behind_a_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that a proxy serves under a path, by https."""
    settings = {"server": {"public_url": "https://relay.example.com/wa"}}
    with consoled(tmp_path_factory.mktemp("path"), settings) as one:
        yield one


def test_behind_a_proxys_path_every_address_has_it_and_the_cookie_is_secure(behind_a_path: Served) -> None:
    one = Visitor(behind_a_path)
    answer = one.log_in("vera", next="/wa/console/campaigns")
    assert answer.headers["Location"] == "/wa/console/campaigns"
    assert {"Secure", "Path=/wa/"} <= set(answer.headers["Set-Cookie"].split("; "))
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    page = one.get("/console/", headers={"Cookie": cookie})
    assert page.status_code == 200
    addresses = re.findall(r'(?:href|src|action)="([^"#][^"]*)"', page.text)
    assert addresses
    assert all(address.startswith("/wa/console/") for address in addresses)
    link = command(behind_a_path, "link", "vera").strip()
    assert link.startswith("https://relay.example.com/wa/console/login?link=")
    one.http.close()


def test_a_session_survives_a_restart(tmp_path: Path) -> None:
    with consoled(tmp_path) as one:
        visitor = Visitor(one)
        visitor.log_in("oscar")
        assert visitor.is_logged_in
        assert one.run(one.relay.stop()) == 0
        one.run(one.relay.start())
        assert visitor.is_logged_in
        visitor.http.close()


def test_a_session_ends_by_its_time(tmp_path: Path) -> None:
    with consoled(tmp_path, {"console": {"session_hours": 0.0006}}) as one:
        visitor = Visitor(one)
        visitor.log_in("oscar")
        one.until(lambda: not visitor.is_logged_in or None, 10)
        visitor.http.close()
