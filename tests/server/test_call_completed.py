"""`POST /api/call-completed`: the fields, and every row of the table of answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import PAYLOAD, payload
from tests.server.served import Served, new_key, new_phone, paths_of, refused, serving
from tests.stopwatch import Stopwatch
from wa_relay.standins.twilio import Fault

Report = dict[str, Any]
ALL = ("success", "status", "conversation_id", "whatsapp_message_id", "elevenlabs_conversation_id", "duplicate")


def fresh(**changes: Any) -> Report:
    """A report of an unknown call to an unknown customer."""
    data: Report = payload(new_key(), new_phone())
    data["recipient"] |= changes.pop("recipient", {})
    return data | changes


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that sends a customer at most one opening an hour, and a template after a failed call."""
    settings: dict[str, dict[str, Any]] = {
        "opening": {"burst_limit": 0, "min_gap_hours": 1},
        "opening.failed": {"content_sid": "HX" + "0" * 32, "content_variables": {"1": "{plan}"}},
    }
    with serving(tmp_path_factory.mktemp("ruled"), settings) as one:
        yield one


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon in its quiet hours, whenever the test is run."""
    hour = time.gmtime().tm_hour
    hours = {"start": f"{(hour - 1) % 24:02d}:00", "end": f"{(hour + 3) % 24:02d}:00"}
    with serving(tmp_path_factory.mktemp("quiet"), {"general": {"timezone": "UTC"}, "quiet_hours": hours}) as one:
        yield one


def test_all_that_is_missing_is_named_at_once(served: Served) -> None:
    data = refused(served.report({}), 422, "invalid_payload")
    within = {f"recipient.{name}" for name in ("phone_number", "status", "conversation_id")}
    assert paths_of(data) == {"agent_id", "recipient"} | within
    assert all(path in data["message"] for path in within)


def test_all_that_is_of_a_wrong_kind_is_named_at_once(served: Served) -> None:
    data = {
        "agent_id": 7,
        "agent_name": [],
        "batch_id": {},
        "batch_name": 1,
        "ended_at_unix": "yesterday",
        "recipient": {"phone_number": 573001234567, "status": None, "conversation_id": True, "id": 1, "variables": []},
        "call_metadata": {"client_name": 1, "client_id": [], "group_id": {}, "group_name": False},
    }
    assert paths_of(refused(served.report(data), 422, "invalid_payload")) == {
        *("agent_id", "agent_name", "batch_id", "batch_name", "ended_at_unix"),
        *(f"recipient.{name}" for name in ("phone_number", "status", "conversation_id", "id", "variables")),
        *(f"call_metadata.{name}" for name in ("client_name", "client_id", "group_id", "group_name")),
    }


@pytest.mark.parametrize(
    ("place", "value"), [("recipient", "x"), ("recipient", []), ("call_metadata", "x"), ("call_metadata", [1])]
)
def test_a_part_that_is_not_an_object_is_named(served: Served, place: str, value: object) -> None:
    assert place in paths_of(refused(served.report(fresh() | {place: value}), 422, "invalid_payload"))


@pytest.mark.parametrize("name", ["agent_id"])
@pytest.mark.parametrize("value", ["", " ", None, 0, [], {}])
def test_an_empty_agent_is_named(served: Served, name: str, value: object) -> None:
    assert paths_of(refused(served.report(fresh(**{name: value})), 422, "invalid_payload")) == {name}


@pytest.mark.parametrize(
    "phone",
    [
        *("3001234567", "573001234567", "+57 300 123 4567", "+57-300-1234567", "+5730012345678901", "+0573001234567"),
        *("+٥٧٣٠٠١٢٣٤٥٦٧", "+573001234567\n", " +573001234567", "+573001234567 ", "+1234567", "+", "", "whatsapp:"),
        *("whatsapp:+573001234567", "+57300123456a", "++573001234567", "+57300123456７", "+573001234567\0x", None, 5),
    ],
)
def test_a_phone_that_is_not_e164_to_the_letter_is_named(served: Served, phone: object) -> None:
    data = refused(served.report(fresh(recipient={"phone_number": phone})), 422, "invalid_payload")
    assert paths_of(data) == {"recipient.phone_number"}
    assert "+573138539155" in data["message"]


@pytest.mark.parametrize("phone", ["+12345678", "+123456789012345"])
def test_a_phone_of_8_to_15_digits_is_taken_and_found(served: Served, phone: str) -> None:
    assert served.report(fresh(recipient={"phone_number": phone})).status in (200, 202)
    assert served.conversation(phone)["phone_number"] == phone


@pytest.mark.parametrize("moment", [0, -1, 1577836799, 253402300800, "1761694074", True, [], 1e300])
def test_an_end_that_can_not_be_is_named(served: Served, moment: object) -> None:
    data = refused(served.report(fresh(ended_at_unix=moment)), 422, "invalid_payload")
    assert paths_of(data) == {"ended_at_unix"}


@pytest.mark.parametrize("offset", [302, 3600, 86400 * 3650])
def test_an_end_more_than_5_minutes_ahead_or_in_milliseconds_is_named(served: Served, offset: int) -> None:
    for moment in (time.time() + offset, time.time() * 1000):
        data = refused(served.report(fresh(ended_at_unix=moment)), 422, "invalid_payload")
        assert paths_of(data) == {"ended_at_unix"}


@pytest.mark.parametrize("offset", [0, 1, 280, 0.5])
def test_an_end_a_little_ahead_is_taken(served: Served, offset: float) -> None:
    assert served.report(fresh(ended_at_unix=time.time() + offset)).json["status"] == "message_sent"


@pytest.mark.parametrize("days", [3, 400])
def test_a_call_of_days_ago_is_too_old(served: Served, days: int) -> None:
    answer = served.report(data := fresh(ended_at_unix=time.time() - days * 86400))
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (200, "skipped", "too_old")
    assert answer.json["conversation_id"].startswith("conv_local_")
    assert served.twilio.accepted(data["recipient"]["phone_number"]) == []


def test_a_call_that_ended_before_the_database_was_made_is_too_old(served: Served) -> None:
    answer = served.report(fresh(ended_at_unix=time.time() - 3600))
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (200, "skipped", "too_old")


def test_an_end_of_null_is_none(served: Served) -> None:
    assert served.report(fresh(ended_at_unix=None)).json["status"] == "message_sent"


def test_optional_fields_may_be_missing_or_null(served: Served) -> None:
    reports: list[Report] = [
        {"agent_id": "agent_x", "recipient": {"phone_number": new_phone(), "status": "completed"}},
        fresh(batch_id=None, batch_name=None, agent_name=None, call_metadata=None, phone_number_id=None)
        | {"recipient": {"phone_number": new_phone(), "status": "completed", "variables": None, "id": None}},
    ]
    for data in reports:
        data["conversation_id"] = new_key()
        answer = served.report(data)
        assert (answer.status, answer.json["status"]) == (200, "message_sent")
        assert answer.json["elevenlabs_conversation_id"] == data["conversation_id"]
        phone = data["recipient"]["phone_number"]
        assert served.twilio.accepted(phone)[0].body == (
            "Hola, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"
        )


def test_two_different_ids_of_one_call_are_named(served: Served) -> None:
    data = refused(served.report(fresh(conversation_id=new_key())), 422, "invalid_payload")
    assert paths_of(data) == {"conversation_id"}


def test_unknown_fields_are_allowed(served: Served) -> None:
    data = fresh(more={"deep": [1, {"x": None}]}, recipient={"voice": "x"}) | {"retries": 3}
    assert served.report(data).json["status"] == "message_sent"


def test_a_call_is_answered_with_all_fields_and_the_opening_s_sid(served: Served) -> None:
    answer = served.report(data := fresh())
    assert (answer.status, tuple(answer.json)) == (200, ALL)
    sid = served.twilio.accepted(data["recipient"]["phone_number"])[0].sid
    number = served.conversation(data["recipient"]["phone_number"])["conversation_id"].removeprefix("conv_local_")
    assert int(number) > 0
    assert answer.json == {
        "success": True,
        "status": "message_sent",
        "conversation_id": f"conv_local_{number}",
        "whatsapp_message_id": sid,
        "elevenlabs_conversation_id": data["recipient"]["conversation_id"],
        "duplicate": False,
    }


@pytest.mark.parametrize("status", ["in_progress", "initiated", "pending", "dispatched", "Completed", "no_answer", "x"])
def test_a_call_that_is_not_over_is_not_stored(served: Served, status: str) -> None:
    answer = served.report(data := fresh(recipient={"status": status}))
    assert (answer.status, tuple(answer.json)) == (200, (*ALL, "reason"))
    assert (answer.json["status"], answer.json["reason"]) == ("skipped", "not_finished")
    assert (answer.json["conversation_id"], answer.json["whatsapp_message_id"]) == (None, None)
    phone = data["recipient"]["phone_number"]
    refused(served.call("GET", f"/api/conversations/{phone}"), 404, "unknown_conversation")
    data["recipient"]["status"] = "completed"
    answer = served.report(data)
    assert (answer.json["status"], answer.json["duplicate"]) == ("message_sent", False)


@pytest.mark.parametrize("status", ["voicemail", "failed", "cancelled"])
def test_an_outcome_without_an_opening_is_stored_and_skipped(served: Served, status: str) -> None:
    answer = served.report(data := fresh(recipient={"status": status}))
    assert (answer.status, tuple(answer.json)) == (200, (*ALL, "reason"))
    assert (answer.json["status"], answer.json["reason"]) == ("skipped", "outcome_not_followed")
    thread = served.conversation(data["recipient"]["phone_number"])
    assert (thread["calls"][0]["outcome"], thread["messages"]) == (status, [])
    again = served.report(data)
    assert again.json == answer.json | {"duplicate": True}


def test_a_customer_who_has_opted_out_is_skipped(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    served.form("/webhook/twilio/incoming", served.inbound(phone, "¡Baja!"))
    answer = served.report(fresh(recipient={"phone_number": phone}))
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (200, "skipped", "opted_out")
    assert served.conversation(phone)["status"] == "opted_out"


def test_a_customer_who_got_an_opening_recently_is_skipped(ruled: Served) -> None:
    phone = new_phone()
    ruled.opened(phone)
    answer = ruled.report(fresh(recipient={"phone_number": phone}))
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (200, "skipped", "recent_opening")


def test_without_a_gap_a_second_call_is_followed_by_a_second_opening(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    assert served.report(fresh(recipient={"phone_number": phone})).json["status"] == "message_sent"


def test_an_empty_variable_fails_the_opening_before_it_is_sent(ruled: Served) -> None:
    answer = ruled.report(data := fresh(recipient={"status": "failed"}))
    assert (answer.status, tuple(answer.json)) == (200, (*ALL, "error_code", "error_message"))
    assert (answer.json["status"], answer.json["error_code"]) == ("message_failed", "empty_variable")
    assert answer.json["error_message"]
    assert answer.json["whatsapp_message_id"] is None
    phone = data["recipient"]["phone_number"]
    message = ruled.conversation(phone)["messages"][0]
    assert (message["status"], message["reason"], message["error_code"]) == ("failed", "empty_variable", None)
    assert ruled.twilio.accepted(phone) == []
    assert ruled.report(data).json == answer.json | {"duplicate": True}


@pytest.mark.parametrize("code", [21211, 63024])
def test_a_permanent_refusal_by_twilio_is_a_failure(served: Served, code: int) -> None:
    served.twilio.faults.next("create", Fault("F20", code=code))
    answer = served.report(data := fresh())
    assert (answer.status, answer.json["status"], answer.json["error_code"]) == (200, "message_failed", str(code))
    assert answer.json["error_message"]
    again = served.report(data)
    assert (again.status, again.json) == (200, answer.json | {"duplicate": True})


@pytest.mark.parametrize("fault", ["F5", "F9", "F11", "F13"])
def test_an_opening_with_an_unclear_result_is_queued(served: Served, fault: str) -> None:
    served.twilio.faults.next("create", Fault(fault, made=False))
    answer = served.report(data := fresh())
    assert (answer.status, tuple(answer.json), answer.json["status"]) == (202, ALL, "message_queued")
    again = served.report(data)
    assert (again.status, again.json["status"], again.json["duplicate"]) == (200, "message_queued", True)
    served.run(served.stage.relay.command("resolve", "--yes", "--cancel", str(_uncertain(served, data))))


def _uncertain(served: Served, data: Report) -> int:
    message = served.conversation(data["recipient"]["phone_number"])["messages"][0]
    assert message["status"] == "uncertain"
    return int(message["id"])


def test_an_opening_that_twilio_puts_off_or_leaves_open_is_queued_after_5_seconds(served: Served) -> None:
    served.twilio.faults.next("create", Fault("F12", retry_after="6"))
    put_off, before = fresh(), served.relay.log.count("opening_put_off")
    waiting = served.begin(served.stage.report(put_off))
    served.until(lambda: served.relay.log.count("opening_put_off") > before)
    served.twilio.faults.next("create", Fault("F8", seconds=60.0, hold=9.0))
    began, watch = time.monotonic(), Stopwatch()
    open_one = served.report(fresh())
    assert time.monotonic() - began > 4.5
    assert watch.seconds < 6.5
    for answer in (open_one, waiting.result(10)):
        assert (answer.status, answer.json["status"]) == (202, "message_queued")
        assert answer.json["whatsapp_message_id"] is None
    served.until(lambda: served.twilio.accepted(put_off["recipient"]["phone_number"]))
    served.until(lambda: served.report(put_off).json["status"] == "message_sent")


def test_in_quiet_hours_a_call_is_queued_at_once(quiet: Served) -> None:
    watch = Stopwatch()
    answer = quiet.report(data := fresh())
    assert watch.seconds < 2
    assert (answer.status, answer.json["status"], answer.json["whatsapp_message_id"]) == (202, "message_queued", None)
    assert quiet.conversation(data["recipient"]["phone_number"])["messages"][0]["status"] == "queued"


def test_while_paused_a_call_is_queued_at_once_and_sent_after(ruled: Served) -> None:
    assert ruled.run(ruled.relay.command("pause"))[0] == 0
    watch = Stopwatch()
    answer = ruled.report(data := fresh())
    assert watch.seconds < 2
    assert (answer.status, answer.json["status"]) == (202, "message_queued")
    assert ruled.call("GET", "/health").json["paused"] == "operator"
    assert ruled.run(ruled.relay.command("resume"))[0] == 0
    ruled.until(lambda: ruled.twilio.accepted(data["recipient"]["phone_number"]))


def test_a_known_call_is_answered_with_what_holds_now_and_sent_once(served: Served) -> None:
    first, again = served.report(data := fresh()), served.report(data)
    assert (again.status, again.json) == (200, first.json | {"duplicate": True})
    assert len(served.twilio.accepted(data["recipient"]["phone_number"])) == 1


def test_a_duplicate_fills_in_what_the_first_report_lacked(served: Served) -> None:
    full = fresh()
    bare = {
        "agent_id": full["agent_id"],
        "recipient": {name: full["recipient"][name] for name in ("phone_number", "status", "conversation_id")},
    }
    phone = full["recipient"]["phone_number"]
    assert served.report(bare).json["duplicate"] is False
    before: Report = served.conversation(phone)
    assert (before["client_name"], before["calls"][0]["batch_id"], before["calls"][0]["group_name"]) == (None,) * 3
    assert served.report(full).json["duplicate"] is True
    assert served.report(fresh() | bare | {"batch_name": "otra", "call_metadata": {"group_name": "Otro"}}).status == 200
    after = served.conversation(phone)
    assert after["client_name"] == "Ana García"
    call = after["calls"][0]
    assert (call["batch_id"], call["batch_name"], call["group_name"]) == (
        PAYLOAD["batch_id"],
        PAYLOAD["batch_name"],
        PAYLOAD["call_metadata"]["group_name"],
    )


def test_a_known_call_with_another_phone_is_a_conflict_and_changes_nothing(served: Served) -> None:
    bare = fresh()
    bare["call_metadata"] = {}
    other = json.loads(json.dumps(bare))
    other["recipient"]["phone_number"] = new_phone()
    other["call_metadata"] = {"client_name": "Otra", "group_name": "Otro"}
    served.report(bare)
    before = served.conversation(bare["recipient"]["phone_number"])
    data = refused(served.report(other), 409, "call_conflict")
    assert bare["recipient"]["phone_number"] not in json.dumps(data)
    served.until(lambda: served.conversation(bare["recipient"]["phone_number"])["messages"][0]["status"] == "read")
    after = served.conversation(bare["recipient"]["phone_number"])
    assert (after["client_name"], after["calls"]) == (before["client_name"], before["calls"])
    path = f"/api/conversations/{other['recipient']['phone_number']}"
    refused(served.call("GET", path), 404, "unknown_conversation")
    assert served.twilio.accepted(other["recipient"]["phone_number"]) == []


def test_20_at_once_are_one_call_and_one_opening(served: Served) -> None:
    data = fresh()
    answers = served.at_once(20, "POST", "/api/call-completed", json=data)
    assert {answer.status for answer in answers} <= {200, 202}
    assert [answer.json["duplicate"] for answer in answers].count(False) == 1
    assert len({answer.json["conversation_id"] for answer in answers}) == 1
    served.until(lambda: served.report(data).json["status"] == "message_sent")
    assert len(served.twilio.accepted(data["recipient"]["phone_number"])) == 1


def test_the_document_s_payload_is_taken_to_the_letter(served: Served) -> None:
    answer = served.post("/api/call-completed", json.dumps(PAYLOAD, ensure_ascii=False))
    assert (answer.status, answer.json["status"]) == (200, "message_sent")
    assert answer.json["elevenlabs_conversation_id"] == "conv_9601k8pjchj6fnvamdmbsvdq5ptv"


_WAYS: dict[str, Callable[[Report], Report]] = {
    "the top level": lambda data: data | {"conversation_id": data["recipient"].pop("conversation_id")},
    "both": lambda data: data | {"conversation_id": data["recipient"]["conversation_id"]},
}


@pytest.mark.parametrize("way", _WAYS)
def test_the_call_s_id_may_stand_at_the_top(served: Served, way: str) -> None:
    data = fresh()
    key = data["recipient"]["conversation_id"]
    assert served.report(_WAYS[way](data)).json["elevenlabs_conversation_id"] == key


@pytest.fixture(autouse=True)
def _no_fault_left(served: Served, tmp_path: Path) -> Iterator[None]:
    yield
    served.twilio.faults.clear()
