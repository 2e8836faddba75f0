"""`POST /webhook/elevenlabs/post-call`: the signature, audio that is dropped, and the calls it reports."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import AGENT, payload
from tests.server.served import (
    FORM,
    SECRET,
    Served,
    body_of,
    head_of,
    new_key,
    new_phone,
    paths_of,
    refused,
    sign_webhook,
    status_of,
)
from wa_relay.standins.elevenlabs import Recipient

ROUTE = "/webhook/elevenlabs/post-call"
MIB = 1024 * 1024
PING = b'{"type": "ping", "data": {}}'


def conversation(phone: str, key: str, **changes: Any) -> dict[str, Any]:
    """A finished phone call as ElevenLabs reports it."""
    metadata = {
        "start_time_unix_secs": int(time.time()) - 30,
        "call_duration_secs": 31,
        "text_only": False,
        "phone_call": {"direction": "outbound", "external_number": phone, "type": "twilio"},
        "batch_call": None,
    } | changes.pop("metadata", {})
    return {
        "agent_id": AGENT.agent_id,
        "conversation_id": key,
        "status": "done",
        "transcript": [{"role": "agent", "message": "Hola"}],
        "analysis": {"transcript_summary": "Le interesa."},
        "conversation_initiation_client_data": {"dynamic_variables": {"customer_name": "Ana"}},
        "metadata": metadata,
    } | changes


def event(kind: str, data: object, **more: object) -> bytes:
    """A webhook's body."""
    return json.dumps({"type": kind, "event_timestamp": int(time.time()), "data": data} | more).encode()


def transcription(phone: str, key: str, **changes: Any) -> bytes:
    """The body of the webhook that reports a conversation."""
    return event("post_call_transcription", conversation(phone, key, **changes))


def test_a_right_signature_is_taken(served: Served) -> None:
    answer = served.webhook(PING)
    assert (answer.status, answer.json) == (200, {"success": True})
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize("offset", [-1790, 1790, 0])
def test_a_signature_of_half_an_hour_either_way_is_taken(served: Served, offset: int) -> None:
    assert served.webhook(PING, at=time.time() + offset).status == 200


@pytest.mark.parametrize("offset", [-1860, 1860, -86400 * 3650, 86400 * 3650])
def test_an_older_or_later_signature_is_bad(served: Served, offset: int) -> None:
    refused(served.webhook(PING, at=time.time() + offset), 403, "bad_signature")


@pytest.mark.parametrize("moment", ["abc", "nan", "inf", "-inf", "", "1e9", "٣", "9" * 40, "-1", "0x10"])
def test_an_invalid_time_is_refused(served: Served, moment: str) -> None:
    refused(served.webhook(PING, signature=sign_webhook(PING, moment)), 403, "bad_signature")


def test_a_signature_of_another_shape_is_bad(served: Served) -> None:
    now = int(time.time())
    right = sign_webhook(PING, now)
    time_part, _, digest = right.partition(",")
    other = [
        *(None, "x", ",", "t=,v0=", digest, time_part, right[:-1], right + "0", f"{time_part},{digest.upper()}"),
        *(f"{time_part},v0={digest[3:].upper()}", f"{time_part},v1={digest[3:]}", f"{time_part},v0={'0' * 64}"),
        *(f"t={now + 1},{digest}", f"{time_part},t={now + 1},{digest}", f"{time_part};{digest}", "é"),
        sign_webhook(PING, now, "another secret"),
        sign_webhook(PING + b" ", now),
        sign_webhook(b"", now),
    ]
    for signature in other:
        refused(served.webhook(PING, signature=signature), 403, "bad_signature")
    assert served.webhook(PING, signature=right).status == 200


def test_of_several_digests_any_may_match_and_spaces_say_nothing(served: Served) -> None:
    time_part, _, digest = sign_webhook(PING, time.time()).partition(",")
    for signature in (
        f"{time_part},{digest},v0={'0' * 64}",
        f"{time_part},v0={'0' * 64},{digest}",
        f"{time_part},v0=short,{digest}",
        f"{digest},{time_part}",
        f" {time_part} , {digest} ",
    ):
        assert served.webhook(PING, signature=signature).status == 200


def test_a_signed_body_that_is_not_a_json_object_is_refused(served: Served) -> None:
    for body in (b"", b"not json", b"[]", b"null", b'{"type": "a", "type": "b"}', b'{"x": NaN}', b"\xff", b"[" * 99999):
        refused(served.webhook(body), 400, "invalid_json")


def test_the_signature_comes_before_the_json(served: Served) -> None:
    refused(served.webhook(b"not json", signature=None), 403, "bad_signature")


def test_an_unknown_type_is_taken(served: Served) -> None:
    for kind in ("answering_machine_detection", "unredacted_transcript", "x" * 5000, "ñ"):
        assert served.webhook(event(kind, None)).status == 200


def test_a_missing_field_of_the_events_type_is_named(served: Served) -> None:
    assert paths_of(refused(served.webhook(b"{}"), 422, "invalid_payload")) == {"type"}
    assert paths_of(refused(served.webhook(event("post_call_transcription", [])), 422, "invalid_payload")) == {"data"}
    named = paths_of(refused(served.webhook(event("post_call_transcription", {})), 422, "invalid_payload"))
    assert named == {"conversation_id", "agent_id", "status"}


@pytest.mark.parametrize("media_type", ["text/plain", FORM, "multipart/form-data; boundary=x"])
def test_another_media_type_is_not_taken(served: Served, media_type: str) -> None:
    answer = served.webhook(PING, headers={"Content-Type": media_type})
    refused(answer, 415, "unsupported_media_type")


def test_a_body_that_says_nothing_of_its_type_is_taken_for_what_it_is(served: Served) -> None:
    head = head_of(ROUTE, token=None, ElevenLabs_Signature=sign_webhook(PING, time.time()), Content_Length=len(PING))
    assert status_of(served.raw(head + PING)) == 200


def _peak(served: Served) -> int:
    """The most memory that the daemon had since it was last asked to forget, in KiB."""
    assert served.relay.process is not None
    process = Path(f"/proc/{served.relay.process.pid}")
    lines = (process / "status").read_text().splitlines()
    (process / "clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _audio(size: int) -> bytes:
    return event("post_call_audio", {"agent_id": "a", "conversation_id": "c", "full_audio": "A" * size})


def test_audio_is_dropped_while_it_streams_and_its_signature_is_checked_all_the_same(served: Served) -> None:
    body = _audio(20 * MIB)
    _peak(served)
    before = _peak(served)
    assert served.webhook(body).status == 200
    refused(served.webhook(body, signature=sign_webhook(body[:-1], time.time())), 403, "bad_signature")
    refused(served.webhook(body, signature=None), 403, "bad_signature")
    assert _peak(served) - before < 8 * 1024


def test_audio_may_come_in_chunks_and_with_its_type_last(served: Served) -> None:
    body = json.dumps({"data": {"full_audio": "A" * 17 * MIB}, "type": "post_call_audio"}).encode()
    head = head_of(
        ROUTE,
        token=None,
        Content_Type="application/json",
        Transfer_Encoding="chunked",
        ElevenLabs_Signature=sign_webhook(body, time.time()),
    )
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[i : i + 65536] for i in range(0, len(body), 65536)))
    assert status_of(served.raw(head + chunks + b"0\r\n\r\n")) == 200


def test_anything_else_over_16_mib_is_too_large(served: Served) -> None:
    frame = len(event("ping", ""))
    assert served.webhook(event("ping", "x" * (16 * MIB - frame))).status == 200
    refused(served.webhook(event("ping", "x" * (16 * MIB - frame + 1))), 413, "too_large")


def test_a_transcript_that_mentions_audio_keeps_its_text(served: Served) -> None:
    phone, key = new_phone(), new_key()
    lines = [{"role": "user", "message": '"type": "post_call_audio", "full_audio": "x"'}]
    assert served.webhook(transcription(phone, key, transcript=lines)).status == 200
    assert served.conversation(phone)["elevenlabs_conversation_id"] == key


def test_an_outbound_call_is_followed_once_however_often_it_is_reported(served: Served) -> None:
    phone, key = new_phone(), new_key()
    body = transcription(phone, key)
    for _ in range(3):
        assert served.webhook(body).status == 200
    answer = served.report(payload(key, phone))
    assert (answer.status, answer.json["duplicate"]) == (200, True)
    served.until(lambda: served.twilio.accepted(phone))
    thread = served.conversation(phone)
    assert (thread["calls"][0]["outcome"], thread["call_summary"], len(thread["messages"])) == (
        "completed",
        "Le interesa.",
        1,
    )


def test_a_call_that_ended_before_the_database_is_recorded_and_never_written_to(served: Served) -> None:
    phone = new_phone()
    at = {"start_time_unix_secs": int(time.time()) - 7200, "call_duration_secs": 30}
    assert served.webhook(transcription(phone, new_key(), metadata=at)).status == 200
    thread = served.conversation(phone)
    assert (len(thread["calls"]), thread["messages"]) == (1, [])


@pytest.mark.parametrize(
    "metadata",
    [
        {"text_only": True},
        {"phone_call": None},
        {"text_only": True, "phone_call": None},
        {"phone_call": {"direction": "inbound", "external_number": "+573001234567"}},
        {"phone_call": {"direction": "outbound", "external_number": "unknown"}},
    ],
)
def test_a_text_session_or_an_inbound_call_causes_no_opening(served: Served, metadata: dict[str, Any]) -> None:
    phone = new_phone()
    phoned = metadata.get("phone_call")
    if isinstance(phoned, dict) and phoned["direction"] == "inbound":
        metadata = {"phone_call": phoned | {"external_number": phone}}
    assert served.webhook(transcription(phone, new_key(), metadata=metadata)).status == 200
    refused(served.call("GET", f"/api/conversations/{phone}"), 404, "unknown_conversation")
    assert served.twilio.accepted(phone) == []


@pytest.mark.parametrize("status", ["in-progress", "processing", "initiated"])
def test_a_call_that_is_not_over_is_left(served: Served, status: str) -> None:
    phone = new_phone()
    assert served.webhook(transcription(phone, new_key(), status=status)).status == 200
    refused(served.call("GET", f"/api/conversations/{phone}"), 404, "unknown_conversation")


def test_a_known_call_with_another_phone_is_taken_and_changes_nothing(served: Served) -> None:
    phone, other = new_phone(), new_phone()
    key = served.opened(phone)
    assert served.webhook(transcription(other, key)).status == 200
    refused(served.call("GET", f"/api/conversations/{other}"), 404, "unknown_conversation")


@pytest.mark.parametrize("outcome", ["voicemail", "completed"])
def test_a_call_of_a_batch_takes_its_outcome_from_the_batch(served: Served, outcome: str) -> None:
    phone = new_phone()

    async def ended() -> tuple[int | None, str]:
        people = [Recipient(phone, {"name": "Ana"}, outcome=outcome)]
        batch = served.elevenlabs.add_batch(name="Campaña", agent_id=AGENT.agent_id, recipients=people)
        served.elevenlabs.start_call(batch, 0)
        key = served.elevenlabs.finish_call(batch, 0, analysed=True, ended_at=time.time() + 1)
        assert key is not None
        return await served.elevenlabs.post_call(key), key

    status, key = served.run(ended())
    assert status == 200
    path = f"/api/conversations/{phone}"
    served.until(lambda: served.call("GET", path).status == 200)
    call = served.conversation(phone)["calls"][0]
    assert (call["outcome"], call["elevenlabs_conversation_id"]) == (outcome, key)
    assert call["batch_id"].startswith("btcal_")
    assert len(served.conversation(phone)["messages"]) == (1 if outcome == "completed" else 0)


def test_a_call_that_never_came_about_is_a_failed_call(served: Served) -> None:
    for phone, report in ((p := new_phone(), {"To": p}), (q := new_phone(), {"to_number": q})):
        key = new_key()
        data = {
            "agent_id": AGENT.agent_id,
            "conversation_id": key,
            "failure_reason": "busy",
            "metadata": {"type": "twilio", "body": {"CallSid": "CA0", "CallStatus": "busy"} | report},
        }
        assert served.webhook(event("call_initiation_failure", data)).status == 200
        thread = served.conversation(phone)
        assert (thread["calls"][0]["outcome"], thread["messages"]) == ("failed", [])
        assert thread["elevenlabs_conversation_id"] == key


def test_a_failed_call_without_a_number_is_taken(served: Served) -> None:
    data = {"agent_id": "a", "conversation_id": new_key(), "failure_reason": "unknown", "metadata": None}
    assert served.webhook(event("call_initiation_failure", data)).status == 200


def test_of_two_signatures_none_counts(served: Served) -> None:
    right = sign_webhook(PING, time.time())
    head = head_of(ROUTE, token=None, Content_Type="application/json", Content_Length=len(PING))
    twice = head[:-2] + f"ElevenLabs-Signature: {right}\r\n".encode() * 2 + b"\r\n"
    answer = served.raw(twice + PING)
    assert (status_of(answer), body_of(answer)["error"]) == (403, "bad_signature")
    assert SECRET not in served.relay.log
