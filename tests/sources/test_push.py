"""The backend's report of a finished call."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from wa_relay.model import Call, PayloadError
from wa_relay.sources.push import NotFinished, parse

NOW = 1_763_900_000.0
PAYLOAD: dict[str, Any] = {
    "batch_id": "btcal_9201k8pjch8teq3t428mqt82xe3d",
    "agent_id": "agent_4701k8fcsvhaes5s1h6tw894g98s",
    "agent_name": "Agente Admin - test ana 4",
    "phone_number_id": "phnum_1401k8gyww19evptjqeqnm8hs3x5",
    "batch_name": "Llamada test ana 4 - 28/10/2025",
    "recipient": {
        "id": "rcpt_1901k8pjch8ve1c9v4d3jbmqamtn",
        "phone_number": "+573138539155",
        "status": "completed",
        "conversation_id": "conv_9601k8pjchj6fnvamdmbsvdq5ptv",
        "created_at_unix": 1761694074,
        "updated_at_unix": 1761694074,
        "variables": {},
    },
    "call_metadata": {"client_name": "Ana García", "client_id": 42, "group_id": 5, "group_name": "Campaña Octubre"},
}
GONE = object()


def payload(**changes: object) -> dict[str, Any]:
    """The document's payload with changes by path (`recipient__status`); GONE takes a field out."""
    content = copy.deepcopy(PAYLOAD)
    for path, value in changes.items():
        *outer, name = path.split("__")
        place = content
        for step in outer:
            place = place[step]
        if value is GONE:
            place.pop(name, None)
        else:
            place[name] = value
    return content


def parsed(content: Mapping[str, Any]) -> Call:
    report = parse(content, NOW, "raw")
    assert isinstance(report, Call)
    return report


def problems(content: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(PayloadError) as caught:
        parse(content, NOW, "raw")
    assert caught.value.code == "invalid_payload"
    return dict(caught.value.fields)


def test_the_documents_payload_is_a_call_that_ends_as_it_arrives() -> None:
    assert parsed(PAYLOAD) == Call(
        key="conv_9601k8pjchj6fnvamdmbsvdq5ptv",
        phone="+573138539155",
        agent_id="agent_4701k8fcsvhaes5s1h6tw894g98s",
        outcome="completed",
        source="push",
        ended_at=NOW,
        agent_name="Agente Admin - test ana 4",
        batch_id="btcal_9201k8pjch8teq3t428mqt82xe3d",
        batch_name="Llamada test ana 4 - 28/10/2025",
        recipient_id="rcpt_1901k8pjch8ve1c9v4d3jbmqamtn",
        client_name="Ana García",
        client_id="42",
        group_id="5",
        group_name="Campaña Octubre",
        raw="raw",
    )


@pytest.mark.parametrize("metadata", [GONE, None, {}, {"client_name": None, "client_id": None}])
def test_call_metadata_and_all_in_it_may_be_missing(metadata: object) -> None:
    call = parsed(payload(call_metadata=metadata))
    assert (call.client_name, call.client_id, call.group_id, call.group_name) == (None, None, None, None)


def test_only_four_things_are_required() -> None:
    call = parsed(
        {"agent_id": "a", "conversation_id": "c", "recipient": {"phone_number": "+573138539155", "status": "failed"}}
    )
    assert (call.key, call.outcome, call.batch_id) == ("c", "failed", None)


def test_every_problem_is_listed_at_once() -> None:
    found = problems(
        payload(agent_id=7, recipient__phone_number="300", recipient__status=None, batch_name=[], ended_at_unix=5)
    )
    assert set(found) == {"agent_id", "recipient.phone_number", "recipient.status", "batch_name", "ended_at_unix"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("agent_id", GONE),
        ("agent_id", ""),
        ("agent_id", None),
        ("agent_id", "a b"),
        ("agent_id", "a" * 256),
        ("recipient", GONE),
        ("recipient", None),
        ("recipient", []),
        ("recipient__phone_number", GONE),
        ("recipient__status", GONE),
        ("recipient__status", " "),
        ("recipient__status", 5),
        ("recipient__conversation_id", GONE),
        ("recipient__conversation_id", ""),
        ("recipient__conversation_id", 7),
        ("recipient__conversation_id", "conv\n"),
        ("recipient__conversation_id", "c" * 256),
        ("recipient__id", 9),
        ("recipient__variables", []),
        ("batch_id", 5),
        ("call_metadata", "x"),
        ("call_metadata__client_name", 7),
        ("call_metadata__client_id", True),
        ("call_metadata__group_id", {}),
        ("ended_at_unix", "1763900000"),
        ("ended_at_unix", True),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(path: str, value: object) -> None:
    assert path.replace("__", ".") in problems(payload(**{path: value}))


@pytest.mark.parametrize(
    "phone",
    [
        "3001234567",
        "+57 300 123 4567",
        "+5730012345678901",
        "+٣٠٠١٢٣٤٥٦٧",
        "+573001234567\n",
        "+0573001234",
        "+1234567",
        "",
        57300,
    ],
)
def test_a_phone_must_be_e164(phone: object) -> None:
    assert "E.164" in problems(payload(recipient__phone_number=phone))["recipient.phone_number"]


@pytest.mark.parametrize("phone", ["+12345678", "+123456789012345"])
def test_eight_to_fifteen_digits_are_a_phone(phone: str) -> None:
    assert parsed(payload(recipient__phone_number=phone)).phone == phone


@pytest.mark.parametrize("ended_at", [1_577_836_799, NOW + 301, NOW * 1000, 0, -1, 10**30])
def test_an_end_outside_all_reason_is_refused(ended_at: float) -> None:
    assert set(problems(payload(ended_at_unix=ended_at))) == {"ended_at_unix"}


@pytest.mark.parametrize("ended_at", [1_577_836_800, NOW - 3 * 86400, NOW + 300])
def test_a_reported_end_counts(ended_at: float) -> None:
    assert parsed(payload(ended_at_unix=ended_at)).ended_at == ended_at


def test_updated_at_says_nothing_about_the_end() -> None:
    assert parsed(payload(recipient__updated_at_unix=1, ended_at_unix=None)).ended_at == NOW


def test_the_conversation_may_stand_beside_the_recipient_but_not_contradict_it() -> None:
    assert parsed(payload(recipient__conversation_id=GONE, conversation_id="conv_2")).key == "conv_2"
    assert parsed(payload(recipient__conversation_id=None, conversation_id="conv_2")).key == "conv_2"
    assert (
        parsed(payload(conversation_id=PAYLOAD["recipient"]["conversation_id"])).key
        == PAYLOAD["recipient"]["conversation_id"]
    )
    assert set(problems(payload(conversation_id="conv_2"))) == {"conversation_id"}


@pytest.mark.parametrize("status", ["completed", "voicemail", "failed", "cancelled"])
def test_a_final_status_is_the_outcome(status: str) -> None:
    assert parsed(payload(recipient__status=status)).outcome == status


@pytest.mark.parametrize("status", ["pending", "in_progress", "dispatched", "initiated", "brand_new", "Completed"])
def test_any_other_status_is_a_call_that_is_not_over(status: str) -> None:
    assert parse(payload(recipient__status=status), NOW, "raw") == NotFinished(PAYLOAD["recipient"]["conversation_id"])


def test_every_variable_is_kept_as_a_scalar() -> None:
    given = {"plan": "Oro", "n": 3, "ok": True, "gone": None, "deep": {"a": 1}, "system__x": "y"}
    kept = {"plan": "Oro", "n": 3, "ok": True, "gone": "", "deep": '{"a": 1}'}
    assert parsed(payload(recipient__variables=given)).variables == kept


def test_unknown_fields_are_allowed() -> None:
    assert parsed(payload(recipient__new="x", brand_new={"a": [1]})).key


def test_ids_of_the_backend_may_be_numbers_or_texts() -> None:
    call = parsed(payload(call_metadata__client_id="C-42", call_metadata__group_id=5.5))
    assert (call.client_id, call.group_id) == ("C-42", "5.5")


def test_a_fault_never_repeats_what_was_sent() -> None:
    with pytest.raises(PayloadError) as caught:
        parse(payload(recipient__phone_number="secret-number", agent_id={"secret": 1}), NOW, "raw")
    assert "secret" not in str(caught.value.fields) + caught.value.message
