"""Access: every route of the console and of the API for each role, and what a session's POST must carry."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.console.visiting import Visitor
from tests.e2e.stage import TOKEN
from tests.server.served import Served, new_phone, serving

Make = Callable[..., Visitor]
ROLES = ("vera", "oscar", "ada")
PAGES = ("/console/", "/console/campaigns", "/console/system", "/console/conversations/{number}")
READS = ("/api/conversations", "/api/stats")
ONE = "/api/conversations/{phone}"
CHANGES = (
    # path, the least role, the status for those who may
    (f"{ONE}/takeover", "oscar", 200),
    (f"{ONE}/read", "oscar", 200),
    (f"{ONE}/release", "oscar", 200),
    (f"{ONE}/messages", "oscar", 422),
    (f"{ONE}/opt-out", "oscar", 200),
    ("/api/pause", "oscar", 200),
    ("/api/resume", "ada", 200),
    ("/api/messages/999999/resolve", "ada", 422),
)
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@pytest.fixture(scope="module")
def phone(served: Served) -> str:
    number = new_phone()
    served.opened(number)
    return number


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("name", ROLES)
def test_every_role_reads_every_page(served: Served, visitor: Make, phone: str, name: str, path: str) -> None:
    number = served.conversation(phone)["conversation_id"].removeprefix("conv_local_")
    answer = visitor(name).get(path.format(number=number))
    assert answer.status_code == 200
    for header, value in SECURITY.items():
        assert answer.headers[header] == value
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy


def test_decisions_are_shown_in_the_language_of_the_page(served: Served, oscar: Visitor) -> None:
    number = new_phone()
    served.opened(number)
    served.form("/webhook/twilio/incoming", served.inbound(number, "¿Cuánto cuesta?"))
    served.until(lambda: len(served.twilio.accepted(number)) > 1)
    place = served.conversation(number)["conversation_id"].removeprefix("conv_local_")
    page = oscar.get(f"/console/conversations/{place}").text
    assert "se le preguntó al agente" in page
    assert "the agent" not in page


def test_the_page_of_a_merged_conversation_leads_to_the_one_that_stays(served: Served, vera: Visitor) -> None:
    number = new_phone()
    served.opened(number)
    older = int(served.conversation(number)["conversation_id"].removeprefix("conv_local_"))
    younger = older + 900_000
    with closing(sqlite3.connect(served.stage.relay.database, timeout=10)) as db, db:
        db.execute("insert into merged (younger_id, older_id) values (?, ?)", (younger, older))
    answer = vera.get(f"/console/conversations/{younger}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/console/conversations/{older}")


@pytest.mark.parametrize("name", ROLES)
def test_only_an_admin_sees_the_users(visitor: Make, name: str) -> None:
    assert visitor(name).get("/console/users").status_code == (200 if name == "ada" else 403)


@pytest.mark.parametrize("path", [*PAGES, "/console/users", "/console/nothing", "/console/system/checks"])
def test_nobody_sees_a_page_without_a_session(visitor: Make, path: str) -> None:
    answer = visitor().get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/console/login")


@pytest.mark.parametrize("path", [*READS, "/api/events", "/api/conversations/+573138539155"])
def test_the_api_without_a_session_or_a_token_is_401(visitor: Make, path: str) -> None:
    answer = visitor().get(path)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize(("path", "least", "status"), CHANGES)
@pytest.mark.parametrize("name", ROLES)
def test_a_change_needs_its_role(visitor: Make, phone: str, name: str, path: str, least: str, status: int) -> None:
    answer = visitor(name).post(path.format(phone=phone))
    allowed = ROLES.index(name) >= ROLES.index(least)
    assert answer.status_code == (status if allowed else 403), answer.text


@pytest.mark.parametrize(("path", "least", "status"), CHANGES)
@pytest.mark.parametrize("token", ["", "0" * 64, "other"])
def test_a_change_without_the_sessions_token_is_refused(
    visitor: Make, phone: str, path: str, least: str, status: int, token: str
) -> None:
    one = visitor("ada")
    headers = {"X-CSRF-Token": visitor("ada").csrf if token == "other" else token}
    answer = one.http.post(path.format(phone=phone), json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "bad_csrf_token")


@pytest.mark.parametrize("path", ["/console/logout", "/console/language"])
def test_a_form_without_the_sessions_token_is_refused(visitor: Make, path: str) -> None:
    one = visitor("oscar")
    assert one.http.post(path, data={"lang": "en"}).status_code == 403
    assert one.is_logged_in


def test_the_service_token_needs_no_session_and_no_csrf_token(visitor: Make, phone: str) -> None:
    headers = {"X-Service-Token": TOKEN}
    assert visitor().http.post(f"/api/conversations/{phone}/takeover", json={}, headers=headers).status_code == 200


def test_a_wrong_service_token_is_not_mended_by_a_session(ada: Visitor) -> None:
    assert ada.get("/api/stats", headers={"X-Service-Token": "wrong"}).status_code == 401


@pytest.mark.parametrize("path", ["/api/call-completed", "/api/test-whatsapp"])
def test_a_session_reports_no_calls_and_sends_no_test_messages(ada: Visitor, path: str) -> None:
    assert ada.post(path).status_code == 401


def test_metrics_take_no_session(ada: Visitor) -> None:
    assert ada.get("/metrics").status_code == 401


def test_the_log_names_each_deed_of_the_console_with_its_customer(served: Served, visitor: Make) -> None:
    phone = new_phone()
    served.opened(phone)
    served.form("/webhook/twilio/incoming", served.inbound(phone, "Hola"))
    oscar, ada = visitor("oscar"), visitor("ada")
    one = f"/api/conversations/{phone}"
    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        assert oscar.post(f"{one}/messages", {"text": "un secreto"}, headers=key).status_code == 200
    assert oscar.post(f"{one}/takeover").status_code == 200
    assert oscar.post(f"{one}/release").status_code == 200
    assert oscar.post(f"{one}/opt-out").status_code == 200
    assert oscar.post(f"{one}/messages", {"text": "otro secreto"}).status_code == 422
    assert oscar.post("/api/pause").status_code == 200
    assert ada.post("/api/resume").status_code == 200
    code, out, _ = served.run(served.relay.command("console", "log", "--json"), 60)
    assert code == 0
    lines = [(line["user"], line["action"], line["phone_number"]) for line in json.loads(out)]
    deeds = [("oscar", action, phone) for action in ("send", "takeover", "release", "opt-out")]
    assert lines[-6:] == [*deeds, ("oscar", "pause", None), ("ada", "resume", None)]
    assert "secreto" not in out


def test_assets_are_kept_and_nothing_else_below_them_is_served(visitor: Make) -> None:
    one = visitor()
    answer = one.get("/console/static/console.css")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("..%2f..%2fpages.py", "pages.py", "%2e%2e/render.py", "console.css/../../login.html"):
        assert one.get(f"/console/static/{path}").status_code in (303, 404)


@pytest.mark.parametrize("words", ["Zoraida", "quintero", "termostato", "TERMÓSTATO", "zoraida quint*"])
def test_the_inbox_finds_names_digits_and_words(served: Served, oscar: Visitor, words: str) -> None:
    phone = new_phone()
    served.opened(phone, "Zoraida Quintero")
    served.form("/webhook/twilio/incoming", served.inbound(phone, f"se dañó el termostato {phone[-6:]}"))
    number = served.conversation(phone)["conversation_id"].removeprefix("conv_local_")
    for sought in (words, phone[-6:]):
        served.until(lambda: f'data-conversation="{number}"' in oscar.get("/console/", params={"q": sought}).text, 5)  # noqa: B023
    assert 'data-conversation="' not in oscar.get("/console/", params={"q": "zzzunknown"}).text


@pytest.mark.parametrize("name", ROLES)
def test_every_role_downloads_the_calls_as_csv(served: Served, visitor: Make, name: str) -> None:
    phone = new_phone()
    served.opened(phone, '=cmd|"/c calc"!A1')
    answer = visitor(name).get("/console/campaigns/calls.csv")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    rows = [row for row in csv.DictReader(io.StringIO(answer.text)) if row["phone_number"].lstrip("'") == phone]
    assert [(row["client_name"], row["outcome"]) for row in rows] == [('\'=cmd|"/c calc"!A1', "completed")]


def test_console_leads_to_the_inbox(visitor: Make) -> None:
    answer = visitor().get("/console")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/")


def test_without_the_setting_every_path_of_the_console_is_404(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("off")) as one:
        for path in ("/console", "/console/", "/console/login", "/console/static/console.css", "/console/users"):
            assert one.run(one.stage.call("GET", path, token=None)).status == 404
        off = Visitor(one)
        off.http.cookies.set("wa_relay_session", "x" * 43)
        assert off.get("/api/stats").status_code == 401
        off.http.close()
