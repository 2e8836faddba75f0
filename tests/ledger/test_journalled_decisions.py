"""Each decision of the ledger is in the journal, with its reason, in the transaction that made it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time

from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import calls, inbox, journal, turns
from wa_relay.ledger.store import Ledger
from wa_relay.policy import OpeningText


def _decided(ledger: Ledger) -> list[tuple[str, str | None]]:
    entries = journal.read_after(ledger.db, 0, 1000)
    return [(each.entry.event, each.entry.reason) for each in entries if each.to_status is None]


def test_a_call_is_recorded_with_what_became_of_its_opening(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(min_gap=3600.0)
    calls.record_call(ledger, call("conv_1", client_name=None), NOW)
    calls.record_call(ledger, call("conv_2"), NOW + 1)
    calls.record_call(ledger, call("conv_1"), NOW + 2)
    calls.record_call(ledger, call("conv_1"), NOW + 3)
    assert _decided(ledger) == [("call", None), ("call", "recent_opening"), ("call", "filled_in")]


def test_the_wait_of_an_opening_is_recorded_with_its_rule(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(quiet=(time(6, 0), time(8, 0)))
    calls.record_call(ledger, call(), NOW)
    assert _decided(ledger) == [("call", None), ("wait", "quiet_hours")]


def test_a_delay_counts_from_the_end_of_the_call(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(openings={"completed": OpeningText(body="Hola", delay=600.0)})
    assert calls.record_call(ledger, call(ended_at=NOW - 60.0), NOW).due_at == NOW + 540.0
    assert _decided(ledger) == [("call", None), ("wait", "delay")]


def test_a_turn_is_recorded_from_its_question_to_its_end(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    inbox.record_inbound(ledger, written(sid="SM1"), NOW)
    (job,) = turns.claim_turns(ledger, 5, NOW + 2).jobs
    turns.put_off_turn(ledger, job.turn_id, NOW + 10, NOW + 3)
    turns.claim_turns(ledger, 5, NOW + 10)
    turns.fail_turn(ledger, job.turn_id, "closed", NOW + 11)
    assert _decided(ledger)[1:] == [
        ("turn", "asked"),
        ("try", "no_capacity"),
        ("turn", "put_off"),
        ("turn", "asked"),
        ("turn", "failed"),
        ("fallback", "turn_failed"),
    ]


def test_an_opt_out_is_recorded_with_what_it_ends(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    for second, text in enumerate(("hola", "baja", "¿hola?", "alta")):
        inbox.record_inbound(ledger, written(text, sid=f"SM{second}"), NOW + second)
    assert _decided(ledger)[1:] == [
        ("turn", "cancelled"),
        ("opt_out", "out"),
        ("turn", "opted_out"),
        ("opt_out", "back"),
    ]
