"""What brings calls into a real ledger, played against a script, on one clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.sources.scripted import START, Scripted, service
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.ledger import file, store
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.writer_thread import LedgerThread
from wa_relay.loops.bell import Wakers
from wa_relay.loops.call_announcements import CallAnnouncements
from wa_relay.loops.call_facts import CallFacts
from wa_relay.loops.polling import Polling
from wa_relay.policy import OpeningText, Rules

RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText(body="Hola"), "failed": OpeningText(body="No te encontramos")},
)


@dataclass
class Incoming:
    """What brings calls into a real ledger, on one clock."""

    wakers: Wakers
    announcements: CallAnnouncements
    polling: Polling
    call_facts: CallFacts

    @classmethod
    def of(cls, ledger: LedgerThread, api: ElevenLabs, clock: Callable[[], float]) -> Incoming:
        wakers = Wakers()
        announcements = CallAnnouncements(clock, wakers)
        polling = Polling(ledger, api, clock, wakers.poll, announcements, agent_ids=(), horizon=RULES.horizon)
        return cls(wakers, announcements, polling, CallFacts(ledger, api, clock, wakers.follow_up, announcements))


def played(
    folder: Path, script: Scripted, scenario: Callable[[LedgerThread, Incoming, list[float]], Awaitable[None]]
) -> None:
    """Plays a scenario against a script; the list holds the moment that the clock shows."""

    async def whole() -> None:
        found = file.open_for_writing(folder / "relay.db", account_sid="AC1", now=START - 60.0)
        ledger, clock = LedgerThread(Ledger(found.connection, RULES)), [START + 300.0]
        await ledger.run(store.begin_run, START)
        async with service(script) as api:
            incoming = Incoming.of(ledger, api, lambda: clock[0])
            await scenario(ledger, incoming, clock)
        await ledger.close()

    asyncio.run(asyncio.wait_for(whole(), 60))


async def until_known(ledger: LedgerThread, key: str) -> str | None:
    """Why a call is not followed by an opening, once it is known."""
    sql = "select skipped from calls where elevenlabs_conversation_id = ?"
    async with asyncio.timeout(20):
        # The database rings no bell.
        while not (rows := await ledger.run(Ledger.all, sql, (key,))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    reason: str | None = rows[0]["skipped"]
    return reason
