"""An operator beside the customers: takes conversations over, writes, and gives them back, while the daemon dies.

Like a backend, the operator's program repeats a request until it is answered, a message with the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.e2e.stage import TOKEN

HEADERS = {"X-Service-Token": TOKEN}


@dataclass(frozen=True, slots=True)
class Takeover:
    """A time in which a person certainly had a conversation: from the answer to the takeover until the next request."""

    phone: str
    since: float
    until: float


@dataclass(slots=True)
class Deeds:
    """What operators did, for the judge. `messages` are the texts that were stored, with their customers."""

    takeovers: list[Takeover] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    refused: int = 0

    @property
    def answered(self) -> set[str]:
        """The customers to whom a person has written."""
        return set(self.messages.values())


class Operators:
    """The team's program, one request after the other for each conversation."""

    def __init__(self, http: aiohttp.ClientSession, url: str, canary: str) -> None:
        self.deeds = Deeds()
        self._http, self._url, self._canary = http, url, canary
        self._numbers = 0

    async def handle(self, phone: str, dice: random.Random) -> None:
        """Takes one conversation over, perhaps writes in it, and gives it back."""
        await asyncio.sleep(dice.uniform(0.0, 1.0))
        if (await self._until_heard(phone, "takeover", dice))[0] != 200:
            return
        since = time.time()
        for _ in range(dice.choice((0, 1, 1, 2))):
            await asyncio.sleep(dice.uniform(0.0, 0.8))
            await self._write(phone, dice)
        await asyncio.sleep(dice.uniform(0.0, 0.8))
        self.deeds.takeovers.append(Takeover(phone, since, time.time()))
        await self._until_heard(phone, "release", dice)

    async def _write(self, phone: str, dice: random.Random) -> None:
        self._numbers += 1
        text = f"{self._canary} h{self._numbers}x te escribe una persona"
        status, _ = await self._until_heard(phone, "messages", dice, {"text": text}, f"key-{self._numbers}")
        if status == 200:
            self.deeds.messages[text] = phone
        else:
            assert status in (409, 422), status
            self.deeds.refused += 1

    async def _until_heard(
        self, phone: str, what: str, dice: random.Random, body: Any = None, key: str | None = None
    ) -> tuple[int, str]:
        headers = HEADERS | ({"Idempotency-Key": key} if key else {})
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                path = f"{self._url}/api/conversations/{phone}/{what}"
                async with self._http.post(path, json=body or {}, headers=headers) as heard:
                    if heard.status != 503:
                        return heard.status, await heard.text()
            await asyncio.sleep(dice.uniform(0.03, 0.2))
