"""ElevenLabs' post-call webhook: the signature, and what is a call."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sources.scripted import START, conversation
from wa_relay.model import BatchHint, Call, PayloadError
from wa_relay.sources.batch_outcomes import Rejection
from wa_relay.sources.postcall import Ignored, Signature, parse, verify

SECRET = "wsec_ñ"
NOW = 1_763_900_000.0
BODY = '{"type":"ñ"}'.encode()


def mac(at: str = "1763900000", body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()


def header(at: str = "1763900000") -> str:
    return f"t={at},v0={mac(at)}"


def test_their_signature_is_accepted() -> None:
    assert verify(BODY, header(), SECRET, NOW)


def test_a_body_may_be_fed_in_pieces() -> None:
    digest = Signature(header(), SECRET)
    for byte in BODY:
        digest.feed(bytes([byte]))
    assert digest.ok(NOW)
    digest.feed(b" ")
    assert not digest.ok(NOW)


@pytest.mark.parametrize(
    ("age", "ok"), [(0, True), (1800, True), (1801, False), (-1800, True), (-1801, False), (-3e8, False)]
)
def test_a_signature_holds_for_half_an_hour_either_way(age: float, ok: bool) -> None:
    assert verify(BODY, header(), SECRET, NOW + age) is ok


@pytest.mark.parametrize(
    "signed",
    [
        f"t=1763900000,v0={'0' * 64},v0={mac()}",
        f"t=1763900000, v0={mac()}",
        f" v0={mac()} , t=1763900000 ",
        f"t=1763900000,v0={mac()},v0={'0' * 64},v1=x",
    ],
)
def test_any_of_several_signatures_may_match_and_spaces_do_not_matter(signed: str) -> None:
    assert verify(BODY, signed, SECRET, NOW)


@pytest.mark.parametrize(
    "signed",
    [
        None,
        "",
        ",",
        "t=1763900000",
        f"v0={mac()}",
        f"t=1763900000,v0={mac().upper()}",
        f"t=1763900000,v0={mac()[:-1]}",
        f"t=1763900000,v0={mac()}0",
        f"t=1763900000,v0={mac(body=b'{}')}",
        f"t=1763900000,v0={mac(secret='other')}",
        f"t=1763900001,v0={mac()}",
        f"t=1763900000,t=1763900000,v0={mac()}",
        f"t=abc,v0={mac('abc')}",
        f"t=nan,v0={mac('nan')}",
        f"t=+1763900000,v0={mac('+1763900000')}",
        f"t=1763900000.0,v0={mac('1763900000.0')}",
        f"t=١٧٦٣٩٠٠٠٠٠,v0={mac('١٧٦٣٩٠٠٠٠٠')}",
        f"t={'9' * 5000},v0={mac('9' * 5000)}",
        "t=1763900000,v0=ñ",
        "t=1763900000,v0=\udcff",
    ],
)
def test_anything_else_is_refused(signed: str | None) -> None:
    assert not verify(BODY, signed, SECRET, NOW)


def test_an_empty_secret_signs_nothing() -> None:
    assert not verify(BODY, f"t=1763900000,v0={mac(secret='')}", "", NOW)


@given(st.text(), st.binary(max_size=10))
def test_no_header_makes_it_raise(signed: str, body: bytes) -> None:
    assert not verify(body, signed, SECRET, NOW)


def webhook(data: object, kind: object = "post_call_transcription", **more: Any) -> dict[str, Any]:
    return {"type": kind, "event_timestamp": START + 130, "data": data, **more}


@pytest.mark.parametrize(("status", "outcome"), [("done", "completed"), ("failed", "failed")])
def test_a_single_phone_call_is_a_call(status: str, outcome: str) -> None:
    call = parse(webhook(conversation(1, status, batch_call=None)))
    assert isinstance(call, Call)
    assert (call.key, call.phone, call.outcome, call.source) == ("conv_1", "+573138500001", outcome, "webhook")
    assert (call.ended_at, call.batch_id, call.variables) == (START + 114, None, {"plan": "Oro"})
    assert call.transcript == "Agente: Hola Ana, te llamo de Acme.\nCliente: Sí"


def test_a_call_of_a_batch_waits_for_its_batch() -> None:
    hint = parse(webhook(conversation(1)))
    assert isinstance(hint, BatchHint)
    assert (hint.batch_id, hint.recipient_id, hint.call.summary) == ("btcal_1", "rcpt_1", "Le interesa el plan.")


@pytest.mark.parametrize(
    "data",
    [
        conversation(1, phone_call=None),
        conversation(1, text_only=True),
        conversation(1, phone_call={"direction": "inbound", "external_number": "+573138539155"}),
        conversation(1, phone_call={"external_number": "+573138539155"}),
        conversation(1, "processing"),
        conversation(1, "in-progress"),
        conversation(1, "brand-new"),
    ],
)
def test_an_event_without_a_finished_outbound_phone_call_is_ignored(data: dict[str, Any]) -> None:
    assert isinstance(parse(webhook(data)), Ignored)


@pytest.mark.parametrize("number", ["anonymous", "3001112233", None])
def test_a_call_whose_number_can_not_be_used_is_rejected_with_its_ids(number: str | None) -> None:
    data = conversation(1, phone_call={"direction": "outbound", "external_number": number})
    assert parse(webhook(data)) == Rejection("number_unusable", "conv_1", "btcal_1", "rcpt_1", number)


def test_a_number_without_its_plus_is_read_as_an_international_number() -> None:
    call = parse(
        webhook(
            conversation(1, batch_call=None, phone_call={"direction": "outbound", "external_number": "573001112233"})
        )
    )
    assert isinstance(call, Call)
    assert call.phone == "+573001112233"


@pytest.mark.parametrize("kind", ["post_call_audio", "answering_machine_detection", "brand_new"])
def test_other_types_are_ignored(kind: str) -> None:
    assert isinstance(parse(webhook({"full_audio": "x"}, kind)), Ignored)


@pytest.mark.parametrize(
    "body",
    [{}, {"type": 7}, {"type": None}, webhook(None), webhook([]), webhook({}), webhook({"conversation_id": "c"})],
)
def test_a_body_that_lacks_what_its_type_has_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(PayloadError) as caught:
        parse(body)
    assert caught.value.code == "invalid_payload"


def failure(report: object, **more: Any) -> dict[str, Any]:
    data = {
        "agent_id": "agent_1",
        "conversation_id": "conv_9",
        "failure_reason": "busy",
        "metadata": {"type": "twilio", "body": report},
    }
    return webhook(data | more, "call_initiation_failure")


@pytest.mark.parametrize(
    "report",
    [
        {"To": "+573138539155", "From": "+571"},
        {"to_number": "+57 (313) 853-9155"},
        {"To": "sip:x", "to_number": "+573138539155"},
        {"To": "573138539155"},
    ],
)
def test_a_call_that_never_came_about_is_a_failed_call(report: dict[str, str]) -> None:
    call = parse(failure(report))
    assert isinstance(call, Call)
    assert (call.key, call.phone, call.outcome, call.ended_at) == ("conv_9", "+573138539155", "failed", START + 130)


@pytest.mark.parametrize(
    "report", [None, {}, "x", {"To": "client:ana"}, {"To": 57}, {"To": "3138539155"}, {"From": "+573138539155"}]
)
def test_a_failed_call_without_a_usable_number_is_rejected(report: object) -> None:
    rejection = parse(failure(report))
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.key) == ("number_unusable", "conv_9")


def test_a_failed_call_of_a_batch_waits_for_its_batch() -> None:
    metadata = {"body": {"To": "+573138539155"}, "batch_call": {"batch_call_id": "b", "batch_call_recipient_id": "r"}}
    hint = parse(failure({}, metadata=metadata))
    assert isinstance(hint, BatchHint)
    assert (hint.batch_id, hint.recipient_id) == ("b", "r")
