"""Verifies the signature of a webhook by Standard Webhooks (standardwebhooks.com). Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from wa_relay.model import Moment

TOLERANCE = 300.0
"""Seconds by which the timestamp may be off, by the specification's libraries."""

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64


def key_of(secret: str) -> bytes:
    """The key in a secret: `whsec_` and base64 of 24 to 64 bytes. Raises ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"a secret is {_PREFIX!r} and base64 of {_SHORTEST} to {_LONGEST} bytes")
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()


def fault_of(secret: str, headers: Mapping[str, str], body: bytes, now: Moment) -> str:
    """Returns the fault of a signed request; "" if it is right. The names of `headers` don't depend on their case."""
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if not headers.get(name):
            return f"the header {name} is missing"
    stamp = headers["webhook-timestamp"]
    if not stamp.isascii() or not stamp.isdigit():
        return "webhook-timestamp is not in Unix seconds"
    if abs(now - int(stamp)) > TOLERANCE:
        return "webhook-timestamp is more than 5 minutes off"
    wanted = sign(secret, headers["webhook-id"], int(stamp), body).encode()
    given = headers["webhook-signature"].encode("utf-8", "surrogateescape").split(b" ")
    return "" if any(hmac.compare_digest(wanted, one) for one in given) else "webhook-signature is wrong"
