"""The checks of a request, in order: token, size, media type, signature, JSON, fields."""

from __future__ import annotations

import codecs
import json

import pytest

from tests.e2e.stage import PAYLOAD, TOKEN
from tests.server.served import FORM, Served, body_of, head_of, new_key, new_phone, paths_of, refused, status_of

MIB, KIB = 1024 * 1024, 1024
TOKENED = [
    ("POST", "/api/call-completed"),
    ("POST", "/api/test-whatsapp"),
    ("GET", "/api/conversations/+573001234567"),
    ("GET", "/api/stats"),
]
WITH_JSON = ["/api/call-completed", "/api/test-whatsapp"]
OF_TWILIO = ["/webhook/twilio/incoming", "/webhook/twilio/status"]


@pytest.mark.parametrize(("method", "path"), TOKENED)
def test_a_token_that_is_missing_or_wrong_gets_the_same_answer(served: Served, method: str, path: str) -> None:
    given: list[dict[str, str]] = [
        {},
        {"X-Service-Token": ""},
        {"X-Service-Token": "wrong"},
        {"X-Service-Token": TOKEN.upper()},
        {"X-Service-Token": TOKEN + "x"},
        {"X-Service-Token": TOKEN[:-1]},
        {"X-Service-Token": TOKEN + "é"},
        {"X-Service-Token": f"Bearer {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}"},
    ]
    answers = [served.call(method, path, token=None, headers=headers) for headers in given]
    for answer in answers:
        refused(answer, 401, "unauthorized")
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize("value", [b"\xe9", TOKEN.encode() + b"\xc3\xa9", TOKEN.encode() + b"\xff", b"\xed\xa0\x80"])
def test_a_token_of_other_bytes_is_wrong(served: Served, value: bytes) -> None:
    answer = served.raw(b"GET /api/stats HTTP/1.1\r\nHost: relay\r\nX-Service-Token: " + value + b"\r\n\r\n")
    assert (status_of(answer), body_of(answer)["error"]) == (401, "unauthorized")


def test_of_two_tokens_none_counts(served: Served) -> None:
    token = TOKEN.encode()
    head = b"GET /api/stats HTTP/1.1\r\nHost: relay\r\nX-Service-Token: " + token
    answer = served.raw(head + b"\r\nX-Service-Token: " + token + b"\r\n\r\n")
    assert (status_of(answer), body_of(answer)["error"]) == (401, "unauthorized")


def test_the_token_comes_before_the_size(served: Served) -> None:
    answer = served.raw(head_of("/api/call-completed", token=None, Content_Length=2 * MIB))
    assert status_of(answer) == 401


def test_the_size_comes_before_the_media_type(served: Served) -> None:
    for path in WITH_JSON:
        answer = served.raw(head_of(path, Content_Type="text/plain", Content_Length=MIB + 1))
        assert (status_of(answer), body_of(answer)["error"]) == (413, "too_large")
    body = b"%x\r\n" % (MIB + 1) + b"x" * (MIB + 1) + b"\r\n0\r\n\r\n"
    head = head_of("/api/call-completed", Content_Type="text/plain", Transfer_Encoding="chunked")
    assert status_of(served.raw(head + body)) == 413


@pytest.mark.parametrize("path", OF_TWILIO)
def test_the_media_type_comes_before_the_signature(served: Served, path: str) -> None:
    answer = served.form(path, {"A": "b"}, signature=None, media_type="application/json")
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", OF_TWILIO)
def test_the_size_comes_before_the_signature(served: Served, path: str) -> None:
    refused(served.form(path, {}, signature=None, body="A=" + "x" * 64 * KIB), 413, "too_large")
    refused(served.form(path, {}, signature=None, body="A=" + "x" * (64 * KIB - 2)), 403, "bad_signature")


@pytest.mark.parametrize("body", ["Body=%FF", "Body=\xff".encode("latin-1"), "A=1&" * 500, "From=nobody", "", "&&&="])
@pytest.mark.parametrize("path", OF_TWILIO)
def test_the_signature_comes_before_the_fields(served: Served, path: str, body: str | bytes) -> None:
    refused(served.form(path, {}, signature="A" * 27 + "=", body=body), 403, "bad_signature")
    refused(served.form(path, {}, signature=None, body=body), 403, "bad_signature")


@pytest.mark.parametrize("path", WITH_JSON)
def test_json_comes_before_the_fields(served: Served, path: str) -> None:
    refused(served.post(path, '{"to": 7, "to": 8}'), 400, "invalid_json")
    refused(served.post(path, "{}"), 422, "invalid_payload")


@pytest.mark.parametrize("path", WITH_JSON)
def test_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_too_large(served: Served, path: str) -> None:
    frame = len('{"x": ""}')
    refused(served.post(path, '{"x": "' + "y" * (MIB - frame) + '"}'), 422, "invalid_payload")
    refused(served.post(path, '{"x": "' + "y" * (MIB - frame + 1) + '"}'), 413, "too_large")


@pytest.mark.parametrize(("path", "limit"), [("/api/call-completed", MIB), ("/webhook/twilio/incoming", 64 * KIB)])
def test_a_body_of_no_announced_length_is_refused_while_it_streams(served: Served, path: str, limit: int) -> None:
    media_type = "application/json" if path.startswith("/api") else FORM
    head = head_of(path, Content_Type=media_type, Transfer_Encoding="chunked")
    # More is announced than ever comes: the answer does not wait for the end.
    answer = served.raw(head + b"%x\r\n" % (limit * 2) + b"x" * (limit + 1))
    assert (status_of(answer), body_of(answer)["error"]) == (413, "too_large")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "multipart/form-data; boundary=x", FORM, "application/jsonx", "application/xml"]
)
@pytest.mark.parametrize("path", WITH_JSON)
def test_another_media_type_than_json_is_not_taken(served: Served, path: str, media_type: str) -> None:
    sent = refused(served.post(path, json.dumps(PAYLOAD), media_type), 415, "unsupported_media_type")
    assert "application/json" in sent["message"]


def test_a_body_without_a_media_type_is_not_taken(served: Served) -> None:
    answer = served.raw(head_of("/api/call-completed", Content_Length=2) + b"{}")
    assert (status_of(answer), body_of(answer)["error"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
def test_a_media_type_may_have_parameters_and_capitals(served: Served, media_type: str) -> None:
    refused(served.post("/api/call-completed", "{}", media_type), 422, "invalid_payload")


def test_a_packed_body_is_not_taken(served: Served) -> None:
    answer = served.post("/api/call-completed", "{}", Content_Encoding="gzip")
    refused(answer, 415, "unsupported_media_type")


NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \n",
    "null": b"null",
    "array": b"[]",
    "text": b'"x"',
    "number": b"123",
    "cut": b'{"a": 1',
    "two": b"{} {}",
    "single quotes": b"{'a': 1}",
    "comma": b'{"a": 1,}',
    "duplicate": b'{"agent_id": "a", "agent_id": "b"}',
    "duplicate within": b'{"recipient": {"phone_number": "+573001234567", "phone_number": "+573001234568"}}',
    "duplicate by escape": b'{"agent_id": "a", "agent\\u005fid": "b"}',
    "NaN": b'{"ended_at_unix": NaN}',
    "Infinity": b'{"ended_at_unix": Infinity}',
    "-Infinity": b'{"x": [-Infinity]}',
    "1e999": b'{"ended_at_unix": 1e999}',
    "5,000 digits": b'{"x": ' + b"9" * 5000 + b"}",
    "100,000 deep": b"[" * 100_000,
    "100,000 deep within": b'{"a": ' * 100_000,
    "1,000 deep and whole": b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "not UTF-8": b'{"x": "\xff"}',
    "overlong": b'{"x": "\xc0\xaf"}',
    "Latin-1": '{"x": "ñ"}'.encode("latin-1"),
    "UTF-16 with mark": codecs.BOM_UTF16_LE + '{"x": 1}'.encode("utf-16-le"),
    "UTF-16": '{"x": 1}'.encode("utf-16-le"),
    "UTF-32": '{"x": 1}'.encode("utf-32"),
    "surrogate": b'{"x": "\\ud800"}',
    "surrogate as a key": b'{"\\udfff": 1}',
    "encoded surrogate": b'{"x": "\xed\xa0\x80"}',
    "NUL": b'{"x": "\x00"}',
    "control": b'{"x": "\n"}',
}


@pytest.mark.parametrize("path", WITH_JSON)
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_anything_but_a_json_object_is_refused(served: Served, path: str, body: bytes) -> None:
    refused(served.post(path, body), 400, "invalid_json")


def test_the_place_of_an_invalid_number_is_named(served: Served) -> None:
    sent = refused(served.post("/api/call-completed", '{"recipient": {"n": [1, NaN]}}'), 400, "invalid_json")
    assert paths_of(sent) == {"recipient.n.1"}
    sent = refused(served.post("/api/call-completed", '{"phone": 1, "phone": 2}'), 400, "invalid_json")
    assert 'duplicate key "phone"' in sent["message"]


def test_a_byte_order_mark_of_utf_8_is_taken(served: Served) -> None:
    sent = json.loads(json.dumps(PAYLOAD))
    sent["recipient"] |= {"conversation_id": new_key(), "phone_number": new_phone()}
    answer = served.post("/api/call-completed", codecs.BOM_UTF8 + json.dumps(sent).encode())
    assert (answer.status, answer.json["status"]) == (200, "message_sent")


def test_a_nul_in_a_name_is_taken_out(served: Served) -> None:
    sent = json.loads(json.dumps(PAYLOAD))
    sent["recipient"] |= {"conversation_id": new_key(), "phone_number": new_phone()}
    sent["call_metadata"]["client_name"] = "An\0a"
    assert served.report(sent).status == 200
    assert served.conversation(sent["recipient"]["phone_number"])["client_name"] == "Ana"
