"""`POST /api/test-whatsapp`: one message that is part of no conversation."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.e2e.stage import Answer
from tests.server.served import Served, new_phone, paths_of, refused
from wa_relay.standins.twilio import Fault

ROUTE = "/api/test-whatsapp"


def ask(served: Served, to: object, message: object = "Test") -> Answer:
    """Asks for a test message."""
    return served.call("POST", ROUTE, json={"to": to, "message": message})


def test_a_message_is_sent_and_part_of_no_conversation(sending: Served) -> None:
    phone = new_phone()
    answer = ask(sending, phone, "Prueba ñ 👍")
    (accepted,) = sending.twilio.accepted(phone)
    assert accepted.body == "Prueba ñ 👍"
    assert (answer.status, list(answer.json)) == (200, ["success", "whatsapp_message_id", "status"])
    assert (answer.json["success"], answer.json["whatsapp_message_id"]) == (True, accepted.sid)
    assert answer.json["status"] in ("queued", "accepted", "sent")
    refused(sending.call("GET", f"/api/conversations/{phone}"), 404, "unknown_conversation")
    assert sending.call("GET", "/api/stats").json["messages"]["outbound"] == 0


def test_a_number_may_be_written_as_people_do(sending: Served) -> None:
    phone = new_phone()
    for typed in (phone, phone[1:], f"whatsapp:{phone}", f"{phone[:3]} {phone[3:6]} {phone[6:]}"):
        assert ask(sending, typed).status == 200
    assert len(sending.twilio.accepted(phone)) == 4


def test_all_that_is_wrong_is_named_at_once(sending: Served) -> None:
    bad: list[tuple[object, object]] = [
        (None, None),
        (573001234567, 5),
        ("abc", ""),
        ("+0573001234567", " \n"),
        ([], {}),
    ]
    for to, message in bad:
        assert paths_of(refused(ask(sending, to, message), 422, "invalid_payload")) == {"to", "message"}
    assert paths_of(refused(sending.call("POST", ROUTE, json={}), 422, "invalid_payload")) == {"to", "message"}
    assert paths_of(refused(ask(sending, new_phone(), "x" * 1601), 422, "invalid_payload")) == {"message"}
    assert paths_of(refused(ask(sending, new_phone(), "\u200b"), 422, "invalid_payload")) == {"message"}


def test_a_customer_who_has_opted_out_is_not_written_to(sending: Served) -> None:
    phone = new_phone()
    sending.form("/webhook/twilio/incoming", sending.inbound(phone, "STOP"))
    assert paths_of(refused(ask(sending, phone), 422, "invalid_payload")) == {"to"}
    assert sending.twilio.accepted(phone) == []


def _failed(answer: Answer) -> object:
    assert (answer.status, list(answer.json)) == (502, ["success", "error", "message", "fields", "error_code"])
    assert (answer.json["success"], answer.json["error"], answer.json["fields"]) == (False, "send_failed", [])
    assert answer.json["message"]
    assert answer.headers["X-Request-Id"]
    return answer.json["error_code"]


@pytest.mark.parametrize("code", [21211, 63016, 21617])
def test_a_message_that_twilio_refuses_has_failed_with_its_code(sending: Served, code: int) -> None:
    sending.twilio.faults.next("create", Fault("F20", code=code))
    assert _failed(ask(sending, new_phone())) == str(code)


def test_an_account_that_is_refused_has_failed_with_its_code(sending: Served) -> None:
    sending.twilio.faults.next("create", Fault("F19"))
    assert _failed(ask(sending, new_phone())) == "20003"


@pytest.mark.parametrize("fault", [Fault("F12", retry_after="60"), Fault("F12")])
def test_a_message_that_twilio_puts_off_is_not_sent(sending: Served, fault: Fault) -> None:
    sending.twilio.faults.next("create", fault)
    phone = new_phone()
    _failed(ask(sending, phone))
    assert sending.twilio.accepted(phone) == []


@pytest.mark.parametrize("fault", ["F5", "F6", "F9", "F10", "F11", "F14", "F15"])
def test_a_message_with_an_unclear_result_is_uncertain(sending: Served, fault: str) -> None:
    sending.twilio.faults.next("create", Fault(fault))
    answer = ask(sending, new_phone())
    assert (answer.status, answer.json) == (
        200,
        {"success": True, "whatsapp_message_id": None, "status": "uncertain"},
    )


def test_a_twilio_that_is_away_has_not_accepted(sending: Served, unaccepted: Future[Answer]) -> None:
    unaccepted.result(20)  # it hangs at Twilio, and going away would end it
    sending.run(sending.twilio.down())
    try:
        _failed(ask(sending, new_phone()))
    finally:
        sending.run(sending.twilio.up())


def test_nothing_of_it_is_left_waiting(sending: Served) -> None:
    shown = sending.call("GET", "/health").json
    assert (shown["queue"]["pending"], shown["queue"]["uncertain"]) == (0, 0)


def test_a_message_that_is_not_accepted_within_10_seconds_has_failed(unaccepted: Future[Answer]) -> None:
    assert _failed(unaccepted.result(20)) is None
    assert "not sent" not in unaccepted.result().json["message"], "it may be at Twilio already"
