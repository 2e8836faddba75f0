"""The signatures of signed URLs and of webhooks. Pure: the moment is an argument."""

from __future__ import annotations

import base64
import hmac

from wa_relay.model import Moment


class UrlSigner:
    """Signs one agent, one moment and perhaps one conversation into the query of a WebSocket URL."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, agent_id: str, now: Moment, conversation_id: str = "") -> str:
        """The value of `conversation_signature`."""
        signed = f"{now!r}|{conversation_id}|{agent_id}".encode()
        return base64.urlsafe_b64encode(signed + b"|" + self._mac(signed)).decode().rstrip("=")

    def read(self, signature: str, agent_id: str, now: Moment, valid_seconds: float) -> str | None:
        """The conversation id that was signed with it ("" for none), None when it does not hold for this agent now."""
        try:
            signed, _, mac = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)).rpartition(b"|")
            signed_at, conversation_id, signed_agent = signed.decode().split("|", 2)
        except ValueError:
            return None
        if not hmac.compare_digest(mac, self._mac(signed)) or signed_agent != agent_id:
            return None
        return conversation_id if 0 <= now - float(signed_at) <= valid_seconds else None

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._secret, signed, "sha256").hex()[:32].encode()


def webhook_signature(secret: str, body: bytes, now: Moment) -> str:
    """The value of the `ElevenLabs-Signature` header: HMAC-SHA256 over moment and raw body."""
    moment = str(int(now)).encode()
    mac = hmac.digest(secret.encode(), moment + b"." + body, "sha256").hex()
    return f"t={moment.decode()},v0={mac}"
