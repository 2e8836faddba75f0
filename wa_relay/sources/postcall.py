"""ElevenLabs' post-call webhook: checks its signature and reads the call that it reports. Pure.

The signature is checked over the raw bytes as they stream in, so that audio of any size can be
dropped without being kept. What is not an outbound phone call is ignored: the relay's own text
sessions come back here too.

`parse` accepts every shape of the event; the conversation in it is read as in the REST API (`elevenlabs/shapes.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wa_relay.elevenlabs.shapes import Conversation, conversation_from
from wa_relay.elevenlabs.texts import readable
from wa_relay.model import BatchHint, Call, Moment, PayloadError
from wa_relay.sources.batch_outcomes import Rejection
from wa_relay.sources.jsonbody import Json
from wa_relay.sources.numbers import read_dialled

MAX_AGE = 1800.0
"""Seconds by which a signature's time may differ from ours, either way."""

_TIME = re.compile(r"[0-9]{1,12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Ignored:
    """A correctly signed webhook that reports no finished phone call; `key` is its conversation, if it has one."""

    reason: str
    key: str | None = None


class Signature:
    """Checks an `ElevenLabs-Signature` over a body that is fed piece by piece.

    The header is `t=<unix seconds>,v0=<hex HMAC-SHA256 of "<t>.<body>">`. It has several `v0`
    while a secret is rotated, and any of them may match. Never raises.
    """

    def __init__(self, header: str | None, secret: str) -> None:
        parts = [part.strip().partition("=") for part in (header or "").split(",")]
        times = [value for name, _, value in parts if name == "t"]
        self._digests = [value for name, _, value in parts if name == "v0" and _DIGEST.fullmatch(value)]
        # With two times, it is unknown which one was signed.
        self._time = times[0] if len(times) == 1 and _TIME.fullmatch(times[0]) else None
        self._hmac: hmac.HMAC | None = None
        if self._time is not None and self._digests and secret:
            key = secret.encode("utf-8", "surrogatepass")
            self._hmac = hmac.new(key, self._time.encode("ascii") + b".", hashlib.sha256)

    def feed(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        if self._hmac is not None:
            self._hmac.update(chunk)

    def ok(self, now: Moment) -> bool:
        """True if everything fed so far has their signature, made within half an hour of `now`."""
        if self._hmac is None or self._time is None or not abs(now - float(self._time)) <= MAX_AGE:
            return False
        expected = self._hmac.hexdigest()
        # Every candidate is compared, so that the time taken says nothing about which one matched.
        matches = [hmac.compare_digest(expected, digest) for digest in self._digests]
        return any(matches)


def verify(body: bytes, header: str | None, secret: str, now: Moment) -> bool:
    """True if `header` is ElevenLabs' signature of the whole `body`, made within half an hour of `now`."""
    signature = Signature(header, secret)
    signature.feed(body)
    return signature.ok(now)


def parse(body: Mapping[str, Json]) -> Call | BatchHint | Rejection | Ignored:
    """Reads a webhook whose signature was right.

    A phone call of a batch comes out as a hint, since only its batch knows the outcome; one whose
    number can't be used is rejected. Raises PayloadError (`invalid_payload`) for a body that lacks
    what its type always has.
    """
    match body.get("type"):
        case "post_call_transcription":
            return _transcription(_data(body))
        case "call_initiation_failure":
            return _failure(_data(body), body.get("event_timestamp"))
        case str() as kind:
            return Ignored(f"{kind[:60]} reports no call")
        case _:
            raise _invalid("type", "must be a text")


def _invalid(path: str, problem: str) -> PayloadError:
    return PayloadError(f"{path}: {problem}", code="invalid_payload", fields=[(path, problem)])


def _data(body: Mapping[str, Json]) -> Mapping[str, Json]:
    data = body.get("data")
    if not isinstance(data, dict):
        raise _invalid("data", "must be an object")
    return data


def _transcription(data: Mapping[str, Json]) -> Call | BatchHint | Rejection | Ignored:
    conversation = conversation_from(data)
    if not conversation.outbound_call:
        return Ignored("not an outbound phone call", conversation.conversation_id)
    if conversation.status not in ("done", "failed"):
        return Ignored("the call is not over", conversation.conversation_id)
    return _call(conversation, [conversation.phone], conversation.ended_at)


def _failure(data: Mapping[str, Json], reported_at: Json) -> Call | BatchHint | Rejection:
    """Reads a call that was never connected. Its number is in the telephony provider's own report."""
    metadata = data.get("metadata")
    unconnected = {**metadata, "call_duration_secs": 0} if isinstance(metadata, dict) else {"call_duration_secs": 0}
    conversation = conversation_from({**data, "status": "failed", "metadata": unconnected})
    report = metadata.get("body") if isinstance(metadata, dict) else None
    numbers = [readable(report.get(name)) for name in ("To", "to_number")] if isinstance(report, dict) else []
    ended_at = None
    if isinstance(reported_at, int | float) and not isinstance(reported_at, bool):
        ended_at = float(reported_at)
    return _call(conversation, numbers, ended_at)


def _call(
    conversation: Conversation, numbers: Sequence[str | None], ended_at: Moment | None
) -> Call | BatchHint | Rejection:
    phone = next((phone for phone in map(read_dialled, numbers) if phone), None)
    if phone is None:
        return Rejection(
            "number_unusable",
            conversation.conversation_id,
            conversation.batch_id,
            conversation.batch_recipient_id,
            next(filter(None, numbers), None),
        )
    call = Call(
        key=conversation.conversation_id,
        phone=phone,
        agent_id=conversation.agent_id,
        outcome="completed" if conversation.status == "done" else "failed",
        source="webhook",
        ended_at=ended_at,
        agent_name=conversation.agent_name,
        batch_id=conversation.batch_id,
        recipient_id=conversation.batch_recipient_id,
        variables=conversation.variables,
        summary=conversation.summary,
        transcript=conversation.transcript,
        seconds=conversation.length,
        collected=conversation.collected,
    )
    if conversation.batch_id is None:
        return call
    return BatchHint(call, conversation.batch_id, conversation.batch_recipient_id)
