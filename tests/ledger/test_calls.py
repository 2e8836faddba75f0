"""Calls count once, and the opening is decided in the transaction that stores them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import (
    agent_input,
    batches,
    calls,
    claims,
    consent,
    handover,
    inbox,
    operator_decisions,
    send_results,
    turns,
    wanted_details,
)
from wa_relay.ledger.faults import CallConflict
from wa_relay.ledger.outbox import NewMessage, queue_message
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, BatchHint
from wa_relay.policy import OpeningText, Operator

API = Operator("api", "api")


def _openings(ledger: Ledger) -> list[sqlite3.Row]:
    return ledger.all("select * from conversation_messages where kind = 'opening' order by id")


def test_a_call_gets_its_conversation_and_its_opening_in_one_go(ledger: Ledger) -> None:
    state = calls.record_call(ledger, call(), NOW)
    assert (state.created, state.message_status, state.skipped) == (True, "queued", None)
    assert [row["content"] for row in _openings(ledger)] == ["Hola Ana García, gracias por atender."]
    customer = ledger.one("select * from conversation_state")
    assert customer is not None
    assert (customer["phone_number"], customer["client_name"], customer["message_count"]) == (PHONE, "Ana García", 1)


@pytest.mark.parametrize("source", ["push", "poll", "webhook"])
def test_the_same_call_from_any_source_counts_once(ledger: Ledger, source: str) -> None:
    calls.record_call(ledger, call(), NOW)
    again = calls.record_call(ledger, call(source=source), NOW + 1)
    assert not again.created
    assert len(_openings(ledger)) == 1


def test_the_file_itself_refuses_a_second_opening_for_a_call(ledger: Ledger) -> None:
    state = calls.record_call(ledger, call(), NOW)
    with pytest.raises(REFUSED, match="call_id"):
        queue_message(ledger, NewMessage(state.conversation_id, "opening", "otra vez", NOW, state.call_id), NOW)


def test_another_phone_for_a_known_call_is_a_conflict_that_masks_both(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    with pytest.raises(CallConflict) as refused:
        calls.record_call(ledger, call(phone="+573001112233"), NOW)
    assert "+573001112233" not in refused.value.message
    assert PHONE not in refused.value.message


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"outcome": "voicemail"}, "outcome_not_followed"),
        ({"ended_at": NOW - 86400.0}, "too_old"),
        ({"ended_at": NOW - 3700.0}, "too_old"),  # before the database was made
        ({"ended_at": None, "source": "poll"}, "too_old"),
    ],
)
def test_a_call_that_is_not_followed_is_stored_with_its_reason(
    ledger: Ledger, facts: dict[str, Any], reason: str
) -> None:
    state = calls.record_call(ledger, call(**facts), NOW)
    assert state.skipped == reason
    assert _openings(ledger) == []


def test_a_person_who_opted_out_before_any_call_is_not_written_to(ledger: Ledger) -> None:
    consent.opt_out(ledger, PHONE, "customer", NOW)
    assert calls.record_call(ledger, call(), NOW).skipped == "opted_out"


def test_min_gap_skips_the_second_opening_and_not_the_second_call(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(min_gap=7200.0)
    calls.record_call(ledger, call("conv_1"), NOW)
    assert calls.record_call(ledger, call("conv_2"), NOW + 3600).skipped == "recent_opening"
    assert calls.record_call(ledger, call("conv_3", ended_at=NOW + 7300), NOW + 7300).message_status == "queued"


def test_a_polled_call_without_a_name_waits_for_the_backend_that_pushes(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_0", phone="+573000000000"), NOW)
    state = calls.record_call(ledger, call(source="poll", client_name=None), NOW)
    assert state.due_at == NOW + 20.0
    shown = calls.record_call(ledger, call(client_name="Ana"), NOW + 3)
    assert (shown.created, shown.due_at) == (False, NOW + 3)
    assert _openings(ledger)[1]["content"] == "Hola Ana, gracias por atender."


def test_a_polled_call_does_not_wait_where_nobody_pushes(ledger: Ledger) -> None:
    assert calls.record_call(ledger, call(source="poll", client_name=None), NOW).due_at == NOW


def test_a_later_report_fills_in_what_the_first_lacked_and_changes_nothing_else(ledger: Ledger) -> None:
    calls.record_call(ledger, call(group_name=None, batch_name="Octubre"), NOW)
    calls.record_call(ledger, call(group_name="Campaña", batch_name="Noviembre", outcome="failed"), NOW)
    row = ledger.one("select * from calls")
    assert row is not None
    assert (row["group_name"], row["batch_name"], row["outcome"]) == ("Campaña", "Octubre", "completed")


def test_an_opening_that_is_on_the_wire_is_not_rewritten(ledger: Ledger) -> None:
    calls.record_call(ledger, call(client_name=None), NOW)
    claims.claim_messages(ledger, 1, NOW)
    calls.record_call(ledger, call(client_name="Ana"), NOW + 1)
    assert _openings(ledger)[0]["content"] == "Hola, gracias por atender."


def test_the_conversation_points_at_the_call_that_ended_last(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_new", ended_at=NOW), NOW)
    calls.record_call(ledger, call("conv_old", ended_at=NOW - 600), NOW + 5)
    customer = ledger.one("select elevenlabs_conversation_id as key from conversation_state")
    assert customer is not None
    assert customer["key"] == "conv_new"


def test_a_hint_waits_for_its_outcome_and_goes_when_the_call_is_known(ledger: Ledger) -> None:
    hint = BatchHint(call(source="webhook"), "btcal_1", "rcpt_1")
    batches.record_hint(ledger, hint, NOW)
    assert batches.take_due_hints(ledger, 5, 120.0, NOW) == [hint]
    assert batches.take_due_hints(ledger, 5, 120.0, NOW + 1) == []
    calls.record_call(ledger, call(), NOW + 2)
    assert batches.take_due_hints(ledger, 5, 120.0, NOW + 9999) == []


def test_a_template_whose_variable_is_empty_is_not_sent(make_ledger: Callable[..., Ledger]) -> None:
    template = OpeningText(content_sid="HX1", content_variables={"1": "{client_name}"})
    ledger = make_ledger(openings={"completed": template})
    calls.record_call(ledger, call(client_name=None), NOW)
    claimed = claims.claim_messages(ledger, 5, NOW)
    assert claimed.jobs == ()
    state = calls.call_state(ledger, "conv_1")
    assert (state.message_status, state.reason) == ("failed", "empty_variable")


def test_the_body_goes_inside_the_window_and_the_template_outside_it(make_ledger: Callable[..., Ledger]) -> None:
    both = OpeningText("Hola {client_name}", "HX1", {"1": "{client_name}"})
    ledger = make_ledger(openings={"completed": both})
    calls.record_call(ledger, call("conv_1"), NOW)
    (outside,) = claims.claim_messages(ledger, 5, NOW).jobs
    assert (outside.outgoing.content_sid, outside.outgoing.body) == ("HX1", None)
    assert outside.outgoing.content_variables == {"1": "Ana García"}
    send_results.finish_send(ledger, 1, Accepted("SM" + "1" * 32), NOW)
    ledger.run("update conversation_state set window_ends_at = ?", (NOW + 86400,))
    calls.record_call(ledger, call("conv_2"), NOW + 1)
    (inside,) = claims.claim_messages(ledger, 5, NOW + 1).jobs
    assert (inside.outgoing.content_sid, inside.outgoing.body) == (None, "Hola Ana García")


def test_fifty_thousand_old_calls_bring_no_opening(ledger: Ledger) -> None:
    ledger.db.execute("begin")
    for number in range(2_000):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+57300{number:07}", ended_at=NOW - 9000), NOW)
    assert _openings(ledger) == []


def test_a_pause_shows_in_the_answer_to_a_report(ledger: Ledger) -> None:
    assert not calls.record_call(ledger, call(), NOW).held
    operator_decisions.pause(ledger, "ana", NOW)
    assert calls.record_call(ledger, call("conv_2"), NOW).held


def test_a_call_that_the_webhook_reports_does_not_wait(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    for source, due in (("webhook", NOW + 1), ("poll", NOW + 21)):
        state = calls.record_call(ledger, call(source, source=source, client_name=None), NOW + 1)
        assert state.due_at == due


def test_a_variable_that_one_source_had_as_null_is_filled_in_by_another(ledger: Ledger) -> None:
    calls.record_call(ledger, call(variables={"cita": "", "plan": "Oro"}), NOW)
    calls.record_call(ledger, call(source="poll", variables={"cita": "jueves", "plan": "Plata"}), NOW + 1)
    row = ledger.one("select variables from calls")
    assert row is not None
    assert json.loads(row["variables"]) == {"cita": "jueves", "plan": "Oro"}


def _due(ledger: Ledger, now: float) -> list[str]:
    return [key for _, key in wanted_details.due_details(ledger, 5, now)]


def test_details_that_nobody_needs_are_not_fetched(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    assert _due(ledger, NOW + 86_400.0) == []


def test_details_are_fetched_while_the_first_message_after_a_call_waits_for_more(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    inbox.record_inbound(ledger, written(), NOW + 60.0)
    assert _due(ledger, NOW + 60.0) == ["conv_1"]


def test_details_of_a_second_call_are_fetched_with_its_first_turn(ledger: Ledger) -> None:
    calls.record_call(ledger, call(summary="Quiere precios."), NOW)
    inbox.record_inbound(ledger, written(), NOW + 60.0)
    turns.claim_turns(ledger, 5, NOW + 70.0)
    calls.record_call(ledger, call("conv_2"), NOW + 80.0)
    inbox.record_inbound(ledger, written(sid="SM2"), NOW + 90.0)
    assert _due(ledger, NOW + 90.0) == []
    turns.fail_turn(ledger, 1, "no answer", NOW + 91.0)
    (job,) = turns.claim_turns(ledger, 5, NOW + 100.0).jobs
    assert agent_input.inform(ledger.db, job).needs_details
    assert _due(ledger, NOW + 100.0) == []
    assert _due(ledger, NOW + 100.0 + wanted_details.TURN_FETCHES_FIRST) == ["conv_2"]


def test_details_are_fetched_for_a_person_who_takes_the_conversation(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    handover.take_over(ledger, PHONE, API, None, NOW + 60.0)
    assert _due(ledger, NOW + 60.0) == ["conv_1"]


def test_details_are_fetched_for_a_message_that_waits_for_a_person(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    handover.take_over(ledger, PHONE, API, None, NOW)
    calls.record_call(ledger, call("conv_2"), NOW + 30.0)
    assert _due(ledger, NOW + 30.0) == ["conv_1"]
    inbox.record_inbound(ledger, written(), NOW + 31.0)
    assert _due(ledger, NOW + 31.0) == ["conv_2"]


@pytest.mark.parametrize(
    ("opening", "reported", "due"),
    [
        (OpeningText("Hola {client_name}"), {"client_name": None}, True),
        (OpeningText("Hola {client_name}"), {"client_name": None, "variables": {"nombre": "Ana"}}, False),
        (OpeningText("Te esperamos el {cita}"), {}, True),
        (OpeningText("Te esperamos el {cita}"), {"variables": {"cita": ""}}, True),
        (OpeningText("Te esperamos el {cita}"), {"variables": {"cita": "jueves"}}, False),
        (OpeningText(content_sid="HX1", content_variables={"1": "{cita}"}), {}, True),
        (OpeningText("Soy {agent_name}"), {"agent_name": "Valentina"}, False),
        (OpeningText("Hola"), {"client_name": None}, False),
    ],
)
def test_details_are_fetched_at_once_if_the_opening_has_a_placeholder_without_a_value(
    make_ledger: Callable[..., Ledger], opening: OpeningText, reported: dict[str, Any], due: bool
) -> None:
    ledger = make_ledger(openings={"completed": opening})
    calls.record_call(ledger, call(**reported), NOW)
    assert _due(ledger, NOW) == (["conv_1"] if due else [])


def test_details_that_the_service_does_not_have_are_asked_for_twice(ledger: Ledger) -> None:
    calls.record_call(ledger, call(client_name=None), NOW)
    asked, now = 0, NOW
    while due := wanted_details.due_details(ledger, 5, now):
        asked, now = asked + 1, now + 600.0
        wanted_details.no_details(ledger, due[0][0])
    assert asked == 2
