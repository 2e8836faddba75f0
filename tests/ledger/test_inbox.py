"""Customers' messages: stored once, in turns, with consent honoured in the same transaction."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from tests.engines import only_sqlite
from tests.ledger.conftest import NOW, PHONE, call, end_runs, written
from wa_relay.ledger import agent_input, calls, claims, consent, inbox, operator_decisions, send_results, turns
from wa_relay.ledger.agent_input import TurnJob
from wa_relay.ledger.sqlite import SqliteEngine
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, Attachment, AttachmentType, Line, Unclear


@pytest.fixture
def known(ledger: Ledger) -> Ledger:
    """Ana has been called and written to."""
    calls.record_call(ledger, call(), NOW)
    claims.claim_messages(ledger, 5, NOW)
    send_results.finish_send(ledger, 1, Accepted("SM" + "0" * 32), NOW)
    return ledger


def _turn(ledger: Ledger, now: float) -> TurnJob:
    (job,) = turns.claim_turns(ledger, 5, now).jobs
    return job


def _notices(ledger: Ledger) -> list[str]:
    rows = ledger.all("select notice from conversation_messages where kind = 'notice' order by id")
    return [row["notice"] for row in rows]


def test_the_same_message_again_changes_nothing(known: Ledger) -> None:
    assert inbox.record_inbound(known, written(), NOW).effect == "turn"
    assert inbox.record_inbound(known, written(), NOW + 1).effect == "duplicate"
    assert inbox.record_inbound(known, written(written_at=NOW), NOW + 60).effect == "duplicate"


@only_sqlite
def test_a_customers_message_takes_four_statements(ledger: Ledger) -> None:
    calls.record_call(ledger, call(summary="Preguntó por el plan."), NOW)
    claims.claim_messages(ledger, 5, NOW)
    send_results.finish_send(ledger, 1, Accepted("SM" + "0" * 32), NOW)
    assert isinstance(ledger.db, SqliteEngine)
    statements: list[str] = []
    ledger.db.set_trace_callback(statements.append)
    inbox.record_inbound(ledger, written(), NOW)
    # A trigger's statements appear as the one that fired it once more.
    assert [" ".join(each.split()[:3]).partition(",")[0] for each, _ in groupby(statements)] == [
        "select s.id",
        "insert into turns",
        "insert into conversation_messages",
        "update conversation_state set",
    ]


def test_a_form_without_a_sid_is_a_message_of_its_own(known: Ledger) -> None:
    assert inbox.record_inbound(known, written(sid=None), NOW).effect == "turn"
    assert inbox.record_inbound(known, written(sid=None), NOW).effect == "turn"


def test_a_burst_is_one_turn_and_is_not_held_back_over_fifteen_seconds(known: Ledger) -> None:
    for second in range(15):
        inbox.record_inbound(known, written(f"línea {second}", sid=f"SM{second}"), NOW + second)
        assert turns.claim_turns(known, 5, NOW + second + 0.5).jobs == ()
    job = _turn(known, NOW + 15)
    assert job.question.text == "\n".join(f"línea {second}" for second in range(15))


def test_a_turn_knows_the_call_and_the_thread_before_it(known: Ledger) -> None:
    inbox.record_inbound(known, written("¿precio?"), NOW)
    question = agent_input.inform_on_writer(known, _turn(known, NOW + 2)).question
    assert (question.agent_id, question.call_key) == ("agent_1", "conv_1")
    assert question.text == "¿precio?"
    assert question.thread == (Line("agent", "Hola Ana García, gracias por atender."),)


def test_turns_of_one_conversation_are_asked_one_after_the_other(known: Ledger) -> None:
    inbox.record_inbound(known, written("uno", sid="SM1"), NOW)
    first = _turn(known, NOW + 2)
    inbox.record_inbound(known, written("dos", sid="SM2"), NOW + 3)
    assert turns.claim_turns(known, 5, NOW + 60).jobs == ()
    turns.finish_turn(known, first.turn_id, ["respuesta"], None, NOW + 61)
    assert _turn(known, NOW + 62).question.text == "dos"


def test_a_failed_turn_says_the_fallback_once_and_is_part_of_the_next_question(known: Ledger) -> None:
    inbox.record_inbound(known, written("uno", sid="SM1"), NOW)
    assert turns.fail_turn(known, _turn(known, NOW + 2).turn_id, "away", NOW + 3)
    inbox.record_inbound(known, written("dos", sid="SM2"), NOW + 10)
    second = _turn(known, NOW + 12)
    assert second.question.text == "uno\ndos"
    assert not turns.fail_turn(known, second.turn_id, "away", NOW + 13)
    inbox.record_inbound(known, written("tres", sid="SM3"), NOW + 20)
    third = _turn(known, NOW + 22)
    assert third.question.text == "uno\ndos\ntres"
    turns.finish_turn(known, third.turn_id, ["al fin"], None, NOW + 23)
    inbox.record_inbound(known, written("cuatro", sid="SM4"), NOW + 30)
    fourth = _turn(known, NOW + 32)
    assert fourth.question.text == "cuatro"
    assert turns.fail_turn(known, fourth.turn_id, "away", NOW + 33)
    assert _notices(known) == ["fallback", "fallback"]


def test_messages_that_came_while_a_failing_turn_was_asked_are_asked_with_it(known: Ledger) -> None:
    inbox.record_inbound(known, written("uno", sid="SM1"), NOW)
    first = _turn(known, NOW + 2)
    inbox.record_inbound(known, written("dos", sid="SM2"), NOW + 3)
    turns.fail_turn(known, first.turn_id, "away", NOW + 4)
    assert _turn(known, NOW + 6).question.text == "uno\ndos"


def test_a_turn_that_was_being_asked_at_a_crash_is_asked_again_with_what_came_since(known: Ledger) -> None:
    inbox.record_inbound(known, written("uno", sid="SM1"), NOW)
    _turn(known, NOW + 2)
    inbox.record_inbound(known, written("dos", sid="SM2"), NOW + 3)
    end_runs(known)
    assert turns.rescue_turns(known, NOW + 9) == 1
    assert _turn(known, NOW + 9).question.text == "uno\ndos"


def test_a_turn_that_brings_the_daemon_down_five_times_fails_with_the_fallback(known: Ledger) -> None:
    inbox.record_inbound(known, written(), NOW)
    for _ in range(5):
        _turn(known, NOW + 10)
        end_runs(known)
        turns.rescue_turns(known, NOW + 10)
    assert turns.claim_turns(known, 5, NOW + 20).jobs == ()
    assert _notices(known) == ["fallback"]


@pytest.mark.parametrize("attachment", ["audio", "image", "contact", "location", "other"])
def test_unreadable_attachments_get_one_text_answer_and_the_agent_is_not_asked(
    known: Ledger, attachment: AttachmentType
) -> None:
    for number in range(2):
        inbox.record_inbound(known, written("", sid=f"MM{number}", attachment=Attachment(attachment)), NOW + number)
    claimed = turns.claim_turns(known, 5, NOW + 3)
    assert (claimed.jobs, claimed.answered) == ((), 1)
    assert _notices(known) == ["text_only"]


def test_a_caption_is_text_and_the_agent_gets_a_note_of_the_picture(known: Ledger) -> None:
    inbox.record_inbound(known, written("Mira esta foto", attachment=Attachment("image")), NOW)
    text = _turn(known, NOW + 2).question.text
    assert text.startswith("Mira esta foto\n")
    assert "imagen" in text


@pytest.mark.parametrize("word", ["BAJA", "¡Baja!", "  baja. ", "No molestar"])
def test_an_opt_out_cancels_what_waits_and_is_confirmed_once(known: Ledger, word: str) -> None:
    inbox.record_inbound(known, written("hola", sid="SM1"), NOW)
    calls.record_call(known, call("conv_2"), NOW)
    received = inbox.record_inbound(known, written(word, sid="SM2"), NOW + 1)
    assert received.effect == "opted_out"
    assert turns.claim_turns(known, 5, NOW + 60).jobs == ()
    jobs = claims.claim_messages(known, 5, NOW + 2).jobs
    assert [job.outgoing.body for job in jobs] == ["Listo, no te escribiremos más."]
    inbox.record_inbound(known, written(word, sid="SM3"), NOW + 3)
    assert _notices(known) == ["opt_out"]
    assert calls.record_call(known, call("conv_3"), NOW + 4).skipped == "opted_out"


def test_a_second_stop_leaves_the_confirmation_that_waits(known: Ledger) -> None:
    for second, sid in enumerate(("SM1", "SM2")):
        assert inbox.record_inbound(known, written("baja", sid=sid), NOW + second).effect == "opted_out"
    jobs = claims.claim_messages(known, 5, NOW + 2).jobs
    assert [job.outgoing.body for job in jobs] == ["Listo, no te escribiremos más."]


def test_a_customer_who_returns_before_the_confirmation_was_sent_does_not_get_it(known: Ledger) -> None:
    for second, word in enumerate(["baja", "alta"]):
        inbox.record_inbound(known, written(word, sid=f"SM{second}"), NOW + second)
    assert claims.claim_messages(known, 5, NOW + 2).jobs == ()


def test_an_opt_out_that_is_taken_back_and_repeated_is_confirmed_once(known: Ledger) -> None:
    for second, word in enumerate(["baja", "alta", "baja"]):
        inbox.record_inbound(known, written(word, sid=f"SM{second}"), NOW + second)
    (job,) = claims.claim_messages(known, 5, NOW + 4).jobs
    send_results.finish_send(known, job.outgoing.message_id or 0, Accepted("SM" + "1" * 32), NOW + 4)
    assert claims.claim_messages(known, 5, NOW + 60).jobs == ()


def test_a_confirmation_that_an_operator_resends_goes_to_an_opted_out_customer(known: Ledger) -> None:
    inbox.record_inbound(known, written("baja", sid="SM1"), NOW)
    (job,) = claims.claim_messages(known, 5, NOW + 1).jobs
    confirmation = job.outgoing.message_id or 0
    send_results.finish_send(known, confirmation, Unclear("timeout"), NOW + 2)
    inbox.record_inbound(known, written("alta", sid="SM2"), NOW + 3)
    operator_decisions.resolve(known, confirmation, "resend", None, "operator", NOW + 1000)
    claimed = claims.claim_messages(known, 5, NOW + 1001)
    assert (claimed.jobs, claimed.ended) == ((), ((confirmation, "cancelled"),))


def test_the_thread_goes_back_past_any_number_of_pictures(known: Ledger) -> None:
    inbox.record_inbound(known, written("mi pedido es el 4711", sid="SM0"), NOW)
    turns.finish_turn(known, _turn(known, NOW + 2).turn_id, ["Anotado."], None, NOW + 2)
    for number in range(1, 301):
        inbox.record_inbound(known, written("", sid=f"SM{number}", attachment=Attachment("sticker")), NOW + 3)
    assert turns.claim_turns(known, 5, NOW + 60).jobs == ()
    inbox.record_inbound(known, written("¿y mi pedido?", sid="SM301"), NOW + 61)
    thread = agent_input.inform_on_writer(known, _turn(known, NOW + 80)).question.thread
    texts = [line.text for line in thread]
    assert texts[-12:-10] == ["mi pedido es el 4711", "Anotado."]
    assert set(texts[-10:]) == {"[El cliente envió un sticker que no se puede abrir aquí]"}


def test_twilios_own_opt_out_cancels_the_confirmation_that_waits(known: Ledger) -> None:
    assert inbox.record_inbound(known, written("baja", sid="SM1"), NOW).effect == "opted_out"
    consent.opt_out(known, PHONE, "twilio", NOW + 1)
    assert claims.claim_messages(known, 5, NOW + 2).jobs == ()
    assert _notices(known) == ["opt_out"]


def test_an_answer_that_comes_after_the_opt_out_is_dropped(known: Ledger) -> None:
    inbox.record_inbound(known, written("hola", sid="SM1"), NOW)
    job = _turn(known, NOW + 2)
    inbox.record_inbound(known, written("baja", sid="SM2"), NOW + 3)
    assert turns.finish_turn(known, job.turn_id, ["tarde"], None, NOW + 4) == []


def test_a_customer_who_returns_is_answered_by_the_agent(known: Ledger) -> None:
    inbox.record_inbound(known, written("baja", sid="SM1"), NOW)
    assert inbox.record_inbound(known, written("¿sigues?", sid="SM2"), NOW + 1).effect == "silent"
    assert inbox.record_inbound(known, written("ALTA", sid="SM3"), NOW + 2).effect == "turn"
    assert _turn(known, NOW + 4).question.text == "ALTA"
    assert calls.record_call(known, call("conv_2"), NOW + 5).message_status == "queued"


def test_twilios_own_opt_out_changes_the_state_and_nobody_answers(known: Ledger) -> None:
    assert inbox.record_inbound(known, written("STOP", sid="SM1", opt_out="STOP"), NOW).effect == "opted_out"
    assert _notices(known) == []
    assert inbox.record_inbound(known, written("START", sid="SM2", opt_out="START"), NOW + 1).effect == "silent"
    assert calls.record_call(known, call("conv_2"), NOW + 2).message_status == "queued"


def test_a_stranger_is_ignored_and_left_out_of_a_later_turn(ledger: Ledger) -> None:
    assert inbox.record_inbound(ledger, written("¿quién eres?", sid="SM1"), NOW - 60).effect == "stranger"
    calls.record_call(ledger, call(), NOW)
    assert (
        inbox.record_inbound(ledger, written("¿quién eres?", sid="SM1", written_at=NOW - 60), NOW).effect == "duplicate"
    )
    inbox.record_inbound(ledger, written("hola", sid="SM2"), NOW + 1)
    job = _turn(ledger, NOW + 3)
    assert job.question.text == "hola"
    assert "quién" not in str(agent_input.inform_on_writer(ledger, job).question.thread)


def test_a_stranger_gets_the_fallback_once_where_configured(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(unknown_sender="fallback")
    assert inbox.record_inbound(ledger, written("hola", sid="SM1"), NOW).effect == "notice"
    assert inbox.record_inbound(ledger, written("¿hola?", sid="SM2"), NOW + 5).effect == "silent"
    assert [job.kind for job in claims.claim_messages(ledger, 5, NOW + 6).jobs] == ["notice"]


def test_a_stranger_is_put_to_an_agent_where_that_is_wanted(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(unknown_sender="agent", unknown_agent_id="agent_front")
    inbox.record_inbound(ledger, written("hola"), NOW)
    question = _turn(ledger, NOW + 2).question
    assert (question.agent_id, question.call_key) == ("agent_front", None)


def test_a_message_from_before_the_database_is_neither_stored_nor_answered(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(NOW, unknown_sender="agent", unknown_agent_id="agent_front")
    assert inbox.record_inbound(ledger, written(written_at=NOW - 2), NOW + 5).effect == "before_fence"
    assert ledger.all("select 1 from conversation_messages union all select 1 from strangers") == []


def test_a_message_found_late_is_answered_while_the_window_is_open(known: Ledger) -> None:
    assert inbox.record_inbound(known, written(sid="SM1", written_at=NOW + 5), NOW + 80_000).effect == "turn"
    assert inbox.record_inbound(known, written(sid="SM2", written_at=NOW + 6), NOW + 90_000).effect == "silent"


def test_a_person_who_hides_the_number_is_known_by_the_user_id(known: Ledger) -> None:
    inbox.record_inbound(known, written(sid="SM1", user_id="CO.1A2b"), NOW)
    received = inbox.record_inbound(known, written("otra", sid="SM2", phone="CO.1A2b"), NOW + 1)
    assert (received.effect, received.conversation_id) == ("turn", 1)


def test_a_mobile_that_whatsapp_spells_otherwise_than_it_was_dialled_is_the_person_called(ledger: Ledger) -> None:
    calls.record_call(ledger, call(phone="+525512345678"), NOW)
    received = inbox.record_inbound(ledger, written("baja", sid="SM1", phone="+5215512345678"), NOW)
    assert (received.effect, received.conversation_id) == ("opted_out", 1)
    assert inbox.record_inbound(ledger, written(sid="SM2", phone="+5215512345679"), NOW).effect == "stranger"


def test_the_thread_counts_every_message(known: Ledger) -> None:
    inbox.record_inbound(known, written(), NOW)
    turns.finish_turn(known, _turn(known, NOW + 2).turn_id, ["uno", "dos"], None, NOW + 3)
    row = known.one("select message_count from conversation_state where phone_number = ?", (PHONE,))
    assert row is not None
    assert row[0] == 4


OURS = frozenset({"+14155238886"})


@pytest.mark.parametrize("unknown_sender", ["ignore", "fallback", "agent"])
def test_a_message_to_a_number_that_is_not_ours_belongs_to_no_customer(
    make_ledger: Callable[..., Ledger], unknown_sender: str
) -> None:
    ledger = make_ledger(own_numbers=OURS, unknown_sender=unknown_sender, unknown_agent_id="agent_9")
    calls.record_call(ledger, call(), NOW)
    for sid, phone in (("SM1", PHONE), ("SM2", "+573009998877")):
        assert inbox.record_inbound(ledger, written(sid=sid, phone=phone, to="+14155550123"), NOW).effect == "stranger"
    assert ledger.all("select 1 from conversation_messages where kind <> 'opening'") == []


@pytest.mark.parametrize(("own", "to"), [(OURS, "+14155238886"), (OURS, None), (frozenset(), "+14155550123")])
def test_a_message_to_one_of_our_numbers_or_to_none_belongs_to_a_customer(
    make_ledger: Callable[..., Ledger], own: frozenset[str], to: str | None
) -> None:
    ledger = make_ledger(own_numbers=own)
    calls.record_call(ledger, call(), NOW)
    assert inbox.record_inbound(ledger, written(to=to), NOW).effect == "turn"
