"""The units of a bill: texts and templates, of everything and of each customer."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from tests.ledger.conftest import NOW, PHONE, call, make_ledger, written
from wa_relay.ledger import calls, claims, human_messages, inbox, send_results, turns
from wa_relay.ledger.human_messages import HumanMessage
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted
from wa_relay.policy import OpeningText, Operator
from wa_relay.reports import stats_queries
from wa_relay.reports.spans import Span

__all__ = ["make_ledger"]
OTHER = "+573001112233"
BOGOTA = ZoneInfo("America/Bogota")


def _sent(ledger: Ledger, at: float) -> None:
    for job in claims.claim_messages(ledger, 9, NOW + at).jobs:
        message_id = job.outgoing.message_id or 0
        send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), NOW + at)


def test_texts_and_templates_are_counted_for_everything_and_for_each_customer(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(openings={"completed": OpeningText(content_sid="HX" + "1" * 32)})
    calls.record_call(ledger, call("conv_1"), NOW)
    calls.record_call(ledger, call("conv_2", phone=OTHER), NOW)
    _sent(ledger, 0)
    inbox.record_inbound(ledger, written("¿Precio?", sid="SM1"), NOW + 5)
    (job,) = turns.claim_turns(ledger, 9, NOW + 10).jobs
    turns.finish_turn(ledger, job.turn_id, ["Uno.", "Dos."], None, NOW + 10)
    for at in (10, 20):
        _sent(ledger, at)
    message = HumanMessage(content_sid="HX" + "2" * 32, content_variables={})
    human_messages.write(ledger, PHONE, message, Operator("ana", "cli"), None, NOW + 30)
    _sent(ledger, 30)
    report = stats_queries.stats(ledger.db, span=Span(None, None), by="conversation", timezone=BOGOTA).to_json()
    assert report["costs"] == {"turns": 1, "parts": 2, "templates": {"opening": 2, "human": 1}}
    assert {group["key"]: group["costs"] for group in report["groups"]} == {
        PHONE: {"turns": 1, "parts": 2, "templates": {"opening": 1, "human": 1}},
        OTHER: {"turns": 0, "parts": 0, "templates": {"opening": 1}},
    }
    later = stats_queries.stats(ledger.db, span=Span(NOW + 25, None), by=None, timezone=BOGOTA).to_json()
    assert later["costs"] == {"turns": 0, "parts": 0, "templates": {"human": 1}}
