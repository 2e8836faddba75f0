"""The stand-ins with the daemon between them, and the waits for what must happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

import aiohttp

from wa_relay.demo.campaign import AGENT, Customer
from wa_relay.demo.child import Daemon
from wa_relay.demo.screen import Screen
from wa_relay.model import RelayError
from wa_relay.standins.elevenlabs import ElevenLabsStandin
from wa_relay.standins.journal import Entry, Journal
from wa_relay.standins.twilio import TwilioStandin

TOKEN = "demo-0123456789abcdef0123456789abcdef"  # noqa: S105 (of a daemon that lives for seconds)
WITHIN = 8.0
"""Seconds in which each step must have happened."""

_LOOKS = 0.05


class DemoEnded(RelayError):
    """A step of the story did not happen, or the daemon died: says which, and where its log is."""


class StepMissed(Exception):
    """A step of the story did not happen in time."""


@dataclass(slots=True)
class Stage:
    """Everything that takes part. `awaited` describes the step that is waited for."""

    screen: Screen
    twilio: TwilioStandin
    elevenlabs: ElevenLabsStandin
    daemon: Daemon
    http: aiohttp.ClientSession
    awaited: str = "the daemon listens"
    began: float = field(default_factory=time)

    def since(self, entry: Entry) -> float:
        """Seconds from the beginning to that entry."""
        return max(0.0, entry.at - self.began)

    def report(self, entry: Entry, player: str, text: str) -> None:
        """Prints an event of a journal."""
        self.screen.step(self.since(entry), player, text)

    def report_now(self, player: str, text: str) -> None:
        """Prints an event that the daemon's API has just shown."""
        self.screen.step(time() - self.began, player, text)

    async def expect(self, what: str, journal: Journal, predicate: Callable[[Entry], bool]) -> Entry:
        """Waits for an entry of a journal. Raises `StepMissed`."""
        found: Entry = await self._timely(what, journal.wait_for(predicate, WITHIN))
        return found

    async def from_twilio(self, what: str, kind: str, **data: object) -> Entry:
        """Waits for an entry of that kind with these data at Twilio."""
        return await self.expect(what, self.twilio.journal, lambda entry: _is(entry, kind, data))

    async def from_elevenlabs(self, what: str, kind: str, **data: object) -> Entry:
        """Waits for an entry of that kind with these data at ElevenLabs."""
        return await self.expect(what, self.elevenlabs.journal, lambda entry: _is(entry, kind, data))

    async def sent_after(self, what: str, phone: str, number: int) -> Entry:
        """Waits for a message to that phone that Twilio took after that entry of its journal."""
        to = f"whatsapp:{phone}"
        return await self.expect(
            what,
            self.twilio.journal,
            lambda entry: entry.number > number and entry.kind == "accepted" and entry.data["to"] == to,
        )

    async def receipts(self, sent: Entry, name: str) -> tuple[Entry, Entry]:
        """Waits until the daemon has taken the receipts that a message was delivered, and read."""
        sid, found = sent.data["sid"], []
        for status in ("delivered", "read"):
            what = f"wa-relay learns that the message to {name} was {status}"
            found.append(await self.from_twilio(what, "callback", sid=sid, status=status, answer=204))
        return found[0], found[1]

    async def knew(self, asked: Entry, customer: Customer) -> str:
        """Returns the summary of the customer's call that the agent got before the question.

        Raises `StepMissed` when it got none.
        """
        session = asked.data["conversation_id"]
        body = await self.from_elevenlabs(
            f"{AGENT.name} gets the context of the call", "context", conversation_id=session
        )
        calls = self.elevenlabs.world.conversations.values()
        for call in calls:
            if call.phone == customer.phone and call.summary and call.summary in str(body.data["text"]):
                return call.summary
        raise StepMissed(f"{AGENT.name} did not get the context of the call to {customer.name}")

    async def until(self, what: str, look: Callable[[], Awaitable[Any]]) -> Any:
        """Looks repeatedly until there is something. Raises `StepMissed`."""

        async def looking() -> Any:
            while True:
                if found := await look():
                    return found
                await asyncio.sleep(_LOOKS)

        return await self._timely(what, asyncio.wait_for(looking(), WITHIN))

    async def _timely(self, what: str, work: Awaitable[Any]) -> Any:
        self.awaited = what
        try:
            return await work
        except TimeoutError as error:
            raise StepMissed(f"this did not happen within {WITHIN:g} s: {what}") from error

    async def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Asks the daemon's API: status, and the JSON of the answer."""
        headers = {"X-Service-Token": TOKEN}
        async with self.http.request(method, self.daemon.url + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()


def _is(entry: Entry, kind: str, data: dict[str, object]) -> bool:
    return entry.kind == kind and all(entry.data.get(name) == value for name, value in data.items())
