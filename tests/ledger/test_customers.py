"""Customers: each has one conversation, found by any of its addresses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines import only_sqlite
from tests.ledger.conftest import NOW, PHONE, call, end_runs, written
from wa_relay.ledger import calls, claims, consent, customers, inbox, receipts, send_results, turns
from wa_relay.ledger.faults import CallConflict
from wa_relay.ledger.sqlite import SqliteEngine
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Receipt

DIALLED, WRITTEN = "+525512345678", "+5215512345678"
BSUID = "MX.1A2b3C"


def _send(ledger: Ledger, now: float) -> list[str]:
    """Sends what is due, and returns where it went."""
    sent = []
    for job in claims.claim_messages(ledger, 9, now).jobs:
        assert job.outgoing.message_id is not None
        sid = f"SM{job.outgoing.message_id:032x}"
        send_results.finish_send(ledger, job.outgoing.message_id, Accepted(sid), now)
        sent.append(job.outgoing.to)
    return sent


def _answer(ledger: Ledger, now: float) -> list[str]:
    """Answers what is asked, and returns where the answer went."""
    for job in turns.claim_turns(ledger, 9, now).jobs:
        turns.finish_turn(ledger, job.turn_id, ["Claro."], None, now)
    return _send(ledger, now)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DIALLED, WRITTEN),
        ("+541123456789", "+5491123456789"),
        ("+551187654321", "+5511987654321"),
    ],
)
def test_a_second_call_in_the_other_spelling_makes_no_second_conversation(ledger: Ledger, one: str, other: str) -> None:
    first = calls.record_call(ledger, call("conv_1", phone=one), NOW)
    second = calls.record_call(ledger, call("conv_2", phone=other), NOW + 1)
    assert second.conversation_id == first.conversation_id
    assert customers.addresses_of(ledger.db, first.conversation_id) == (one, other)


def test_the_same_call_in_the_other_spelling_is_a_duplicate(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone=DIALLED), NOW)
    assert not calls.record_call(ledger, call(phone=WRITTEN), NOW + 1).created


def test_the_same_call_with_another_number_of_that_customer_is_a_duplicate(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone=DIALLED), NOW)
    inbox.record_inbound(ledger, written(sid="SM1", phone=DIALLED, user_id=BSUID), NOW + 1)
    inbox.record_inbound(ledger, written(sid="SM2", phone=PHONE, user_id=BSUID), NOW + 2)
    assert not calls.record_call(ledger, call(phone=PHONE), NOW + 3).created
    with pytest.raises(CallConflict):
        calls.record_call(ledger, call(phone="+573009998877"), NOW + 4)


def test_an_opening_goes_to_the_number_that_was_dialled(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_1", phone=DIALLED), NOW)
    assert _send(ledger, NOW) == [DIALLED]
    inbox.record_inbound(ledger, written(phone=WRITTEN), NOW + 5)
    assert _answer(ledger, NOW + 8) == [WRITTEN]
    calls.record_call(ledger, call("conv_2", phone=DIALLED, ended_at=NOW + 20), NOW + 20)
    assert _send(ledger, NOW + 20) == [DIALLED]


def test_a_reply_goes_to_the_number_that_wrote_and_not_to_the_one_called(ledger: Ledger) -> None:
    state = calls.record_call(ledger, call(phone=PHONE), NOW)
    _send(ledger, NOW)
    receipts.record_receipt(ledger, Receipt(f"SM{state.message_id:032x}", "delivered", user_id=BSUID), NOW + 2)
    received = inbox.record_inbound(ledger, written(phone=DIALLED, user_id=BSUID), NOW + 5)
    assert received.conversation_id == state.conversation_id
    assert _answer(ledger, NOW + 8) == [DIALLED]


def test_a_customer_who_hides_the_number_is_answered_by_the_number_that_is_known(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone=PHONE), NOW)
    _send(ledger, NOW)
    inbox.record_inbound(ledger, written(sid="SM1", user_id=BSUID), NOW + 1)
    _answer(ledger, NOW + 4)
    inbox.record_inbound(ledger, written(sid="SM2", phone=BSUID), NOW + 10)
    assert _answer(ledger, NOW + 13) == [PHONE]


def test_a_stranger_without_a_number_is_answered_by_the_bsuid_until_a_number_is_known(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(unknown_sender="agent", unknown_agent_id="agent_9")
    received = inbox.record_inbound(ledger, written(sid="SM1", phone=BSUID), NOW)
    assert _answer(ledger, NOW + 3) == [BSUID]
    inbox.record_inbound(ledger, written(sid="SM2", phone=DIALLED, user_id=BSUID), NOW + 10)
    assert _answer(ledger, NOW + 13) == [DIALLED]
    assert received.conversation_id is not None
    assert customers.get_customer(ledger, received.conversation_id).phone == DIALLED
    assert customers.addresses_of(ledger.db, received.conversation_id) == (BSUID, DIALLED)


def test_the_whatsapp_id_finds_the_customer_whose_address_is_not_known(ledger: Ledger) -> None:
    state = calls.record_call(ledger, call(phone=PHONE), NOW)
    received = inbox.record_inbound(ledger, written(phone=BSUID, wa_id=PHONE), NOW + 1)
    assert received.conversation_id == state.conversation_id


def test_a_number_whose_bsuid_changes_keeps_both(ledger: Ledger) -> None:
    state = calls.record_call(ledger, call(phone=PHONE), NOW)
    for second, bsuid in enumerate((BSUID, "MX.9Z8y")):
        inbox.record_inbound(ledger, written(sid=f"SM{second}", user_id=bsuid), NOW + second)
    for bsuid in (BSUID, "MX.9Z8y"):
        assert customers.find_conversation(ledger.db, bsuid) == state.conversation_id


def test_an_opt_out_of_a_hidden_number_holds_once_a_receipt_shows_whose_it_is(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("BAJA", phone=BSUID), NOW - 60)
    state = calls.record_call(ledger, call(phone=PHONE), NOW)
    _send(ledger, NOW)
    receipts.record_receipt(ledger, Receipt(f"SM{state.message_id:032x}", "delivered", user_id=BSUID), NOW + 2)
    assert consent.is_opted_out(ledger, PHONE)
    assert calls.record_call(ledger, call("conv_2"), NOW + 3).skipped == "opted_out"


def test_an_opt_out_holds_for_every_address_of_a_customer(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone=PHONE), NOW)
    inbox.record_inbound(ledger, written(sid="SM1", user_id=BSUID), NOW + 1)
    inbox.record_inbound(ledger, written(sid="SM2", phone=DIALLED, user_id=BSUID), NOW + 2)
    consent.opt_out(ledger, DIALLED, "cli", NOW + 3)
    assert all(consent.is_opted_out(ledger, address) for address in (PHONE, DIALLED, WRITTEN, BSUID))
    assert calls.record_call(ledger, call("conv_2", phone=WRITTEN), NOW + 4).skipped == "opted_out"
    inbox.record_inbound(ledger, written("ALTA", sid="SM3", phone=PHONE), NOW + 5)
    assert not any(consent.is_opted_out(ledger, address) for address in (PHONE, DIALLED, WRITTEN, BSUID))


def test_a_stranger_who_opted_out_gets_no_conversation_that_is_active(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger()
    inbox.record_inbound(ledger, written("BAJA", sid="SM1"), NOW)
    ledger = make_ledger(unknown_sender="agent", unknown_agent_id="agent_9")
    assert inbox.record_inbound(ledger, written("hola", sid="SM2"), NOW + 60).effect == "silent"


def test_the_database_refuses_an_address_that_another_customer_has(ledger: Ledger) -> None:
    first = calls.record_call(ledger, call("conv_1", phone=PHONE), NOW)
    second = calls.record_call(ledger, call("conv_2", phone=DIALLED), NOW)
    found = customers.get_customer(ledger, second.conversation_id)
    with pytest.raises(ledger.db.Error):
        customers.add_address(ledger, found, PHONE, NOW)
    if ledger.db.name == "sqlite":
        assert customers.find_conversation(ledger.db, PHONE) == first.conversation_id


def test_a_look_up_of_a_message_goes_by_the_address_that_it_was_sent_to(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone=DIALLED), NOW)
    (job,) = claims.claim_messages(ledger, 9, NOW).jobs
    inbox.record_inbound(ledger, written(phone=WRITTEN), NOW + 1)
    end_runs(ledger)
    send_results.rescue_sends(ledger, NOW + 2)
    (lookup,) = receipts.due_lookups(ledger, 9, NOW + 2)
    assert (lookup.message_id, lookup.phone) == (job.outgoing.message_id, DIALLED)


@only_sqlite
def test_a_message_from_the_known_number_costs_one_read_to_find_the_customer(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone=PHONE), NOW)
    facts = {"user_id": BSUID, "wa_id": PHONE}
    inbox.record_inbound(ledger, written(sid="SM1", **facts), NOW + 1)
    statements: list[str] = []
    assert isinstance(ledger.db, SqliteEngine)
    ledger.db.set_trace_callback(statements.append)
    inbox.record_inbound(ledger, written(sid="SM2", **facts), NOW + 2)
    ledger.db.set_trace_callback(None)
    assert sum("addresses" in statement for statement in statements) == 1
