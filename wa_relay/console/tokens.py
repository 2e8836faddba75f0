"""Random tokens, their stored hashes, and the values derived from them."""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new_token() -> str:
    """Returns a token of 256 random bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Returns the hash under which a token is stored. A random token needs no slow one."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def csrf_token(token: str) -> str:
    """Returns what each POST of a session must carry: made from the cookie, which no other site can read."""
    return hmac.new(token.encode("utf-8", "surrogateescape"), b"wa-relay csrf", "sha256").hexdigest()
