"""Alerts in the ledger: raised with their cause, spaced, tried for a day, and finished once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.config.list_types import ALERTS
from wa_relay.ledger import alerts, calls, claims, handover, holds, inbox, receipts, send_results, turns
from wa_relay.ledger.alerts import DueAlert
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Receipt, SendRefused, Unclear
from wa_relay.policy import ALERT_SPACING, Alert, AlertType, Operator

MakeLedger = Callable[..., Ledger]
ANY = Alert("poller.failing", "poller", {"failures": 3})
OPERATOR = Operator("ana", "console")


@pytest.fixture
def watched(make_ledger: MakeLedger) -> Ledger:
    """A ledger whose receiver takes every type."""
    return make_ledger(alerts=frozenset(ALERTS), handover_keywords=frozenset({"asesor"}))


def waiting(ledger: Ledger, now: float = NOW + 10 * 86400.0) -> list[DueAlert]:
    return alerts.due_alerts(ledger.db, 100, now)


def bodies(ledger: Ledger) -> list[tuple[str, dict[str, Any]]]:
    return [(alert.type, json.loads(alert.body)["data"]) for alert in waiting(ledger)]


def sent_opening(ledger: Ledger, key: str = "conv_1", **facts: Any) -> int:
    calls.record_call(ledger, call(key, **facts), NOW)
    (job,) = claims.claim_messages(ledger, 10, NOW).jobs
    assert job.outgoing.message_id is not None
    return job.outgoing.message_id


def failed_turn(ledger: Ledger, now: float) -> None:
    inbox.record_inbound(ledger, written("¿Y?", f"SM{now}"), now)
    (job,) = turns.claim_turns(ledger, 10, now + 20.0).jobs
    turns.fail_turn(ledger, job.turn_id, "no answer", now + 21.0)


def test_the_types_are_those_that_the_configuration_knows() -> None:
    assert get_args(AlertType) == ALERTS


def test_nothing_is_stored_for_a_type_that_is_off(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(alerts=frozenset({"disk.low"}))
    assert not alerts.raise_alert(ledger, ANY, NOW)
    assert waiting(ledger) == []


def test_a_subject_has_at_most_one_alert_in_ten_minutes(watched: Ledger) -> None:
    moments = (NOW, NOW + 1.0, NOW + ALERT_SPACING - 1.0, NOW + ALERT_SPACING)
    assert [alerts.raise_alert(watched, ANY, at) for at in moments] == [True, False, False, True]
    assert alerts.raise_alert(watched, Alert("poller.failing", "another"), NOW)


def test_the_schema_refuses_a_second_alert_of_a_subject(watched: Ledger) -> None:
    alerts.raise_alert(watched, ANY, NOW)
    unguarded = alerts.INSERT_ALERT.replace("created_at > :since", "created_at > :since and id < 0")
    row = {"webhook_id": "msg_2", "type": ANY.type, "subject": ANY.subject, "conversation_id": None, "data": "{}"}
    with pytest.raises(REFUSED, match="10 minutes"):
        watched.run(unguarded, row | {"now": NOW + 1.0, "since": 0.0})


def test_an_alert_is_tried_for_a_day_with_pauses_that_double_up_to_an_hour(watched: Ledger) -> None:
    alerts.raise_alert(watched, ANY, NOW)
    at, pauses = NOW, []
    while alert := next(iter(waiting(watched, at)), None):
        due = alerts.put_off(watched, alert.id, "HTTP 500", at)
        if due is None:
            break
        pauses.append(due - at)
        at = due
    assert pauses[:11] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]
    assert set(pauses[10:]) == {3600.0}
    assert 82_800.0 < at - NOW <= 86_400.0
    assert waiting(watched) == []


def test_every_try_has_the_same_id_and_body(watched: Ledger) -> None:
    alerts.raise_alert(watched, ANY, NOW)
    (first,) = waiting(watched, NOW)
    alerts.put_off(watched, first.id, "HTTP 500", NOW)
    (second,) = waiting(watched, NOW + 5.0)
    assert (second.webhook_id, second.body, second.tries) == (first.webhook_id, first.body, 1)
    assert json.loads(first.body) == {
        "type": "poller.failing",
        "timestamp": "2026-11-18T11:06:40Z",
        "data": {"failures": 3},
    }


def test_an_acknowledged_alert_is_finished_and_forgotten_after_a_month(watched: Ledger) -> None:
    alerts.raise_alert(watched, ANY, NOW)
    (alert,) = waiting(watched)
    alerts.acknowledge(watched, alert.id, "HTTP 204", NOW)
    assert waiting(watched) == []
    assert alerts.put_off(watched, alert.id, "HTTP 500", NOW) is None
    alerts.raise_alert(watched, Alert("disk.low", "disk"), NOW + alerts.KEPT)
    (other,) = waiting(watched, NOW + alerts.KEPT)
    alerts.acknowledge(watched, other.id, "HTTP 204", NOW + alerts.KEPT + 1.0)
    assert watched.need_one("select count(*) from alerts")[0] == 1


def test_a_restore_ends_what_waits(watched: Ledger) -> None:
    alerts.raise_alert(watched, ANY, NOW)
    assert alerts.fail_waiting(watched, NOW) == 1
    assert tuple(watched.need_one("select state, reason from alerts")) == ("failed", "restored")


def test_a_request_for_a_person_is_reported_with_the_number(watched: Ledger) -> None:
    sent_opening(watched)
    inbox.record_inbound(watched, written("Asesor"), NOW + 1.0)
    expected = {"conversation_id": "conv_local_1", "phone_number": PHONE, "reason": "keyword"}
    assert bodies(watched) == [("handover.wanted", expected)]


def test_a_new_request_after_a_release_is_a_new_subject(watched: Ledger) -> None:
    sent_opening(watched)
    inbox.record_inbound(watched, written("Asesor"), NOW + 1.0)
    inbox.record_inbound(watched, written("ASESOR", "SM2"), NOW + 2.0)
    assert len(waiting(watched)) == 1
    handover.release(watched, PHONE, OPERATOR, NOW + 3.0)
    inbox.record_inbound(watched, written("asesor", "SM3"), NOW + 4.0)
    assert [type_ for type_, _ in bodies(watched)] == ["handover.wanted"] * 2


def test_a_customer_whom_nobody_answers_is_reported_and_again_after_an_hour(watched: Ledger) -> None:
    sent_opening(watched)
    handover.take_over(watched, PHONE, OPERATOR, None, NOW)
    inbox.record_inbound(watched, written("¿Hola?"), NOW + 1.0)
    late = NOW + 1.0 + watched.rules.handover_unanswered
    assert not alerts.has_unanswered(watched.db, watched.rules, late - 1.0)
    assert alerts.has_unanswered(watched.db, watched.rules, late)
    assert alerts.raise_unanswered(watched, 10, late) == 1
    assert alerts.raise_unanswered(watched, 10, late + 3599.0) == 0
    assert alerts.raise_unanswered(watched, 10, late + 3600.0) == 1
    expected = {"conversation_id": "conv_local_1", "phone_number": PHONE, "unanswered_since": "2026-11-18T11:06:41Z"}
    assert bodies(watched) == [("handover.unanswered", expected)] * 2


def test_a_muted_conversation_is_reported_with_the_number(watched: Ledger) -> None:
    sent_opening(watched)
    handover.mute(watched, 1, "too_many_turns", NOW)
    expected = {"conversation_id": "conv_local_1", "phone_number": PHONE, "reason": "too_many_turns"}
    assert bodies(watched) == [("conversation.muted", expected)]


def test_an_uncertain_send_is_reported_once_it_is_not_found(watched: Ledger) -> None:
    message_id = sent_opening(watched)
    send_results.finish_send(watched, message_id, Unclear("the connection broke"), NOW)
    assert waiting(watched) == []
    for at in (NOW + 1.0, NOW + 700.0):
        (lookup,) = receipts.due_lookups(watched, 10, at)
        receipts.record_lookup(watched, lookup, (), at)
    expected = {"message_id": message_id, "kind": "opening", "conversation_id": "conv_local_1"}
    assert bodies(watched) == [("send.uncertain", expected)]


def test_a_refused_account_is_reported_once_for_all_its_probes(watched: Ledger) -> None:
    message_id = sent_opening(watched)
    send_results.finish_send(watched, message_id, SendRefused("20003", "the credentials are wrong", "account"), NOW)
    holds.hold_account(watched, "20003", "the credentials are wrong", NOW + 700.0, NOW + 701.0)
    expected = {"error_code": "20003", "meaning": "the credentials are wrong"}
    assert bodies(watched) == [("account.held", expected)]


def test_a_held_burst_is_reported_with_its_size(watched: Ledger) -> None:
    holds.hold_burst(watched, 250, NOW)
    assert bodies(watched) == [("burst.held", {"held": 250})]


def test_a_pause_by_an_operator_is_not_reported(watched: Ledger) -> None:
    holds.pause_openings(watched, NOW, "ana")
    assert waiting(watched) == []


@pytest.mark.parametrize(("code", "type_"), [("63112", "account.held"), ("63018", "sender.limited")])
def test_a_sender_that_three_receipts_hold_is_reported_without_its_number(
    make_ledger: MakeLedger, code: str, type_: str
) -> None:
    ours = "whatsapp:+14155238886"
    ledger = make_ledger(alerts=frozenset(ALERTS), default_sender=ours)
    for number in range(3):
        message_id = sent_opening(ledger, f"conv_{number}", phone=f"+57300111223{number}")
        send_results.finish_send(ledger, message_id, Accepted(f"SM{number}"), NOW)
        receipts.record_receipt(ledger, Receipt(f"SM{number}", "failed", error_code=code), NOW + number)
    ((type_found, data),) = bodies(ledger)
    assert (type_found, data["error_code"]) == (type_, code)
    assert "14155238886" not in json.dumps(data)


def test_three_failures_of_an_agent_in_a_row_are_reported_and_an_answer_ends_the_row(watched: Ledger) -> None:
    sent_opening(watched)
    failed_turn(watched, NOW + 100.0)
    failed_turn(watched, NOW + 200.0)
    inbox.record_inbound(watched, written("¿Y?", "SM9"), NOW + 300.0)
    (job,) = turns.claim_turns(watched, 10, NOW + 320.0).jobs
    turns.finish_turn(watched, job.turn_id, ["Hola."], None, NOW + 321.0)
    for at in (400.0, 500.0):
        failed_turn(watched, NOW + at)
    assert waiting(watched) == []
    failed_turn(watched, NOW + 600.0)
    failed_turn(watched, NOW + 2000.0)
    assert bodies(watched) == [("agent.failing", {"agent_id": "agent_1", "failures": 3})]
