"""The daily limit of a sender: how many customers may get a template in any 24 hours."""

from __future__ import annotations

from collections.abc import Callable

from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import calls, claims, inbox, send_results, waiting_openings
from wa_relay.ledger.claims import SendJob
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, NotSent
from wa_relay.policy import OpeningText

DAY = 86_400.0
TEMPLATE = {"completed": OpeningText(content_sid="HX1", body="Hola {client_name}")}
AGE = {"openings": TEMPLATE, "burst_limit": 0, "max_call_age": 10 * DAY}

Make = Callable[..., Ledger]


def phone(number: int) -> str:
    return f"+5730011122{number:02d}"


def report(ledger: Ledger, number: int, now: float = NOW) -> None:
    calls.record_call(ledger, call(f"conv_{number}", phone=phone(number), ended_at=now), now)


def send(ledger: Ledger, now: float, limit: int = 50) -> list[str]:
    """Claims and sends what may go out; returns the numbers."""
    jobs = claims.claim_messages(ledger, limit, now).jobs
    for job in jobs:
        _accept(ledger, job, now)
    return [job.outgoing.to for job in jobs]


def _accept(ledger: Ledger, job: SendJob, now: float) -> None:
    assert job.outgoing.message_id is not None
    send_results.finish_send(ledger, job.outgoing.message_id, Accepted(f"SM{job.outgoing.message_id}", "queued"), now)


def test_openings_beyond_the_limit_wait_for_a_slot_and_then_go_out(make_ledger: Make) -> None:
    ledger = make_ledger(daily_limit=3, **AGE)
    for number in range(5):
        report(ledger, number)
        assert len(send(ledger, NOW + number)) == (1 if number < 3 else 0)
    assert send(ledger, NOW + DAY - 1.0) == []
    assert send(ledger, NOW + DAY) == [phone(3)]
    assert send(ledger, NOW + DAY + 0.5) == []
    assert send(ledger, NOW + DAY + 1.0) == [phone(4)]


def test_every_opening_that_waits_has_a_slot_of_its_own(make_ledger: Make) -> None:
    ledger = make_ledger(daily_limit=3, **AGE)
    for number in range(3):
        report(ledger, number)
        send(ledger, NOW + 10.0 * number)
    for number in range(3, 7):
        report(ledger, number, NOW + 30.0)
    assert send(ledger, NOW + 30.0) == []
    rows = ledger.all("select due_at, waits_for from conversation_messages where status = 'queued' order by id")
    assert [row["due_at"] - NOW - DAY for row in rows] == [0.0, 10.0, 20.0, 20.0]
    assert {row["waits_for"] for row in rows} == {"daily_limit"}


def test_a_customer_who_had_a_template_today_takes_no_second_slot(make_ledger: Make) -> None:
    ledger = make_ledger(daily_limit=1, **AGE)
    report(ledger, 1)
    assert len(send(ledger, NOW)) == 1
    calls.record_call(ledger, call("again", phone=phone(1), ended_at=NOW + 60.0), NOW + 60.0)
    assert send(ledger, NOW + 60.0) == [phone(1)]


def test_a_text_in_an_open_window_needs_no_slot(make_ledger: Make) -> None:
    ledger = make_ledger(daily_limit=1, **AGE)
    for number in (1, 2):
        report(ledger, number)
    assert send(ledger, NOW) == [phone(1)]
    inbox.record_inbound(ledger, written(phone=phone(2), sid="SMinbound"), NOW + 1.0)
    calls.record_call(ledger, call("again", phone=phone(2), ended_at=NOW + 60.0), NOW + 60.0)
    jobs = claims.claim_messages(ledger, 50, NOW + 60.0).jobs
    assert [(job.outgoing.to, job.outgoing.content_sid) for job in jobs] == [(phone(2), None)]


def test_a_message_that_provably_was_not_sent_takes_no_slot(make_ledger: Make) -> None:
    ledger = make_ledger(daily_limit=1, **AGE)
    report(ledger, 1)
    (job,) = claims.claim_messages(ledger, 5, NOW).jobs
    assert job.outgoing.message_id is not None
    send_results.finish_send(ledger, job.outgoing.message_id, NotSent("no connection", retry_after=3600.0), NOW)
    report(ledger, 2, NOW + 1.0)
    assert send(ledger, NOW + 1.0) == [phone(2)]


def test_without_a_limit_nothing_waits(make_ledger: Make) -> None:
    ledger = make_ledger(**AGE)
    for number in range(9):
        report(ledger, number)
    assert len(send(ledger, NOW)) == 9


def test_a_restart_keeps_the_slots_and_follows_a_new_limit(make_ledger: Make) -> None:
    ledger = make_ledger(daily_limit=1, **AGE)
    for number in range(3):
        report(ledger, number)
    assert len(send(ledger, NOW)) == 1
    ledger = make_ledger(NOW + 60.0, daily_limit=1, **AGE)
    waiting_openings.replan(ledger, NOW + 60.0)
    assert send(ledger, NOW + 60.0) == []
    ledger = make_ledger(NOW + 90.0, daily_limit=2, **AGE)
    waiting_openings.replan(ledger, NOW + 90.0)
    assert send(ledger, NOW + 90.0) == [phone(1)]
    ledger = make_ledger(NOW + 120.0, daily_limit=0, **AGE)
    waiting_openings.replan(ledger, NOW + 120.0)
    assert send(ledger, NOW + 120.0) == [phone(2)]
