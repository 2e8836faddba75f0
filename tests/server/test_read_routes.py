"""The reading routes: a conversation, the statistics, the health, the metrics."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.stage import AGENT, TOKEN, payload
from tests.server.served import Served, new_key, new_phone, new_sid, paths_of, refused, serving
from tests.server.test_postcall_route import transcription
from tests.stopwatch import Stopwatch
from wa_relay.standins.twilio import Fault

INCOMING = "/webhook/twilio/incoming"
THREAD = [
    *("conversation_id", "phone_number", "client_name", "status", "elevenlabs_conversation_id", "agent_id"),
    *("call_summary", "started_at", "last_message_at", "message_count", "addresses", "sender", "handler"),
    *("handler_until", "handler_reason", "handler_by", "waiting", "window_ends_at", "unread", "unanswered_since"),
    *("calls", "messages"),
]
CALL = ["elevenlabs_conversation_id", "batch_id", "batch_name", "outcome", "group_name", "ended_at"]
MESSAGE = [
    *("id", "direction", "kind", "content", "twilio_message_id", "status", "error_code", "reason", "sent_at"),
    *("author", "attachment", "reply_to", "referral"),
]
FIGURES = [
    *("since", "until", "calls", "skipped", "openings", "replied", "reply_rate", "median_first_reply_seconds"),
    *("messages", "turns", "opted_out", "failures", "losses", "steps", "costs", "templates"),
    "groups",
]
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def thread(served: Served) -> str:
    """A customer with an opening and five unanswered messages, who has opted out."""
    phone = new_phone()
    served.opened(phone, "Ana García")
    for text in ("baja", "1", "2", "3", "4"):
        assert served.form("/webhook/twilio/incoming", served.inbound(phone, text)).status == 200
    served.until(lambda: {m["status"] for m in served.conversation(phone)["messages"]} == {"read", "received"})
    return phone


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon with an empty database, which answers strangers."""
    with serving(tmp_path_factory.mktemp("alone"), {"reply": {"unknown_sender": "fallback"}}) as one:
        yield one


def test_a_conversation_has_all_its_fields(served: Served, thread: str) -> None:
    shown = served.call("GET", f"/api/conversations/{thread}").json
    assert list(shown) == THREAD
    assert [list(call) for call in shown["calls"]] == [CALL]
    assert [list(message) for message in shown["messages"]] == [MESSAGE] * 7
    assert (shown["phone_number"], shown["client_name"], shown["status"]) == (thread, "Ana García", "opted_out")
    assert (shown["agent_id"], shown["message_count"]) == (AGENT.agent_id, 7)
    assert [m["kind"] for m in shown["messages"]] == ["opening", "customer", "notice", *["customer"] * 4]
    times = [shown["started_at"], shown["last_message_at"], shown["calls"][0]["ended_at"]]
    assert all(STAMP.fullmatch(moment) for moment in (*times, *(m["sent_at"] for m in shown["messages"])))


def test_a_person_is_found_however_the_number_is_written(served: Served, thread: str) -> None:
    bare = thread[1:]
    typed = f"+{bare[:2]} {bare[2:5]} {bare[5:8]}-{bare[8:]}"
    for spelled in (
        *(thread, bare, quote(thread), f"whatsapp:{thread}", quote(f"whatsapp:{thread}", safe=""), quote(typed)),
        *(quote(f"+{bare[:2]} ({bare[2:5]}) {bare[5:]}"), f"%20{thread}%20", f"00{bare}"),
    ):
        assert served.call("GET", f"/api/conversations/{spelled}").json["phone_number"] == thread, spelled


def test_an_unknown_number_is_an_unknown_conversation(served: Served) -> None:
    for somebody in ("+573000000000", "CO.1A2b", "US.ENT.abc", "+999999999999999"):
        refused(served.call("GET", f"/api/conversations/{somebody}"), 404, "unknown_conversation")


@pytest.mark.parametrize(
    "typed",
    ["abc", "3001234567x", "+0573001234567", "+5730012345678901", "12", "%00", "%FF", "conv_local_1", "+", "%20"],
)
def test_an_invalid_phone_is_named(served: Served, typed: str) -> None:
    assert paths_of(refused(served.call("GET", f"/api/conversations/{typed}"), 422, "invalid_payload")) == {"phone"}


def test_the_newest_messages_come_oldest_first_and_before_goes_back(served: Served, thread: str) -> None:
    path = f"/api/conversations/{thread}"
    whole = served.call("GET", path).json["messages"]
    ids = [message["id"] for message in whole]
    assert ids == sorted(ids)

    def asked(query: str) -> list[dict[str, Any]]:
        shown: dict[str, Any] = served.call("GET", f"{path}?{query}").json
        assert shown["message_count"] == 7
        messages: list[dict[str, Any]] = shown["messages"]
        return messages

    assert asked("limit=2") == whole[-2:]
    assert asked(f"limit=2&before={ids[-2]}") == whole[-4:-2]
    assert asked(f"before={ids[0]}") == []
    assert asked(f"before={ids[3]}") == whole[:3]
    assert asked("limit=500&before=9223372036854775807") == whole
    assert asked("limit=&before=&unknown=1") == whole


@pytest.mark.parametrize(
    ("query", "path"),
    [
        *((f"limit={value}", "limit") for value in ("0", "501", "-1", "abc", "1.5", "1e2", "%20", "٣", "9" * 30, "+1")),
        *((f"before={value}", "before") for value in ("0", "-1", "x", "9223372036854775808", "1;2")),
    ],
)
def test_an_invalid_limit_or_mark_is_named(served: Served, thread: str, query: str, path: str) -> None:
    answer = served.call("GET", f"/api/conversations/{thread}?{query}")
    assert paths_of(refused(answer, 422, "invalid_payload")) == {path}


def test_the_statistics_have_all_their_fields(served: Served, thread: str) -> None:
    shown = served.call("GET", "/api/stats").json
    assert list(shown) == FIGURES
    assert list(shown["openings"]) == ["queued", "sent", "delivered", "read", "failed", "uncertain", "cancelled"]
    assert list(shown["turns"]) == ["answered", "failed", "median_seconds", "p95_seconds"]
    assert list(shown["messages"]) == ["inbound", "outbound"]
    assert shown["opted_out"] >= 1
    assert (shown["since"], shown["until"], shown["groups"]) == (None, None, [])


@pytest.mark.parametrize("by", ["day", "batch", "group", "agent"])
def test_the_statistics_repeat_their_counts_by_group(served: Served, thread: str, by: str) -> None:
    shown = served.call("GET", f"/api/stats?by={by}").json
    assert shown["groups"]
    assert all(isinstance(group["key"], str | None) for group in shown["groups"])
    assert sum(group["calls"] for group in shown["groups"]) == shown["calls"]


@pytest.mark.parametrize(
    "query",
    ["since=7d", "since=24h&until=2100-01-01", "since=2020-01-01", "since=2026-11-22T15:00:00Z", "since=&until="],
)
def test_the_statistics_take_a_span(served: Served, query: str) -> None:
    assert served.call("GET", f"/api/stats?{query}").status == 200


def test_a_span_outside_of_which_all_lies_counts_nothing(served: Served) -> None:
    shown = served.call("GET", "/api/stats?until=2020-01-01").json
    assert (shown["calls"], shown["reply_rate"], shown["turns"]["median_seconds"]) == (0, None, None)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        *(("by=week", "by"), ("by=DAY", "by"), ("since=yesterday", "since"), ("until=2026-13-01", "until")),
        *(("since=2026-02-02&until=2026-02-01", "since"), ("since=-7d", "since"), ("until=x" + "x" * 500, "until")),
        *(("since=%00", "since"), ("since=0000-01-01", "since"), ("since=99999999999d", "since")),
    ],
)
def test_an_invalid_span_or_grouping_is_named(served: Served, query: str, path: str) -> None:
    assert paths_of(refused(served.call("GET", f"/api/stats?{query}"), 422, "invalid_payload")) == {path}


def test_health_needs_no_token_and_has_all_its_fields(alone: Served) -> None:
    answer = alone.call("GET", "/health", token=None)
    assert answer.status == 200
    shown = answer.json
    assert [name for name in shown if name != "upstreams"] == [
        *("status", "version", "instance", "uptime_seconds", "database", "paused", "queue", "poller", "templates"),
    ]
    assert (shown["status"], shown["database"], shown["paused"]) == ("ok", "ok", None)
    assert shown["queue"] == {"pending": 0, "oldest_seconds": None, "uncertain": 0, "dead": 0}
    assert shown["poller"] == {"enabled": False, "last_success_at": None, "consecutive_failures": 0}
    assert shown["uptime_seconds"] > 0


def test_the_poller_s_health_is_for_this_machine_or_the_token(alone: Served) -> None:
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert "poller" in alone.call("GET", "/health", token=None).json
    assert "poller" not in alone.call("GET", "/health", token=None, headers=forwarded).json
    assert "poller" not in alone.call("GET", "/health", token="wrong", headers=forwarded).json
    assert "poller" in alone.call("GET", "/health", headers=forwarded).json


def test_three_refusals_of_elevenlabs_in_a_row_are_degraded_also_without_polling(tmp_path: Path) -> None:
    with serving(tmp_path, {"elevenlabs": {"api_key": "wrong"}}) as one:
        for _ in range(3):
            one.opened(new_phone())
        one.until(lambda: one.call("GET", "/health").json["status"] == "degraded")
        assert one.call("GET", "/health").json["upstreams"]["elevenlabs"]["status"] == "away"


def test_every_start_has_an_instance_of_its_own(alone: Served, served: Served) -> None:
    first = alone.call("GET", "/health", token=None).json["instance"]
    assert first == alone.call("GET", "/health", token=None).json["instance"]
    assert first != served.call("GET", "/health", token=None).json["instance"]


def test_five_refused_signatures_are_degraded(tmp_path: Path) -> None:
    with serving(tmp_path) as one:
        for _ in range(4):
            assert one.form(INCOMING, one.inbound(new_phone()), signature="A" * 27 + "=").status == 403
        assert one.call("GET", "/health").json["status"] == "ok"
        assert one.form(INCOMING, one.inbound(new_phone()), signature="A" * 27 + "=").status == 403
        assert one.call("GET", "/health").json["status"] == "degraded"


def test_a_pause_and_an_uncertain_send_are_degraded_and_a_failure_is_counted(alone: Served) -> None:
    alone.run(alone.relay.command("pause"))
    shown = alone.call("GET", "/health")
    assert (shown.status, shown.json["status"], shown.json["paused"]) == (200, "degraded", "operator")
    alone.run(alone.relay.command("resume"))
    assert alone.call("GET", "/health").json["status"] == "ok"
    alone.twilio.faults.next("create", Fault("F20", code=21211))
    alone.report(payload(new_key(), new_phone()))
    shown = alone.call("GET", "/health")
    assert (shown.json["status"], shown.json["queue"]["dead"]) == ("ok", 1)
    alone.twilio.faults.next("create", Fault("F5"))
    alone.report(payload(new_key(), new_phone()))
    shown = alone.call("GET", "/health")
    assert (shown.status, shown.json["status"], shown.json["queue"]["uncertain"]) == (200, "degraded", 1)


def test_an_account_that_is_refused_is_degraded(alone: Served) -> None:
    alone.twilio.faults.next("create", Fault("F19"), times=50)
    answer = alone.report(payload(new_key(), new_phone()))
    assert (answer.status, answer.json["status"]) == (202, "message_queued")
    shown = alone.call("GET", "/health")
    assert (shown.status, shown.json["status"], shown.json["paused"]) == (200, "degraded", "account")
    assert shown.json["queue"]["pending"] >= 1
    assert shown.json["queue"]["oldest_seconds"] >= 0


def test_the_metrics_are_for_this_machine(served: Served, thread: str) -> None:
    answer = served.call("GET", "/metrics", token=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    for line in answer.text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{.+\})? -?[0-9.e+-]+(Inf)?", line), line
    assert "+57" not in answer.text
    assert thread[1:] not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        *("X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded", "Via"),
        *("X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP"),
    ],
)
def test_the_metrics_want_the_token_of_what_was_forwarded(served: Served, name: str) -> None:
    headers = {name: "127.0.0.1"}
    refused(served.call("GET", "/metrics", token=None, headers=headers), 401, "unauthorized")
    refused(served.call("GET", "/metrics", token="wrong", headers=headers), 401, "unauthorized")
    assert served.call("GET", "/metrics", headers=headers).status == 200


def test_a_customer_who_hides_the_number_is_found_by_the_user_id(alone: Served) -> None:
    assert alone.form(INCOMING, alone.inbound("CO.1A2b3C")).status == 200
    shown = alone.call("GET", "/api/conversations/CO.1A2b3C").json
    assert (shown["phone_number"], shown["agent_id"], shown["calls"]) == ("CO.1A2b3C", None, [])


def test_while_the_database_is_locked_it_is_down_and_says_so_within_2_seconds(alone: Served) -> None:
    phone = new_phone()
    shown, form = payload(new_key(), phone), alone.inbound(phone)
    receipt = {"MessageSid": new_sid(), "MessageStatus": "read"}
    hook = transcription(new_phone(), new_key())
    locker = sqlite3.connect(alone.relay.database, isolation_level=None)
    try:
        locker.execute("begin immediate")
        watch = Stopwatch()
        with ThreadPoolExecutor(5) as threads:
            health = threads.submit(alone.call, "GET", "/health")
            storing = [
                threads.submit(alone.report, shown),
                threads.submit(alone.form, INCOMING, form),
                threads.submit(alone.form, "/webhook/twilio/status", receipt),
                threads.submit(alone.webhook, hook),
            ]
            for answer in (one.result(10) for one in storing):
                refused(answer, 503, "unavailable")
                assert answer.headers["Retry-After"] == "2"
        assert watch.seconds < 4
        assert (health.result().status, health.result().json["status"]) == (503, "down")
        assert health.result().json["database"] != "ok"
        assert alone.call("GET", "/api/stats").status == 200
    finally:
        locker.close()
    alone.until(lambda: alone.call("GET", "/health").status == 200)
    assert alone.form(INCOMING, form).status == 200
    assert [m["content"] for m in alone.conversation(phone)["messages"] if m["kind"] == "customer"] == ["Hola"]
    assert "Traceback" not in alone.relay.log


def test_no_number_and_no_token_comes_into_the_log(served: Served, thread: str, tmp_path: Path) -> None:
    served.call("GET", f"/api/conversations/{thread}")
    assert thread[1:] not in served.relay.log
    assert TOKEN not in served.relay.log
