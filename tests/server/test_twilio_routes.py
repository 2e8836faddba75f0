"""Twilio's rightly signed webhooks: customers' messages and receipts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.server.served import Served, new_phone, new_sid, paths_of, refused, sign

INCOMING, STATUS = "/webhook/twilio/incoming", "/webhook/twilio/status"
SAMPLES = Path(__file__).parents[1] / "data" / "twilio_samples"
INBOUND = sorted(path.stem for path in SAMPLES.glob("inbound_*.json"))
RECEIPTS = sorted(path.stem for path in SAMPLES.glob("status_*.json"))


def sample(served: Served, name: str, **changes: str) -> dict[str, str]:
    """The fields of a captured request, of our account, as a message that is not known."""
    form: dict[str, str] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))["form"]
    if "MessageSid" in form:
        form |= dict.fromkeys({"MessageSid", "SmsSid", "SmsMessageSid"} & form.keys(), new_sid())
    return form | {"AccountSid": served.twilio.account_sid} | changes


def messages(served: Served, phone: str, kind: str = "customer") -> list[dict[str, Any]]:
    """The person's messages of one kind, oldest first."""
    return [message for message in served.conversation(phone)["messages"] if message["kind"] == kind]


def test_a_message_is_answered_with_an_empty_response_and_stored(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    fields = served.inbound(phone, "Sí me interesa, ¿precio? 👍🏽 ")
    answer = served.form(INCOMING, fields)
    assert (answer.status, answer.text) == (200, '<?xml version="1.0" encoding="UTF-8"?><Response/>')
    assert answer.headers["Content-Type"].startswith("text/xml")
    assert answer.headers["X-Request-Id"]
    (stored,) = messages(served, phone)
    assert (stored["content"], stored["twilio_message_id"], stored["status"], stored["direction"]) == (
        "Sí me interesa, ¿precio? 👍🏽 ",
        fields["MessageSid"],
        "received",
        "inbound",
    )


@pytest.mark.parametrize("path", ["/webhook/twilio/%69ncoming", f"{INCOMING}?source=console", INCOMING + "?"])
def test_the_webhooks_path_may_be_written_otherwise(served: Served, path: str) -> None:
    phone = new_phone()
    served.opened(phone)
    fields = served.inbound(phone, "Hola")
    body = urlencode(fields).encode()
    for signed, expected in ((path, b"200 OK"), (path + "x", b"403 Forbidden")):
        signature = sign(served.twilio.settings.auth_token, served.relay.url + signed, fields)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: relay\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\nX-Twilio-Signature: {signature}\r\nConnection: close\r\n\r\n"
        )
        assert served.raw(head.encode() + body).startswith(b"HTTP/1.1 " + expected)
    assert [message["content"] for message in messages(served, phone)] == ["Hola"]


def test_the_ready_answer_to_a_message_is_the_one_that_aiohttp_makes(served: Served) -> None:
    fields = {"From": f"whatsapp:{new_phone()}", "Body": "Hola"}
    body = urlencode(fields).encode()
    signature = sign(served.twilio.settings.auth_token, served.relay.url + INCOMING, fields)

    def parts(version: str, connection: str) -> tuple[dict[bytes, bytes], bytes]:
        head = (
            f"POST {INCOMING} {version}\r\nHost: relay\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\nX-Twilio-Signature: {signature}\r\nConnection: {connection}\r\n\r\n"
        )
        answer, _, content = served.raw(head.encode() + body).partition(b"\r\n\r\n")
        status, *lines = answer.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert status.endswith(b" 200 OK")
        assert len(headers.pop(b"X-Request-Id")) == 16
        assert headers.pop(b"Date").endswith(b" GMT")
        headers.pop(b"Connection", None)
        return headers, content

    made_by_aiohttp = [parts("HTTP/1.1", "close"), parts("HTTP/1.0", "keep-alive"), parts("HTTP/1.0", "close")]
    assert made_by_aiohttp == [parts("HTTP/1.1", "keep-alive")] * 3


def test_the_same_message_again_is_one_row(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    fields = served.inbound(phone)
    for _ in range(3):
        assert served.form(INCOMING, fields).status == 200
    assert len(messages(served, phone)) == 1


def test_the_same_message_five_times_at_once_is_one_row(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    fields = served.inbound(phone)
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: served.form(INCOMING, fields), range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert len(messages(served, phone)) == 1


def test_without_a_sid_each_is_a_message_of_its_own(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    for _ in range(2):
        assert served.form(INCOMING, {"From": f"whatsapp:{phone}", "Body": "Hola"}).status == 200
    stored = messages(served, phone)
    assert [(m["content"], m["twilio_message_id"]) for m in stored] == [("Hola", None)] * 2


@pytest.mark.parametrize("lacks", ["AccountSid", "To", "NumMedia", "MessageType", "Body"])
def test_a_field_may_be_missing(served: Served, lacks: str) -> None:
    phone = new_phone()
    served.opened(phone)
    fields = served.inbound(phone)
    del fields[lacks]
    assert served.form(INCOMING, fields).status == 200
    assert len(messages(served, phone)) == 1


@pytest.mark.parametrize(
    "sender",
    [
        *("", "whatsapp:", "+573001234567", "573001234567", "whatsapp:573001234567", "whatsapp:+0573001234567"),
        *(
            "whatsapp:+57 300 123 4567",
            "whatsapp:+573001234567\n",
            "whatsapp:  573001234567",
            "whatsapp:+٥٧٣٠٠١٢٣٤٥٦٧",
            "WhatsApp:+573001234567",
        ),
        *(
            "messenger:123456789012",
            "whatsapp:CO.",
            "whatsapp:co.1A2b",
            "whatsapp:Ana",
            "whatsapp:whatsapp:+573001234567",
        ),
    ],
)
def test_an_invalid_sender_is_named(served: Served, sender: str) -> None:
    fields = served.inbound("") | {"From": sender}
    assert paths_of(refused(served.form(INCOMING, fields), 422, "invalid_payload")) == {"From"}


def test_a_form_without_a_sender_is_refused(served: Served) -> None:
    for fields in ({}, {"Body": "Hola"}):
        assert paths_of(refused(served.form(INCOMING, fields), 422, "invalid_payload")) == {"From"}


def test_a_hidden_number_is_a_person_by_the_user_s_id(served: Served) -> None:
    assert served.form(INCOMING, served.inbound("CO.1A2b3C")).status == 200
    refused(served.call("GET", "/api/conversations/CO.1A2b3C"), 404, "unknown_conversation")


def test_a_stranger_s_message_is_taken_and_ignored(served: Served) -> None:
    phone = new_phone()
    assert served.form(INCOMING, served.inbound(phone)).status == 200
    refused(served.call("GET", f"/api/conversations/{phone}"), 404, "unknown_conversation")


@pytest.mark.parametrize(
    "text", ["x" * 4096, "e" + "\u0301" * 9000, "\u202eabc", "\x1b]52;c;eA==\a", "=cmd|' /c calc'!A1"]
)
def test_a_text_is_stored_as_it_is(served: Served, text: str) -> None:
    phone = new_phone()
    served.opened(phone)
    assert served.form(INCOMING, served.inbound(phone, text)).status == 200
    assert messages(served, phone)[0]["content"] == text


def test_an_opt_out_is_confirmed_once_and_turned_back(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    for text in ("STOP", "baja"):
        assert served.form(INCOMING, served.inbound(phone, text)).status == 200
    assert served.conversation(phone)["status"] == "opted_out"
    served.until(lambda: len(served.twilio.accepted(phone)) >= 2)
    notices = messages(served, phone, "notice")
    assert [notice["content"] for notice in notices] == [
        "Listo, no te escribiremos más. Escribe ALTA si cambias de idea."
    ]
    assert served.form(INCOMING, served.inbound(phone, "Alta")).status == 200
    assert served.conversation(phone)["status"] == "active"


@pytest.mark.parametrize("name", INBOUND)
def test_a_captured_message_is_stored_and_answered(served: Served, name: str) -> None:
    phone = new_phone()
    served.opened(phone)
    fields = sample(served, name, From=f"whatsapp:{phone}", WaId=phone[1:])
    # The id in the samples is always the same one: here it would make one person of them all.
    fields.pop("ExternalUserId", None)
    for _ in range(2):
        assert served.form(INCOMING, fields).text == '<?xml version="1.0" encoding="UTF-8"?><Response/>'
    (stored,) = messages(served, phone)
    assert stored["twilio_message_id"] == fields["MessageSid"]
    served.until(lambda: len(served.twilio.accepted(phone)) >= 2)


def test_a_captured_message_is_as_it_was_captured(served: Served) -> None:
    for name in INBOUND:
        assert served.form(INCOMING, sample(served, name)).status == 200


def test_the_fallback_request_of_a_captured_failure_is_answered(served: Served) -> None:
    fields = sample(served, "fallback_11200_from_captured_sms")
    answer = served.form(INCOMING, fields)
    assert answer.status in (200, 422)


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_captured_receipt_of_an_unknown_message_is_noted(served: Served, name: str) -> None:
    answer = served.form(STATUS, sample(served, name))
    assert (answer.status, answer.text) == (204, "")
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {}),
        ("", {"MessageSid": "SM0"}),
        ("", {"MessageStatus": "read"}),
        ("", {"MessageSid": "SM0", "MessageStatus": "read"}),
        ("", {"MessageSid": "SM0", "MessageStatus": "levitated"}),
        ("", {"MessageSid": "x" * 5000, "MessageStatus": "failed", "ErrorCode": "x" * 500}),
        ("", {"SmsSid": "SM0", "MessageStatus": "failed", "ErrorCode": "0"}),
        ("?m=999999999999", {"MessageSid": "SM0", "MessageStatus": "sent"}),
        ("?m=-1", {"MessageSid": "SM0", "MessageStatus": "sent"}),
        ("?m=99999999999999999999999", {"MessageSid": "SM0", "MessageStatus": "sent"}),
        ("?m=1;drop", {"MessageSid": "SM0", "MessageStatus": "sent"}),
        ("?n=1", {"MessageSid": "SM0", "MessageStatus": "sent"}),
        ("?m=", {"MessageSid": "SM\0", "MessageStatus": "sent\0"}),
    ],
)
def test_a_receipt_that_is_not_ours_to_know_is_noted(served: Served, query: str, fields: dict[str, str]) -> None:
    assert served.form(STATUS + query, fields).status == 204


def test_receipts_only_move_a_message_up(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    served.until(lambda: served.conversation(phone)["messages"][0]["status"] == "read")
    sid = served.twilio.accepted(phone)[0].sid
    for status in ("delivered", "sent", "queued", "failed", "read", "read"):
        shown = {"MessageSid": sid, "MessageStatus": status, "AccountSid": served.twilio.account_sid}
        assert served.form(STATUS, shown).status == 204
        assert served.conversation(phone)["messages"][0]["status"] == "read"


def test_a_receipt_with_the_id_of_another_message_changes_nothing(served: Served) -> None:
    phone = new_phone()
    served.opened(phone)
    served.until(lambda: served.conversation(phone)["messages"][0]["status"] == "read")
    before = served.conversation(phone)
    shown = {"MessageSid": new_sid(), "MessageStatus": "undelivered", "ErrorCode": "63016"}
    assert served.form(f"{STATUS}?m={before['messages'][0]['id']}", shown).status == 204
    assert served.conversation(phone) == before
