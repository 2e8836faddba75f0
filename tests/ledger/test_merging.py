"""Two conversations that turn out to be one customer's: when they are merged, and what becomes of everything."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import (
    calls,
    claims,
    consent,
    customers,
    handover,
    inbox,
    journal,
    merging,
    receipts,
    schema,
    send_results,
    turns,
)
from wa_relay.ledger.inbox import Received
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Outgoing, Receipt
from wa_relay.policy import OpeningText, Operator
from wa_relay.reports import conversation_list

OTHER = "+573001112233"
BSUID = "CO.1A2b3C"
ANA = Operator("ana", "console")


def _sent(ledger: Ledger, at: float) -> list[Outgoing]:
    sent = []
    for job in claims.claim_messages(ledger, 9, NOW + at).jobs:
        message_id = job.outgoing.message_id or 0
        send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), NOW + at)
        sent.append(job.outgoing)
    return sent


def _write(ledger: Ledger, number: int, at: float, text: str = "Hola", phone: str = PHONE, **facts: str) -> Received:
    return inbox.record_inbound(ledger, written(text, sid=f"SM{number}", phone=phone, **facts), NOW + at)


def _two(ledger: Ledger) -> tuple[int, int]:
    """Two customers with a call each: the second hides the number, and a receipt has shown the BSUID."""
    first = calls.record_call(ledger, call("conv_1"), NOW)
    second = calls.record_call(ledger, call("conv_2", phone=OTHER, ended_at=NOW + 1), NOW + 1)
    assert len(_sent(ledger, 2)) == 2
    receipts.record_receipt(ledger, Receipt(f"SM{second.message_id:032x}", "delivered", user_id=BSUID), NOW + 3)
    return first.conversation_id, second.conversation_id


def _is_one(ledger: Ledger, first: int) -> bool:
    ids = [row[0] for row in ledger.all("select id from conversation_state")]
    return ids == [first] and all(
        customers.find_conversation(ledger.db, each) == first for each in (PHONE, OTHER, BSUID)
    )


def test_a_message_that_shows_two_customers_addresses_merges_them_and_the_older_id_stays(ledger: Ledger) -> None:
    first, second = _two(ledger)
    assert _write(ledger, 1, 10, user_id=BSUID).conversation_id == first
    assert _is_one(ledger, first)
    assert second not in [row[0] for row in ledger.all("select id from conversation_state")]
    (entry,) = [each for each in journal.read_of_conversation(ledger.db, first) if each.entry.event == "merge"]
    assert entry.entry.facts == {"younger": second}
    assert merging.merged_into(ledger.db, second) == first
    assert merging.merged_into(ledger.db, first) is None
    assert conversation_list.one(ledger.db, second).overview.id == first


def test_the_younger_id_is_never_given_out_again(ledger: Ledger) -> None:
    _, second = _two(ledger)
    _write(ledger, 1, 10, user_id=BSUID)
    third = calls.record_call(ledger, call("conv_3", phone="+573004445566", ended_at=NOW + 20), NOW + 20)
    assert third.conversation_id > second


def test_a_receipt_that_shows_another_customers_bsuid_merges_them(ledger: Ledger) -> None:
    first, _ = _two(ledger)
    receipts.record_receipt(ledger, Receipt(f"SM{1:032x}", "read", user_id=BSUID), NOW + 10)
    assert _is_one(ledger, first)


def test_all_messages_keep_their_order_and_the_latest_call_counts(ledger: Ledger) -> None:
    first, _ = _two(ledger)
    _write(ledger, 1, 10, "uno")
    _write(ledger, 2, 11, "dos", phone=OTHER)
    _write(ledger, 3, 12, "tres")
    _write(ledger, 4, 13, "cuatro", phone=BSUID, wa_id=PHONE)
    rows = ledger.all(
        "select content from conversation_messages where conversation_id = :id and direction = 'inbound' order by id",
        {"id": first},
    )
    assert [row[0] for row in rows] == ["uno", "dos", "tres", "cuatro"]
    state = ledger.need_one("select * from conversation_state")
    assert (state["elevenlabs_conversation_id"], state["message_count"]) == ("conv_2", 6)
    assert state["phone_number"] == PHONE


def test_the_open_turns_of_both_become_one_question(ledger: Ledger) -> None:
    _two(ledger)
    _write(ledger, 1, 10, "uno")
    _write(ledger, 2, 11, "dos", phone=OTHER)
    _write(ledger, 3, 12, "tres", user_id=BSUID)
    (job,) = turns.claim_turns(ledger, 9, NOW + 30).jobs
    assert job.question.text == "uno\ndos\ntres"
    turns.finish_turn(ledger, job.turn_id, ["Claro."], None, NOW + 31)
    assert [message.to for message in _sent(ledger, 31)] == [PHONE]


def test_a_reply_goes_to_the_address_that_wrote_last_of_both(ledger: Ledger) -> None:
    _two(ledger)
    _write(ledger, 1, 10, "uno")
    _write(ledger, 2, 11, "dos", phone=OTHER)
    receipts.record_receipt(ledger, Receipt(f"SM{1:032x}", "read", user_id=BSUID), NOW + 12)
    (job,) = turns.claim_turns(ledger, 9, NOW + 30).jobs
    turns.finish_turn(ledger, job.turn_id, ["Claro."], None, NOW + 31)
    assert [message.to for message in _sent(ledger, 31)] == [OTHER]


def test_an_answer_that_has_begun_stays_at_its_address_when_its_conversation_is_merged(ledger: Ledger) -> None:
    _two(ledger)
    _write(ledger, 1, 10, "uno", phone=OTHER)
    (job,) = turns.claim_turns(ledger, 9, NOW + 15).jobs
    turns.finish_turn(ledger, job.turn_id, ["Primera parte.", "Segunda parte."], None, NOW + 16)
    assert [message.to for message in _sent(ledger, 17)] == [OTHER]
    _write(ledger, 2, 18, "dos", user_id=BSUID)
    assert [message.to for message in _sent(ledger, 40)] == [OTHER]


@pytest.mark.parametrize("which", ["younger", "older"])
def test_nothing_is_merged_while_a_message_of_either_is_in_flight(ledger: Ledger, which: str) -> None:
    first, second = _two(ledger)
    phone, key = (OTHER, "conv_9") if which == "younger" else (PHONE, "conv_9")
    calls.record_call(ledger, call(key, phone=phone, ended_at=NOW + 5), NOW + 5)
    (job,) = claims.claim_messages(ledger, 9, NOW + 5).jobs
    _write(ledger, 1, 10, user_id=BSUID)
    assert customers.find_conversation(ledger.db, OTHER) == second
    # No new send or turn of either begins meanwhile.
    calls.record_call(ledger, call("conv_10", phone=OTHER, ended_at=NOW + 11), NOW + 11)
    assert claims.claim_messages(ledger, 9, NOW + 40).jobs == ()
    assert turns.claim_turns(ledger, 9, NOW + 40).jobs == ()
    message_id = job.outgoing.message_id or 0
    send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), NOW + 41)
    assert len(claims.claim_messages(ledger, 9, NOW + 42).jobs) == 1
    assert _is_one(ledger, first)
    assert len(turns.claim_turns(ledger, 9, NOW + 42).jobs) == 1


def test_nothing_is_merged_while_a_turn_of_either_is_being_asked(ledger: Ledger) -> None:
    first, second = _two(ledger)
    _write(ledger, 1, 10, "uno", phone=OTHER)
    (job,) = turns.claim_turns(ledger, 9, NOW + 20).jobs
    _write(ledger, 2, 21, "dos", user_id=BSUID)
    assert customers.find_conversation(ledger.db, OTHER) == second
    turns.finish_turn(ledger, job.turn_id, ["Uno."], None, NOW + 22)
    assert [message.to for message in _sent(ledger, 22)] == [PHONE]
    assert _is_one(ledger, first)
    (job,) = turns.claim_turns(ledger, 9, NOW + 40).jobs
    assert job.question.text == "dos"


def test_two_openings_that_wait_go_out_once_for_the_latest_call(make_ledger: Callable[..., Ledger]) -> None:
    openings = {"completed": OpeningText("Hola {client_name}", delay=60.0)}
    ledger = make_ledger(openings=openings)
    calls.record_call(ledger, call("conv_1", client_name="Ana"), NOW)
    calls.record_call(ledger, call("conv_2", client_name="Anita", phone=OTHER, ended_at=NOW + 1), NOW + 1)
    first = customers.find_customer(ledger, PHONE)
    assert first is not None
    merging.learn_address(ledger, first, OTHER, NOW + 5)
    assert [message.body for message in _sent(ledger, 61)] == ["Hola Anita"]
    assert _sent(ledger, 120) == []


def test_a_fallback_that_one_of_both_has_got_is_not_sent_again(ledger: Ledger) -> None:
    _two(ledger)
    _write(ledger, 1, 10, "uno")
    _write(ledger, 2, 10, "dos", phone=OTHER)
    for job in turns.claim_turns(ledger, 9, NOW + 15).jobs:
        turns.fail_turn(ledger, job.turn_id, "no answer", NOW + 16)
    (first,) = claims.claim_messages(ledger, 1, NOW + 17).jobs
    first_id = first.outgoing.message_id or 0
    _write(ledger, 3, 18, "tres", user_id=BSUID)
    send_results.finish_send(ledger, first_id, Accepted(f"SM{first_id:032x}"), NOW + 19)
    assert len(merging.merge_idle(ledger, NOW + 20)) == 1
    assert _sent(ledger, 21) == []
    (job,) = turns.claim_turns(ledger, 9, NOW + 60).jobs
    turns.finish_turn(ledger, job.turn_id, ["Claro."], None, NOW + 61)
    assert [message.body for message in _sent(ledger, 62)] == ["Claro."]
    _write(ledger, 4, 90, "cuatro")
    (job,) = turns.claim_turns(ledger, 9, NOW + 120).jobs
    turns.fail_turn(ledger, job.turn_id, "no answer", NOW + 121)
    assert [message.body for message in _sent(ledger, 122)] == [ledger.rules.fallback]


def test_the_gap_between_openings_counts_over_both(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(min_gap=3600.0, openings={"completed": OpeningText("Hola", delay=60.0)})
    calls.record_call(ledger, call("conv_1", ended_at=NOW - 60), NOW)
    assert len(_sent(ledger, 0)) == 1
    calls.record_call(ledger, call("conv_2", phone=OTHER, ended_at=NOW + 1), NOW + 1)
    first = customers.find_customer(ledger, PHONE)
    assert first is not None
    merging.learn_address(ledger, first, OTHER, NOW + 5)
    assert _sent(ledger, 100) == []
    third = calls.record_call(ledger, call("conv_3", phone=OTHER, ended_at=NOW + 200), NOW + 200)
    assert third.skipped == "recent_opening"


@pytest.mark.parametrize("which", [PHONE, OTHER])
def test_an_opt_out_of_either_holds_for_both(ledger: Ledger, which: str) -> None:
    first, _ = _two(ledger)
    calls.record_call(ledger, call("conv_9", phone=OTHER if which == PHONE else PHONE, ended_at=NOW + 4), NOW + 4)
    consent.opt_out(ledger, which, "cli", NOW + 5)
    _write(ledger, 1, 10, user_id=BSUID)
    assert _is_one(ledger, first)
    assert all(consent.is_opted_out(ledger, each) for each in (PHONE, OTHER, BSUID))
    assert _sent(ledger, 20) == []
    _write(ledger, 2, 30, "ALTA")
    assert not any(consent.is_opted_out(ledger, each) for each in (PHONE, OTHER, BSUID))


@pytest.mark.parametrize("which", [PHONE, OTHER])
def test_a_person_who_has_either_has_both(ledger: Ledger, which: str) -> None:
    first, _ = _two(ledger)
    _write(ledger, 1, 10, "uno", phone=OTHER if which == PHONE else PHONE)
    calls.record_call(ledger, call("conv_9", phone=OTHER if which == PHONE else PHONE, ended_at=NOW + 4), NOW + 11)
    handover.take_over(ledger, which, ANA, None, NOW + 12)
    _write(ledger, 2, 13, "dos", user_id=BSUID)
    assert _is_one(ledger, first)
    assert (handover.handling_of(ledger, first).handler, handover.handling_of(ledger, first).by) == ("human", "ana")
    assert turns.claim_turns(ledger, 9, NOW + 60).jobs == ()
    assert _sent(ledger, 60) == []
    handover.release(ledger, PHONE, ANA, NOW + 70)
    (job,) = turns.claim_turns(ledger, 9, NOW + 80).jobs
    assert job.question.text == "uno\ndos"


@pytest.mark.parametrize("which", [PHONE, OTHER])
def test_a_mute_of_either_mutes_both_and_a_person_wins_over_it(ledger: Ledger, which: str) -> None:
    first, _ = _two(ledger)
    muted = customers.find_conversation(ledger.db, which)
    assert muted is not None
    handover.mute(ledger, muted, "too_many_turns", NOW + 9)
    other = OTHER if which == PHONE else PHONE
    _write(ledger, 1, 10, "uno", phone=other)
    if which == PHONE:
        handover.take_over(ledger, other, ANA, None, NOW + 12)
    _write(ledger, 2, 13, "dos", user_id=BSUID)
    assert _is_one(ledger, first)
    assert handover.handling_of(ledger, first).handler == ("human" if which == PHONE else "muted")
    assert turns.claim_turns(ledger, 9, NOW + 60).jobs == ()


def test_three_that_are_one_are_merged_when_the_last_of_them_is_idle(ledger: Ledger) -> None:
    first, second = _two(ledger)
    third = calls.record_call(ledger, call("conv_3", phone="+573004445566", ended_at=NOW + 4), NOW + 4)
    (job,) = claims.claim_messages(ledger, 9, NOW + 4).jobs
    one, two = (customers.get_customer(ledger, each) for each in (second, third.conversation_id))
    merging.learn_address(ledger, two, OTHER, NOW + 5)
    merging.learn_address(ledger, customers.get_customer(ledger, first), OTHER, NOW + 6)
    assert one.id == second
    message_id = job.outgoing.message_id or 0
    send_results.finish_send(ledger, message_id, Accepted(f"SM{message_id:032x}"), NOW + 7)
    claims.claim_messages(ledger, 9, NOW + 8)
    assert [row[0] for row in ledger.all("select id from conversation_state")] == [first]
    assert customers.find_conversation(ledger.db, "+573004445566") == first
    assert ledger.all("select * from merges") == []
    assert not ledger.need_one("select merging from conversation_state")[0]


def test_every_table_that_names_a_conversation_is_moved() -> None:
    text = "".join(schema.EVERY_TABLE)
    tables = re.findall(r"create table (\w+) \(\n(.*?)\n\);", text, re.DOTALL)
    named = {name for name, columns in tables if re.search(r"^ +conversation_id link\b", columns, re.MULTILINE)}
    moved = {found[1] for move in merging.MOVES if (found := re.search(r"update (\w+) set", move))}
    # A queue of the search index: its triggers follow the conversations themselves.
    assert named - {"search_renamed"} == moved
