"""Doctor's findings, as plain values."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from wa_relay.model import UpstreamError

T = TypeVar("T")
Status = Literal["ok", "warn", "fail", "skipped"]
Cause = Literal["", "credentials", "service", "signature", "account_hold", "no_daemon"]
"""Why a check is not `ok`, where another check depends on it (`consequences`)."""

LIMIT = 10.0
"""Seconds in which all questions to the network are answered, or count as failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `message` says what was found, `fix` what to do about it; None where there is nothing to do."""

    name: str
    status: Status
    message: str
    fix: str | None = None
    cause: Cause = ""

    @property
    def found(self) -> bool:
        """True for a fault."""
        return self.status in ("warn", "fail")

    def to_json(self) -> dict[str, str | None]:
        """The entry of `doctor --json`."""
        return {"name": self.name, "status": self.status, "message": self.message, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they depend on each other."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is broken; a warning breaks nothing."""
        return all(check.status != "fail" for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """The object of `doctor --json`."""
        return {"ok": self.ok, "checks": [check.to_json() for check in self.checks]}


def skipped(names: Iterable[str], why: str) -> list[Check]:
    """The checks that can't be made, for one reason."""
    return [Check(name, "skipped", why) for name in names]


async def ask(request: Awaitable[T], service: str, end: float) -> T:
    """Waits for an answer until the loop's time is `end`; raises `UpstreamError` after that."""
    try:
        async with asyncio.timeout_at(end):
            return await request
    except TimeoutError:
        raise UpstreamError(f"{service} did not answer within {LIMIT:g} s") from None


def split_message(text: str) -> tuple[str, str | None]:
    """Splits a message into what happened (its first sentence) and what to do (the rest)."""
    what, _, then = text.partition(". ")
    return what.rstrip("."), then.rstrip(".") or None
