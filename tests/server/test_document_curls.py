"""The commands of the users' own document, to the letter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.stage import TOKEN, payload
from tests.server.served import FORM, Served, body_of, head_of, new_key, refused, serving, sign, status_of

ANA = "+573138539155"
INCOMING = "/webhook/twilio/incoming"
AS_CURL_SENDS_IT = "From=whatsapp:+573138539155&Body=Hola"
"""`curl -d` escapes nothing, and a plus stands for a space in a form."""


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that asks Twilio for no signature, as one may on loopback."""
    with serving(tmp_path_factory.mktemp("trusting"), {"twilio": {"verify_signature": False}}) as one:
        yield one


def test_health(served: Served) -> None:
    assert status_of(served.raw(head_of("/health", "GET", token=None))) == 200


def test_a_test_message(served: Served) -> None:
    body = b'{"to": "+573138539155", "message": "Test"}'
    head: dict[str, Any] = {"Content_Type": "application/json", "Content_Length": len(body)}
    assert status_of(served.raw(head_of("/api/test-whatsapp", token=None, **head) + body)) == 401
    answer = served.raw(head_of("/api/test-whatsapp", token=TOKEN, **head) + body)
    assert (status_of(answer), list(body_of(answer))) == (200, ["success", "whatsapp_message_id", "status"])


def test_a_customer_s_message_unsigned_is_refused(served: Served) -> None:
    answer = served.form(INCOMING, {}, body=AS_CURL_SENDS_IT, signature=None)
    refused(answer, 403, "bad_signature")


def test_a_customer_s_message_signed_is_answered_by_the_agent(trusting: Served, served: Served) -> None:
    for one, signature in ((trusting, None), (served, _signed(served))):
        one.report(payload(new_key(), ANA))
        before = len(one.twilio.accepted(ANA))
        answer = one.form(INCOMING, {}, body=AS_CURL_SENDS_IT, signature=signature, media_type=FORM)
        assert (answer.status, answer.text) == (200, '<?xml version="1.0" encoding="UTF-8"?><Response/>')
        one.until(lambda one=one, before=before: len(one.twilio.accepted(ANA)) > before)  # type: ignore[misc]
        stored = [m for m in one.conversation(ANA)["messages"] if m["kind"] == "customer"]
        assert (stored[-1]["content"], stored[-1]["twilio_message_id"]) == ("Hola", None)


def _signed(served: Served) -> str:
    read = {"From": "whatsapp: 573138539155", "Body": "Hola"}
    return sign(served.twilio.settings.auth_token, served.relay.url + INCOMING, read)


def test_without_signatures_the_fields_are_checked_all_the_same(trusting: Served) -> None:
    refused(trusting.form(INCOMING, {}, body="Body=Hola", signature=None), 422, "invalid_payload")
    twice = "From=whatsapp:%2B573138539155&From=whatsapp:%2B573001234567"
    refused(trusting.form(INCOMING, {}, body=twice, signature=None), 403, "bad_signature")
    other = f"From=whatsapp:%2B573138539155&AccountSid=AC{'9' * 32}"
    refused(trusting.form(INCOMING, {}, body=other, signature=None), 403, "wrong_account")
    refused(trusting.form(INCOMING, {}, body=b"Body=%FF", signature=None), 422, "invalid_payload")
