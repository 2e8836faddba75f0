"""A ledger on a real file in which events happen one after the other, by a clock that the test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.engines import Place
from wa_relay.ledger import calls, claims, inbox, receipts, send_results, store, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Call, Inbound, Receipt, SendResult
from wa_relay.policy import OpeningText, Rules

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z, a Wednesday, 06:06:40 in Bogotá
ANA, LUIS, EVA = "+573138539155", "+573001112233", "+573004445566"
BOGOTA = ZoneInfo("America/Bogota")
RULES = Rules(
    timezone=BOGOTA,
    openings={"completed": OpeningText(body="Hola {client_name}, gracias por atender.")},
    max_call_age=7 * 86400.0,
    fallback="En este momento no podemos responderte.",
    text_only="Por ahora solo puedo leer texto.",
    opt_out_keywords=frozenset({"baja"}),
    return_keywords=frozenset({"alta"}),
    confirmation="Listo, no te escribiremos más.",
)


class Story:
    """Drives the ledger as the daemon would. The test sets `now`; every send is accepted after 0.5 s."""

    def __init__(self, place: Place | Path) -> None:
        place = Place(place, None) if isinstance(place, Path) else place
        self.place = place
        self.path = place.path
        self.now = NOW
        opened = place.open_for_writing("AC1", NOW - 86400.0)
        self.ledger = Ledger(opened.connection, RULES)
        store.begin_run(self.ledger, NOW - 86400.0)
        self._sids = 0

    def close(self) -> None:
        """Closes the file as a daemon that stops does."""
        store.end_run(self.ledger)
        self.ledger.db.close()

    def call(self, key: str, phone: str = ANA, **facts: Any) -> None:
        """A call has just ended and is reported."""
        usual: dict[str, Any] = {"agent_id": "agent_1", "outcome": "completed", "source": "push", "ended_at": self.now}
        calls.record_call(self.ledger, Call(key=key, phone=phone, **{**usual, **facts}), self.now)

    def send(self, result: SendResult | None = None) -> list[tuple[int, str]]:
        """Sends what is due; returns each message's id and SID."""
        sent = []
        for job in claims.claim_messages(self.ledger, 100, self.now).jobs:
            assert job.outgoing.message_id is not None
            self._sids += 1
            sid = f"SM{self._sids:032x}"
            send_results.finish_send(self.ledger, job.outgoing.message_id, result or Accepted(sid), self.now + 0.5)
            sent.append((job.outgoing.message_id, sid))
        return sent

    def receipt(self, sid: str, status: str, code: str | None = None) -> None:
        """Twilio reports the fate of a message."""
        receipts.record_receipt(self.ledger, Receipt(sid, status, error_code=code), self.now)

    def write(self, text: str, phone: str = ANA, **facts: Any) -> None:
        """A customer writes."""
        self._sids += 1
        inbox.record_inbound(
            self.ledger, Inbound(sid=f"SM{self._sids:032x}", phone=phone, text=text, **facts), self.now
        )

    def answer(self, *parts: str, after: float = 3.0) -> None:
        """The agent answers `after` seconds later; without parts, it fails."""
        self.now += after
        for job in turns.claim_turns(self.ledger, 100, self.now).jobs:
            if parts:
                turns.finish_turn(self.ledger, job.turn_id, parts, None, self.now)
            else:
                turns.fail_turn(self.ledger, job.turn_id, "the agent did not answer", self.now)
