"""`X-Twilio-Signature`: what is accepted, and every known way around it."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.server.served import Served, new_phone, refused, serving, sign

INCOMING, STATUS = "/webhook/twilio/incoming", "/webhook/twilio/status"


def _nothing_came(served: Served, phone: str, before: int) -> None:
    assert served.conversation(phone)["message_count"] == before


@pytest.fixture(scope="module")
def known(served: Served) -> str:
    """A customer whose messages would be stored."""
    phone = new_phone()
    served.opened(phone)
    served.until(lambda: served.conversation(phone)["messages"][0]["status"] == "read")
    return phone


def _form(served: Served, phone: str, text: str = "Hola") -> tuple[dict[str, str], str]:
    fields = served.inbound(phone, text)
    return fields, sign(served.twilio.settings.auth_token, served.relay.url + INCOMING, fields)


@pytest.mark.parametrize("path", [INCOMING, STATUS])
def test_a_signature_of_another_shape_is_bad(served: Served, path: str, known: str) -> None:
    fields = served.inbound(known)
    right = sign(served.twilio.settings.auth_token, served.relay.url + path, fields)
    other = [None, "", "x", right[:-1], right[:-1] + "A", right + "=", right.lower(), f'"{right}"', "=" * 28]
    other += ["no base64 at all, of course", right.encode().hex(), base64.b64decode(right).hex(), f"sha1={right}"]
    other += [f"{right},{right}", right.replace("=", ""), "é" * 28, "A" * 5000]
    for signature in other:
        refused(served.form(path, fields, signature=signature), 403, "bad_signature")
    _nothing_came(served, known, 1)


def test_of_two_signatures_none_counts(served: Served, known: str) -> None:
    fields, right = _form(served, known)
    assert served.raw_form(INCOMING, fields, right, "x" * 28) == 403
    assert served.raw_form(INCOMING, fields, right, right) == 403
    _nothing_came(served, known, 1)


def test_a_signature_for_another_address_is_bad(served: Served, known: str) -> None:
    fields, _ = _form(served, known)
    port, base = served.relay.port, served.relay.url
    for url in (
        f"https://127.0.0.1:{port}{INCOMING}",
        f"http://localhost:{port}{INCOMING}",
        f"http://127.0.0.1:{port + 1}{INCOMING}",
        f"http://127.0.0.1{INCOMING}",
        f"{base}{STATUS}",
        f"{base}{INCOMING}/",
        f"{base}{INCOMING}?",
        f"{base}{INCOMING}?a=1",
        f"{base}{INCOMING}#rc=5",
        f"{base}/prefix{INCOMING}",
        f"http://evil.example{INCOMING}",
    ):
        refused(served.form(INCOMING, fields, url=url), 403, "bad_signature")
    _nothing_came(served, known, 1)


def test_the_clients_own_claims_about_the_address_are_ignored(served: Served, known: str) -> None:
    fields, _ = _form(served, known)
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Original-URL": INCOMING,
        "Forwarded": "host=evil.example;proto=https",
    }
    for url in (f"https://evil.example{INCOMING}", f"http://evil.example{INCOMING}"):
        refused(served.form(INCOMING, fields, url=url, headers=headers), 403, "bad_signature")
    assert served.form(INCOMING, served.inbound(new_phone()), headers=headers).status == 200


def test_a_query_that_was_added_or_taken_away_is_bad(served: Served, known: str) -> None:
    fields, right = _form(served, known)
    for query in ("?", "?a=1", "?m=1"):
        assert served.raw_form(INCOMING + query, fields, right) == 403
    _nothing_came(served, known, 1)
    with_query = sign(served.twilio.settings.auth_token, f"{served.relay.url}{STATUS}?m=1", fields)
    for query in ("", "?m=2", "?m=1&m=2", "?m=%31", "?m=1&"):
        assert served.raw_form(STATUS + query, fields, with_query) == 403
    assert served.raw_form(f"{STATUS}?m=1", fields, with_query) == 204


def test_a_field_that_was_added_taken_away_or_changed_is_bad(served: Served, known: str) -> None:
    fields, right = _form(served, known, " Hola ")
    for changed in (
        fields | {"Extra": ""},
        {name: value for name, value in fields.items() if name != "NumMedia"},
        fields | {"Body": "Hola"},
        fields | {"From": f"whatsapp:{new_phone()}"},
        {name.lower(): value for name, value in fields.items()},
    ):
        refused(served.form(INCOMING, changed, signature=right), 403, "bad_signature")
    _nothing_came(served, known, 1)
    blank = served.inbound(new_phone(), Blank="")
    without = {name: value for name, value in blank.items() if name != "Blank"}
    signature = sign(served.twilio.settings.auth_token, served.relay.url + INCOMING, blank)
    refused(served.form(INCOMING, without, signature=signature), 403, "bad_signature")
    assert served.form(INCOMING, blank, signature=signature).status == 200


def test_the_order_of_the_fields_says_nothing(served: Served) -> None:
    fields, right = _form(served, new_phone())
    assert served.form(INCOMING, dict(reversed(fields.items())), signature=right).status == 200


def test_a_field_that_comes_twice_is_bad_even_if_rightly_signed(served: Served, known: str) -> None:
    fields, right = _form(served, known)
    stranger = f"whatsapp:{new_phone()}"
    for twice in (
        [*fields.items(), ("From", stranger)],
        [("From", stranger), *fields.items()],
        [*fields.items(), ("Body", fields["Body"])],
        [*fields.items(), *fields.items()],
    ):
        refused(served.form(INCOMING, twice, signature=right), 403, "bad_signature")
        all_of_them = served.relay.url + INCOMING + "".join(name + value for name, value in sorted(twice))
        signature = sign(served.twilio.settings.auth_token, all_of_them, {})
        refused(served.form(INCOMING, twice, signature=signature), 403, "bad_signature")


def test_a_moved_boundary_between_two_fields_is_bad(served: Served, known: str) -> None:
    victim = new_phone()
    text = f"holaFromwhatsapp:{victim}"
    fields, right = _form(served, known, text)
    cut = [("Body", "hola"), ("From", f"whatsapp:{victim}"), *((n, v) for n, v in fields.items() if n != "Body")]
    refused(served.form(INCOMING, cut, signature=right), 403, "bad_signature")
    refused(served.call("GET", f"/api/conversations/{victim}"), 404, "unknown_conversation")


def test_json_is_not_taken_however_it_is_signed(served: Served, known: str) -> None:
    fields, _ = _form(served, known)
    body = json.dumps(fields)
    answer = served.form(INCOMING, {}, body=body, media_type="application/json")
    refused(answer, 415, "unsupported_media_type")
    for media_type in ("multipart/form-data; boundary=x", "text/plain"):
        refused(served.form(INCOMING, fields, media_type=media_type), 415, "unsupported_media_type")


def test_a_signature_over_what_was_not_decoded_is_bad(served: Served, known: str) -> None:
    fields, _ = _form(served, known, "ñ ñ")
    encoded = {name: quote(value) for name, value in fields.items()}
    signature = sign(served.twilio.settings.auth_token, served.relay.url + INCOMING, encoded)
    refused(served.form(INCOMING, fields, signature=signature), 403, "bad_signature")


def test_another_account_s_own_signature_is_bad_and_a_right_one_names_the_account(served: Served, known: str) -> None:
    fields = served.inbound(known, AccountSid="AC" + "9" * 32)
    theirs = sign("f" * 32, served.relay.url + INCOMING, fields)
    refused(served.form(INCOMING, fields, signature=theirs), 403, "bad_signature")
    refused(served.form(INCOMING, fields), 403, "wrong_account")
    refused(served.form(STATUS, fields | {"MessageStatus": "read"}), 403, "wrong_account")


def test_bytes_other_than_utf_8_are_named_once_they_are_rightly_signed(served: Served) -> None:
    raw = served.relay.url.encode() + INCOMING.encode() + b"Body\xff\xfeFromwhatsapp:+573001234567"
    signature = base64.b64encode(_mac(served, raw)).decode()
    for body in (b"Body=%FF%FE&From=whatsapp%3A%2B573001234567", b"Body=\xff\xfe&From=whatsapp%3A%2B573001234567"):
        refused(served.form(INCOMING, {}, body=body, signature=signature), 422, "invalid_payload")


def _mac(served: Served, signed: bytes) -> bytes:
    return hmac.digest(served.twilio.settings.auth_token.encode(), signed, "sha1")


def test_a_form_of_too_many_fields_is_named_once_it_is_rightly_signed(served: Served) -> None:
    fields = {f"F{index}": "" for index in range(3000)}
    refused(served.form(INCOMING, fields), 422, "invalid_payload")
    refused(served.form(INCOMING, fields, signature="x" * 28), 403, "bad_signature")


def test_signatures_stay_out_of_the_log(served: Served, known: str) -> None:
    fields, right = _form(served, known)
    served.form(f"{INCOMING}?m=secret-query", fields, signature=right)
    assert right not in served.relay.log
    assert "secret-query" not in served.relay.log
    assert "signature_refused" in served.relay.log


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon behind a proxy that takes a path off."""
    settings = {"server": {"public_url": "https://relay.example.com/wa/"}}
    with serving(tmp_path_factory.mktemp("behind"), settings) as one:
        yield one


def test_the_address_is_the_public_one_with_the_path_that_a_proxy_takes_off(behind: Served) -> None:
    fields = behind.inbound(new_phone())
    assert behind.form(INCOMING, fields, url=f"https://relay.example.com/wa{INCOMING}").status == 200
    for url in (
        f"https://relay.example.com{INCOMING}",
        f"https://relay.example.com/wa/{INCOMING}",
        f"https://relay.example.com:443/wa{INCOMING}",
        f"http://relay.example.com/wa{INCOMING}",
        behind.relay.url + INCOMING,
    ):
        refused(behind.form(INCOMING, fields, url=url), 403, "bad_signature")
    refused(behind.form("/wa" + INCOMING, fields, url=f"https://relay.example.com/wa{INCOMING}"), 404, "not_found")


def test_a_receipt_s_address_is_the_public_one_too(behind: Served) -> None:
    phone = new_phone()
    behind.opened(phone)
    callback = behind.twilio.accepted(phone)[0].callback
    assert callback.startswith("https://relay.example.com/wa/webhook/twilio/status?m=")
    query = callback.partition("?")[2].partition("#")[0]
    sid = behind.twilio.accepted(phone)[0].sid
    fields = {"MessageSid": sid, "MessageStatus": "read", "AccountSid": behind.twilio.account_sid}
    url = callback.partition("#")[0]
    assert behind.form(f"{STATUS}?{query}", fields, url=url).status == 204
    assert behind.conversation(phone)["messages"][0]["status"] == "read"
