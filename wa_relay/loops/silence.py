"""Conversations that a person is taking over at this moment: no message of the agent begins there.

The ledger refuses what comes after the takeover's commit. Between the claim of a message and the first byte of its
request there is a moment that the ledger does not see: without this, a reply that was claimed just before a takeover
could set out just after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

AGENTS_KINDS = frozenset({"opening", "reply"})


class Silence:
    """Counts, for each conversation, the takeovers that are being stored."""

    def __init__(self) -> None:
        self._takeovers: Counter[int] = Counter()

    @contextmanager
    def during_takeover(self, conversation_id: int) -> Iterator[None]:
        """Lets no message of the agent begin in this conversation. One that has begun is left alone."""
        self._takeovers[conversation_id] += 1
        try:
            yield
        finally:
            self._takeovers[conversation_id] -= 1
            if not self._takeovers[conversation_id]:
                del self._takeovers[conversation_id]

    def covers(self, conversation_id: int, kind: str) -> bool:
        """True if a message of this kind must not begin there now."""
        return conversation_id in self._takeovers and kind in AGENTS_KINDS
