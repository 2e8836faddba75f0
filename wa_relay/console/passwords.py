"""Passwords: hashed with argon2id, checked one at a time."""

from __future__ import annotations

import asyncio
import functools

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST_LENGTH, MOST_LENGTH = 10, 1000

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""The least that OWASP's Password Storage cheat sheet names: 19 MiB, while the daemon has 110 MB."""


@functools.cache
def _decoy_hash() -> str:
    """The hash against which an unknown user's password is checked, so that the response takes as long."""
    return _HASHER.hash("no user has this password")


def hash_password(password: str) -> str:
    """Returns the hash to store. Takes about 30 ms."""
    return _HASHER.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Returns True if the password is the one that was hashed; None (an unknown name) never matches."""
    try:
        return _HASHER.verify(password_hash or _decoy_hash(), password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


class Checker:
    """Checks passwords in a thread, one at a time: each takes 19 MiB."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Returns True if the password is the one that was hashed."""
        if len(password) > MOST_LENGTH:
            password = ""
        async with self._one_at_a_time:
            return await asyncio.to_thread(matches, password_hash, password)
