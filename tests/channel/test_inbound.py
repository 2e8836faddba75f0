"""Twilio's webhooks: the signature, the form, a customer's message, a receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from wa_relay.channel import inbound
from wa_relay.channel.attachments import ListedFile
from wa_relay.channel.inbound import Fields, RepeatedParameter
from wa_relay.model import Attachment, Inbound, Listed, PayloadError, Receipt, Referral

SAMPLES = Path(__file__).parents[1] / "data" / "twilio_samples"
TOKEN, URL = "12345", "https://relay.example.com/webhook/twilio/incoming"
SENDER = {"From": "whatsapp:+34600111222"}


def fields_of(form: dict[str, str]) -> Fields:
    return inbound.form(urlencode(form).encode())


def sample(name: str) -> Fields:
    stored: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return fields_of(stored["form"])


def read(**form: str) -> Inbound:
    return inbound.parse_inbound(fields_of({**SENDER, **form}))


CALL = {"CallSid": "CA1234567890ABCDE", "Digits": "1234", "To": "+18005551212"}
UNICODE = {
    "MessageSid": "SM11111111111111111111111111111111",
    "SmsSid": "SM11111111111111111111111111111111",
    "SmsMessageSid": "SM11111111111111111111111111111111",
    "AccountSid": "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "From": "whatsapp:+34600111222",
    "To": "whatsapp:+14155238886",
    "Body": "Hola ñ 👍 ",
    "NumMedia": "0",
    "NumSegments": "1",
    "ProfileName": "Ana",
    "WaId": "34600111222",
    "SmsStatus": "received",
    "ApiVersion": "2010-04-01",
    "MessageType": "text",
    "ReferralNumMedia": "0",
}


@pytest.mark.parametrize(
    ("token", "url", "form", "signature"),
    [
        (
            "12345",
            "https://example.com/myapp.php?foo=1&bar=2",
            {**CALL, "Caller": "+14158675310", "From": "+14158675310"},
            "L/OH5YylLD5NRKLltdqwSvS0BnU=",
        ),
        (
            "12345",
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            {**CALL, "Caller": "+14158675309", "From": "+14158675309"},
            "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
        ),
        (
            "0123456789abcdef0123456789abcdef",
            "https://relay.example.com/twilio/inbound",
            UNICODE,
            "wViqjQ4KO8HXXdxwgzoiba2yqqY=",
        ),
    ],
)
def test_known_signatures_are_right_and_every_change_makes_them_wrong(
    token: str, url: str, form: dict[str, str], signature: str
) -> None:
    fields = fields_of(form)
    assert inbound.signature_ok(token, url, fields, signature)
    assert not inbound.signature_ok(token + "x", url, fields, signature)
    assert not inbound.signature_ok(token, url + "/", fields, signature)
    assert not inbound.signature_ok(token, url.replace("https", "http"), fields, signature)
    assert not inbound.signature_ok(token, url, dict(list(fields.items())[1:]), signature)
    assert not inbound.signature_ok(token, url, {**fields, "New": "x"}, signature)
    assert not inbound.signature_ok(token, url, fields, signature.swapcase())


@pytest.mark.parametrize("header", [None, "", "x", "ñ", "👍", "\udcff", "\x00", "=" * 10_000])
def test_a_header_without_a_signature_is_wrong_and_raises_nothing(header: str | None) -> None:
    assert not inbound.signature_ok(TOKEN, URL, fields_of(SENDER), header)


def test_without_a_token_nothing_is_rightly_signed() -> None:
    signed = RequestValidator("").compute_signature(URL, SENDER)
    assert not inbound.signature_ok("", URL, fields_of(SENDER), signed)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
VALUES = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.dictionaries(NAMES, VALUES, max_size=12), st.text("ab/?=&%20+ñ", max_size=20), NAMES)
def test_a_signature_is_what_the_official_validator_says(form: dict[str, str], tail: str, token: str) -> None:
    url = f"{URL}/{tail}"
    signature = RequestValidator(token).compute_signature(url, form)
    assert inbound.signature_ok(token, url, fields_of(form), signature)
    changed = {**form, "Body": form.get("Body", "") + "x"}
    assert not inbound.signature_ok(token, url, fields_of(changed), signature)


def test_a_parameter_that_is_given_twice_is_refused() -> None:
    with pytest.raises(RepeatedParameter):
        inbound.form(b"Body=a&From=b&Body=a")


def test_blank_values_and_outer_blanks_are_kept() -> None:
    assert inbound.form(b"Body=&A=+x+&B&C=%20") == {"Body": "", "A": " x ", "B": "", "C": " "}


PARTS = st.sampled_from(
    [
        *(b"&", b"=", b"+", b"%", b"a", b" ", b"%2B", b"%00", b"%zz", b"\x00"),
        *(b"%C3%B1", b"%C3", b"%B1", b"\xc3", b"\xb1", b"\xff", b"%EF%BF%BD", b"%ED%A0%80", "ñ\ufffd".encode()),
    ]
)


@given(st.lists(PARTS, max_size=30).map(b"".join))
@example(b"Body=\xc3%B1")
@example(b"Body=%C3\xb1&From=%EF%BF%BD")
@example(b"Body=\xc3&From=\xb1")
def test_a_form_is_read_byte_for_byte_and_refused_if_it_is_not_utf_8(body: bytes) -> None:
    pairs = [part.partition(b"=")[::2] for part in body.replace(b"+", b" ").split(b"&") if part]
    wanted = [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, value in pairs]
    if len(dict(wanted)) != len(wanted):
        with pytest.raises(RepeatedParameter):
            inbound.form(body)
        return
    fields = inbound.form(body)
    assert [(_bytes(name), _bytes(value)) for name, value in fields.items()] == wanted
    try:
        for text in (text for pair in wanted for text in pair):
            text.decode()
    except UnicodeDecodeError:
        with pytest.raises(PayloadError, match="not UTF-8"):
            inbound.require_readable(fields)
    else:
        inbound.require_readable(fields)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    try:
        fields = inbound.form(body)
        inbound.signature_ok(TOKEN, URL, fields, "x")
        inbound.parse_inbound(fields)
    except PayloadError:
        pass


@pytest.mark.parametrize(
    ("name", "text", "attachment"),
    [
        ("inbound_text", "Hola ñ 👍", None),
        ("inbound_button", None, None),
        ("inbound_reply_to", None, None),
        ("inbound_image", "", "image"),
        ("inbound_image_caption", None, "image"),
        ("inbound_voice_note", "", "audio"),
        ("inbound_document_forwarded", "", "document"),
        ("inbound_contact", "", "contact"),
        ("inbound_location", "", "location"),
        ("inbound_username_only_NOT_CAPTURED_inferred", None, None),
    ],
)
def test_real_forms_are_read(name: str, text: str | None, attachment: str | None) -> None:
    fields = sample(name)
    found = inbound.parse_inbound(fields)
    assert (found.attachment.type if found.attachment else None) == attachment
    assert found.text == (dict(fields)["Body"] if text is None else text)
    assert text is not None or found.text.strip()
    assert found.sid == dict(fields)["MessageSid"]
    assert found.phone == dict(fields)["From"].removeprefix("whatsapp:")
    assert found.opt_out is None


ME = "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000001/Messages/{0}/Media/ME{1}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inbound_text", {"text": "Hola ñ 👍"}),
        ("inbound_button", {"text": "Confirmar", "tapped": True, "replied_to": "MM" + "e" * 32}),
        ("inbound_reply_to", {"text": "sí", "replied_to": "SM" + "f" * 32}),
        ("inbound_image", {"attachment": ("image", "image/jpeg", 4)}),
        ("inbound_image_caption", {"text": "Mira esta foto", "attachment": ("image", "image/jpeg", 3)}),
        ("inbound_voice_note", {"attachment": ("audio", "audio/ogg", 5)}),
        ("inbound_document_forwarded", {"attachment": ("document", "application/pdf", 6, "factura_2026.pdf")}),
        ("inbound_contact", {"attachment": ("contact", "text/vcard", 8)}),
        ("inbound_location", {"attachment": Attachment("location", latitude=40.4168, longitude=-3.7038)}),
        ("inbound_username_only_NOT_CAPTURED_inferred", {"text": "Hola, escribo sin número"}),
    ],
)
def test_each_form_that_was_captured_has_its_meaning(name: str, expected: dict[str, Any]) -> None:
    found = inbound.parse_inbound(sample(name))
    attachment = expected.get("attachment")
    if isinstance(attachment, tuple):
        kind, content_type, number, *document = attachment
        url = ME.format(f"MM{number:032}", f"{number:032}")
        attachment = Attachment(kind, content_type, url, document[0] if document else None)
    assert (found.text, found.attachment) == (expected.get("text", ""), attachment)
    assert (found.tapped, found.replied_to) == (expected.get("tapped", False), expected.get("replied_to"))
    assert found.referral is None


def test_a_list_choice_an_advertisement_and_a_place_with_its_label_are_read() -> None:
    choice = read(Body="x", ListId="2", ListTitle="Plan Básico")
    assert (choice.text, choice.tapped) == ("Plan Básico", True)
    advertised = read(
        Body="hola", ReferralHeadline="Oferta", ReferralBody="Dos meses", ReferralSourceUrl="https://fb.me/x"
    )
    assert advertised.referral == Referral("Oferta", "Dos meses", "https://fb.me/x")
    place = read(
        Body="", MessageType="location", Latitude="4.6", Longitude="-74.1", Label="Oficina", Address="Calle\n100"
    )
    assert place.attachment == Attachment(
        "location", latitude=4.6, longitude=-74.1, label="Oficina", address="Calle 100"
    )


@pytest.mark.parametrize(("latitude", "longitude"), [("x", "1"), ("91", "1"), ("1", "181"), ("nan", "1"), ("1", "inf")])
def test_a_place_without_usable_coordinates_is_not_refused(latitude: str, longitude: str) -> None:
    found = read(Body="", MessageType="location", Latitude=latitude, Longitude=longitude).attachment
    assert found == Attachment("location")


def test_a_listed_documents_body_is_its_name() -> None:
    listed = Listed("MM1", "inbound", "+14155238886", "+34600111222", "factura.pdf", "received", 1.0, num_media=1)
    found = inbound.listed_inbound(listed, [ListedFile("application/pdf", "https://x/ME1")])
    assert (found.text, found.attachment) == (
        "",
        Attachment("document", "application/pdf", "https://x/ME1", "factura.pdf"),
    )


def test_a_form_shows_its_sender_and_its_content() -> None:
    found = inbound.parse_inbound(sample("inbound_text"))
    assert (found.phone, found.user_id) == ("+34600111222", "ES.1000000000000001")
    assert (found.profile_name, found.written_at) == ("Ana Prueba", None)
    assert inbound.account_of(sample("inbound_text")) == "AC00000000000000000000000000000001"
    assert inbound.account_of({}) is None


@pytest.mark.parametrize(
    "sender", ["", "+34600111222", "whatsapp:", "whatsapp:Ana", "sms:+34600111222", "whatsapp:+34"]
)
def test_a_form_without_a_sender_is_refused_with_the_field(sender: str) -> None:
    with pytest.raises(PayloadError) as refused:
        read(From=sender)
    assert refused.value.code == "invalid_payload"
    assert [path for path, _ in refused.value.fields] == ["From"]
    with pytest.raises(PayloadError):
        inbound.parse_inbound({})


@pytest.mark.parametrize(
    ("form", "text", "attachment"),
    [
        ({"Body": "Sí", "ButtonText": "Sí", "MessageType": "button"}, "Sí", None),
        ({"Body": "", "ButtonText": "Sí"}, "Sí", None),
        ({"Body": " ", "ListTitle": "Mañana"}, "Mañana", None),
        ({"Body": " Hola \n"}, " Hola \n", None),
        ({"Body": "a\x00b"}, "ab", None),
        ({"Body": ""}, "", "other"),
        ({}, "", "other"),
        ({"Body": "", "NumMedia": "1", "MediaContentType0": "video/mp4"}, "", "video"),
        ({"Body": "mira", "NumMedia": "1", "MediaContentType0": "image/webp"}, "mira", "image"),
        ({"Body": "", "NumMedia": "1", "MediaContentType0": "text/vcard"}, "", "contact"),
        ({"Body": "x.pdf", "NumMedia": "1", "MediaContentType0": "application/pdf"}, "", "document"),
        ({"Body": "", "NumMedia": "1"}, "", "other"),
        ({"Body": "Hola", "NumMedia": "x"}, "Hola", None),
        ({"Body": "Hola", "NumMedia": "٣"}, "Hola", None),
        ({"Body": "Hola", "NumMedia": "9" * 5000}, "Hola", "other"),
        ({"Body": "", "Latitude": "4.6", "Longitude": "-74.1"}, "", "location"),
        ({"Body": "👍", "MessageType": "reaction"}, "👍", "reaction"),
        ({"Body": "Hola", "MessageType": "something_new"}, "Hola", None),
    ],
)
def test_captions_and_buttons_are_text_and_the_rest_is_named(
    form: dict[str, str], text: str, attachment: str | None
) -> None:
    found = read(**form)
    assert (found.text, found.attachment.type if found.attachment else None) == (text, attachment)


@pytest.mark.parametrize(
    ("value", "kind"), [("STOP", "STOP"), ("start", "START"), ("Help", "HELP"), ("", None), ("OTHER", None)]
)
def test_twilios_own_opt_out_is_read(value: str, kind: str | None) -> None:
    assert read(Body="stop", OptOutType=value).opt_out == kind


def test_a_bad_user_id_does_not_reject_the_message() -> None:
    assert read(Body="x", ExternalUserId="whatsapp:es.1").user_id is None


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("status_sent", "sent", None),
        ("status_delivered", "delivered", None),
        ("status_read", "read", None),
        ("status_undelivered_63016_NOT_CAPTURED_from_docs", "undelivered", "63016"),
    ],
)
def test_real_receipts_are_read(name: str, status: str, code: str | None) -> None:
    found = inbound.parse_receipt(sample(name), "m=42")
    assert found is not None
    assert (found.status, found.error_code, found.message_id) == (status, code, 42)
    assert found.sid == dict(sample(name))["MessageSid"]


@pytest.mark.parametrize(
    ("query", "own"),
    [
        *(("m=7", 7), ("x=1&m=7&y", 7)),
        *((query, None) for query in ("", "m=", "m=x", "m=-1", "m=٣", "m=" + "9" * 19, "m=1;2", "n=7")),
    ],
)
def test_our_own_id_is_the_querys(query: str, own: int | None) -> None:
    form = fields_of({"MessageSid": "SM1", "MessageStatus": "Delivered"})
    assert inbound.parse_receipt(form, query) == Receipt("SM1", "delivered", own)


def test_a_form_without_a_status_is_not_a_receipt() -> None:
    assert inbound.parse_receipt(fields_of({"MessageSid": "SM1"}), "m=7") is None
    assert inbound.parse_receipt(fields_of({"MessageStatus": "sent"}), "m=7") is None


def test_an_error_code_may_be_a_word() -> None:
    form = {"SmsSid": "SM1", "MessageStatus": "failed", "ErrorCode": "InvalidSandboxRequest"}
    assert inbound.parse_receipt(fields_of(form), "") == Receipt("SM1", "failed", None, "InvalidSandboxRequest")


def test_a_listed_message_has_its_time_and_less_of_its_content() -> None:
    listed = Listed("SM1", "inbound", "+14155238886", "+34600111222", "Ho\x00la", "received", 1764000000.0)
    expected = Inbound("SM1", "+34600111222", "Hola", written_at=1764000000.0, to="+14155238886")
    assert inbound.listed_inbound(listed) == expected
    picture = Listed("MM1", "inbound", "+14155238886", "+34600111222", "mira", "received", 1.0, num_media=1)
    assert inbound.listed_inbound(picture).attachment == Attachment("other")


@pytest.mark.parametrize(
    ("base", "path", "whole"),
    [
        ("https://x.co", "/webhook?m=1", "https://x.co/webhook?m=1"),
        ("https://x.co/", "/webhook", "https://x.co/webhook"),
        ("https://x.co/relay", "/webhook?a=%20+", "https://x.co/relay/webhook?a=%20+"),
    ],
)
def test_the_address_that_is_signed_is_the_public_one(base: str, path: str, whole: str) -> None:
    assert inbound.public_url_of(base, path) == whole


def test_a_form_shows_to_which_number_it_was_written_and_the_whatsapp_id() -> None:
    found = read(Body="x", To="whatsapp:+14155550123", WaId="34600111222")
    assert (found.to, found.wa_id) == ("+14155550123", "+34600111222")


def test_a_form_may_lack_its_receiver_and_the_whatsapp_id() -> None:
    found = read(Body="x", To="", WaId="")
    assert (found.to, found.wa_id) == (None, None)
