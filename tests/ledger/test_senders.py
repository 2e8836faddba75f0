"""The choice of our number for a conversation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import calls, claims, inbox, receipts, send_results, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Outgoing, Receipt, Unclear

DEFAULT, SALES = "+14155238886", "+573000000001"
OURS = {
    "default_sender": DEFAULT,
    "senders": {"agent_sales": SALES},
    "own_numbers": frozenset({DEFAULT, SALES}),
    "burst_limit": 0,
}


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    return make_ledger(**OURS)


def _sent(ledger: Ledger, now: float, sender: str | None = None) -> list[Outgoing]:
    sent = []
    for job in claims.claim_messages(ledger, 9, now, sender).jobs:
        message_id = job.outgoing.message_id or 0
        send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), now)
        sent.append(job.outgoing)
    return sent


def _answered(ledger: Ledger, now: float) -> list[Outgoing]:
    for job in turns.claim_turns(ledger, 9, now).jobs:
        turns.finish_turn(ledger, job.turn_id, ["Claro."], None, now)
    return _sent(ledger, now)


def test_a_conversation_begins_at_the_number_of_its_calls_agent(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_1"), NOW)
    calls.record_call(ledger, call("conv_2", phone="+573001112233", agent_id="agent_sales"), NOW)
    assert {message.to: message.sender for message in _sent(ledger, NOW)} == {PHONE: DEFAULT, "+573001112233": SALES}


def test_a_later_call_by_another_agent_leaves_the_conversation_at_its_number(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_1"), NOW)
    _sent(ledger, NOW)
    calls.record_call(ledger, call("conv_2", agent_id="agent_sales", ended_at=NOW + 60), NOW + 60)
    assert [message.sender for message in _sent(ledger, NOW + 60)] == [DEFAULT]


def test_a_conversation_follows_the_customer_to_another_of_our_numbers_with_what_waits(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_1"), NOW)
    _sent(ledger, NOW)
    inbox.record_inbound(ledger, written(sid="SM1", to=DEFAULT), NOW + 5)
    (job,) = turns.claim_turns(ledger, 9, NOW + 8).jobs
    turns.finish_turn(ledger, job.turn_id, ["Claro."], None, NOW + 9)
    inbox.record_inbound(ledger, written("¿Y aquí?", sid="SM2", to=SALES), NOW + 9)
    assert [message.sender for message in _sent(ledger, NOW + 9)] == [SALES]
    assert [message.sender for message in _answered(ledger, NOW + 20)] == [SALES]


def test_a_message_that_a_listing_brings_late_does_not_move_the_conversation_back(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_1"), NOW)
    _sent(ledger, NOW)
    inbox.record_inbound(ledger, written(sid="SM2", to=SALES), NOW + 9)
    inbox.record_inbound(ledger, written("Hola", sid="SM1", to=DEFAULT, written_at=NOW + 5), NOW + 30)
    assert [message.sender for message in _answered(ledger, NOW + 50)] == [SALES]


def test_a_messaging_service_chooses_the_number_until_a_receipt_names_it(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger()
    state = calls.record_call(ledger, call(), NOW)
    assert [message.sender for message in _sent(ledger, NOW)] == [None]
    receipts.record_receipt(ledger, Receipt(f"SM{state.message_id:032x}", "sent", sender=SALES), NOW + 1)
    calls.record_call(ledger, call("conv_2", ended_at=NOW + 60), NOW + 60)
    assert [message.sender for message in _sent(ledger, NOW + 60)] == [SALES]


def test_a_claim_for_one_number_takes_nothing_of_another(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_1"), NOW)
    calls.record_call(ledger, call("conv_2", phone="+573001112233", agent_id="agent_sales"), NOW)
    assert [message.sender for message in _sent(ledger, NOW, SALES)] == [SALES]
    assert [message.sender for message in _sent(ledger, NOW, DEFAULT)] == [DEFAULT]


def test_an_uncertain_send_is_looked_up_at_its_own_number(ledger: Ledger) -> None:
    state = calls.record_call(ledger, call(agent_id="agent_sales"), NOW)
    assert state.message_id is not None
    claims.claim_messages(ledger, 9, NOW)
    send_results.finish_send(ledger, state.message_id, Unclear("the connection broke"), NOW + 1)
    (lookup,) = receipts.due_lookups(ledger, 9, NOW + 1)
    assert lookup.sender == SALES
