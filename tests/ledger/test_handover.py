"""Handovers: the handler of a conversation, what ends with it, and what the agent is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import calls, claims, handover, human_messages, inbox, journal, send_results, turns
from wa_relay.ledger.agent_input import TurnJob
from wa_relay.ledger.human_messages import HumanMessage, Stored
from wa_relay.ledger.outbox import Proof
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.unfinished_sends import BEGUN_AFTER, Begun, MayBegin
from wa_relay.model import Accepted, NotSent, SendRefused
from wa_relay.policy import Handling, Operator

ANA_AT_WORK = Operator("lucia", "console")
API = Operator("api", "api")
HOUR = 3600.0
NOTICE = "Te va a escribir una persona."


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    """A ledger in which Ana was called and wrote; her window is open."""
    made = make_ledger(handover_keywords=frozenset({"asesor"}), handover_notice=NOTICE, ask_again=0)
    calls.record_call(made, call(), NOW - 60)
    _send(made, NOW - 60)
    return made


def _send(ledger: Ledger, now: float) -> list[str]:
    """Sends what is due; returns the texts."""
    sent = []
    for job in claims.claim_messages(ledger, 10, now).jobs:
        assert job.outgoing.message_id is not None
        send_results.finish_send(ledger, job.outgoing.message_id, Accepted(f"SMout{job.outgoing.message_id}"), now)
        sent.append(job.outgoing.body or job.outgoing.content_sid or "")
    return sent


def _asked(ledger: Ledger, now: float) -> list[TurnJob]:
    return list(turns.claim_turns(ledger, 5, now).jobs)


def _handling(ledger: Ledger) -> Handling:
    return handover.handling_of(ledger, 1)


def _say(ledger: Ledger, text: str, now: float, key: str | None = None, operator: Operator = API) -> Stored | str:
    return human_messages.write(ledger, PHONE, HumanMessage(text), operator, key, now)


def _statuses(ledger: Ledger) -> list[tuple[str, str, str | None]]:
    rows = ledger.all("select kind, status, reason from conversation_messages where direction = 'outbound' order by id")
    return [(row["kind"], row["status"], row["reason"]) for row in rows]


def test_a_takeover_silences_the_agent_for_twelve_hours_and_says_who_has_it(ledger: Ledger) -> None:
    assert handover.take_over(ledger, PHONE, ANA_AT_WORK, None, NOW) == 1
    assert _handling(ledger) == Handling("human", NOW + 12 * HOUR, "console", "lucia")
    entry = journal.read_of_conversation(ledger.db, 1)[-1]
    assert (entry.entry.event, entry.entry.reason, entry.entry.actor) == ("handover", "console", "lucia")
    assert (entry.from_status, entry.to_status) == ("agent", "human")


def test_a_takeover_of_an_unknown_customer_returns_none(ledger: Ledger) -> None:
    assert handover.take_over(ledger, "+573009998877", API, None, NOW) is None


def test_a_takeover_ends_an_open_turn_and_the_agent_is_not_asked(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    handover.take_over(ledger, PHONE, API, None, NOW + 1)
    assert _asked(ledger, NOW + 60) == []
    assert _handling(ledger).unanswered_since == NOW


def test_a_turn_that_was_being_asked_takes_no_answer_after_a_takeover(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    handover.take_over(ledger, PHONE, API, None, NOW + 4)
    assert turns.take_answer(ledger, job.turn_id, ["Cuesta 10."], None, NOW + 5)
    assert _send(ledger, NOW + 60) == []


def test_a_reply_that_waits_ends_as_handed_over_and_its_question_is_asked_once_after_the_release(
    ledger: Ledger,
) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    turns.finish_turn(ledger, job.turn_id, ["Cuesta 10.", "Y el otro 12."], None, NOW + 4)
    handover.take_over(ledger, PHONE, API, None, NOW + 5)
    assert _statuses(ledger)[1:] == [("reply", "failed", "handed_over")] * 2
    handover.release(ledger, PHONE, API, NOW + 60)
    assert [job.question.text for job in _asked(ledger, NOW + 61)] == ["¿precio?"]
    assert _asked(ledger, NOW + 600) == []


def test_the_rest_of_an_answer_whose_first_part_went_out_ends_and_its_question_is_answered(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    turns.finish_turn(ledger, job.turn_id, ["Cuesta 10.", "Y el otro 12."], None, NOW + 4)
    assert _send(ledger, NOW + 4) == ["Cuesta 10."]
    handover.take_over(ledger, PHONE, API, None, NOW + 5)
    assert _statuses(ledger)[1:] == [("reply", "sent", None), ("reply", "failed", "handed_over")]
    handover.release(ledger, PHONE, API, NOW + 60)
    assert _asked(ledger, NOW + 61) == []


def test_a_reply_on_the_wire_is_left_alone_and_ends_if_it_was_not_sent(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    turns.finish_turn(ledger, job.turn_id, ["Cuesta 10."], None, NOW + 4)
    (send,) = claims.claim_messages(ledger, 5, NOW + 4).jobs
    handover.take_over(ledger, PHONE, API, None, NOW + 5)
    assert _statuses(ledger)[1] == ("reply", "sending", None)
    assert send.outgoing.message_id is not None
    done = send_results.finish_send(ledger, send.outgoing.message_id, NotSent("429", 30.0), NOW + 6)
    assert (done.status, done.reason) == ("failed", "handed_over")
    handover.release(ledger, PHONE, API, NOW + 60)
    assert [job.question.text for job in _asked(ledger, NOW + 61)] == ["¿precio?"]


def test_the_database_refuses_a_reply_of_the_agent_while_a_person_has_the_conversation(ledger: Ledger) -> None:
    handover.take_over(ledger, PHONE, API, None, NOW)
    for statement in (
        "insert into conversation_messages (conversation_id, direction, kind, content, status, created_at)"
        " values (1, 'outbound', 'reply', 'x', 'queued', 1.0)",
        "insert into turns (conversation_id, state, first_at, last_at, due_at) values (1, 'open', 1, 1, 1)",
    ):
        with pytest.raises(REFUSED, match="the agent"):
            ledger.run(statement)


def test_the_database_refuses_to_send_a_reply_of_the_agent_while_a_person_has_the_conversation(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    turns.finish_turn(ledger, job.turn_id, ["Cuesta 10."], None, NOW + 4)
    (send,) = claims.claim_messages(ledger, 5, NOW + 4).jobs
    handover.take_over(ledger, PHONE, API, None, NOW + 5)
    assert send.outgoing.message_id is not None
    send_results.requeue(ledger, send.outgoing.message_id, NOW + 6, Proof("http", "not sent"), NOW + 6)
    with pytest.raises(REFUSED, match="the agent sends nothing"):
        ledger.run(
            "update conversation_messages set status = 'sending', in_flight = true, sends = sends + 1,"
            " attempted_at = 1.0, epoch = 1, moved_at = 1.0, moved_by = 'run' where status = 'queued'"
        )


def test_the_database_refuses_a_takeover_that_leaves_the_agents_turn_open(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    with pytest.raises(REFUSED, match="ends what the agent has begun"):
        ledger.run(
            "update conversation_state set handler = 'human', handler_by = 'x', handler_reason = 'api',"
            " handler_until = 1.0, handed_at = 1.0, handed_code = 'api'"
        )


def test_the_database_refuses_a_handover_without_its_time(ledger: Ledger) -> None:
    with pytest.raises(REFUSED, match="states when and why"):
        ledger.run(
            "update conversation_state set handler = 'human', handler_by = 'x', handler_reason = 'api',"
            " handler_until = 1.0"
        )


def test_a_message_of_a_person_takes_over_goes_out_as_written_and_answers_everything_before_it(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    assert _say(ledger, "Hola, *soy* Lucía", NOW + 1) == Stored(3, 1)
    assert _handling(ledger) == Handling("human", NOW + 1 + 12 * HOUR, "api", "api")
    assert _send(ledger, NOW + 1) == ["Hola, *soy* Lucía"]
    handover.release(ledger, PHONE, API, NOW + 60)
    assert _asked(ledger, NOW + 61) == []


def test_messages_after_the_persons_are_asked_at_the_release(ledger: Ledger) -> None:
    _say_within_window(ledger)
    inbox.record_inbound(ledger, written("¿y mañana?", sid="SM2"), NOW + 10)
    inbox.record_inbound(ledger, written("¿a qué hora?", sid="SM3"), NOW + 20)
    assert (_handling(ledger).unread, _handling(ledger).unanswered_since) == (2, NOW + 10)
    handover.release(ledger, PHONE, API, NOW + 60)
    assert [job.question.text for job in _asked(ledger, NOW + 61)] == ["¿y mañana?\n¿a qué hora?"]
    assert _handling(ledger) == Handling()


def _say_within_window(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("Hola"), NOW)
    assert isinstance(_say(ledger, "Te escribe Lucía", NOW + 1), Stored)


def test_a_message_of_a_person_that_fails_leaves_the_question_unanswered(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    _say(ledger, "Cuesta 10", NOW + 1)
    (send,) = claims.claim_messages(ledger, 5, NOW + 1).jobs
    assert send.outgoing.message_id is not None
    send_results.finish_send(ledger, send.outgoing.message_id, SendRefused("21211", "no number", "customer"), NOW + 2)
    assert _handling(ledger).unanswered_since == NOW
    handover.release(ledger, PHONE, API, NOW + 60)
    (job,) = _asked(ledger, NOW + 61)
    assert job.question.text == "¿precio?"
    assert len(turns.finish_turn(ledger, job.turn_id, ["Diez."], None, NOW + 62)) == 1


def test_each_message_of_a_person_moves_the_end_of_the_takeover(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("Hola"), NOW)
    handover.take_over(ledger, PHONE, ANA_AT_WORK, 20.0, NOW)
    _say(ledger, "uno", NOW + 60)
    assert _handling(ledger).until == NOW + 20 * HOUR
    _say(ledger, "dos", NOW + 10 * HOUR)
    assert _handling(ledger).until == NOW + 22 * HOUR


@pytest.mark.parametrize(
    ("message", "at", "reason"),
    [
        (HumanMessage("Hola"), NOW + 25 * HOUR, "window_closed"),
        (HumanMessage(content_sid="HX1", content_variables={}), NOW + 25 * HOUR, None),
    ],
)
def test_a_text_needs_an_open_window_and_a_template_does_not(
    ledger: Ledger, message: HumanMessage, at: float, reason: str | None
) -> None:
    inbox.record_inbound(ledger, written("Hola"), NOW)
    _asked(ledger, NOW + 3)
    result = human_messages.write(ledger, PHONE, message, API, None, at)
    assert (result if isinstance(result, str) else None) == reason
    assert _handling(ledger).handler == ("agent" if reason else "human")
    if reason is None:
        assert _send(ledger, at) == ["HX1"]


def test_nobody_writes_to_a_customer_who_has_opted_out(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("BAJA"), NOW)
    assert _say(ledger, "Hola", NOW + 1) == "opted_out"


def test_the_same_key_returns_the_same_message_and_another_body_is_a_mismatch(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("Hola"), NOW)
    first = _say(ledger, "Hola", NOW + 1, key="k1")
    assert isinstance(first, Stored)
    assert _say(ledger, "Hola", NOW + 2, key="k1") == Stored(first.message_id, 1, repeated=True)
    assert _say(ledger, "Adiós", NOW + 3, key="k1") == "idempotency_mismatch"
    assert human_messages.forget_old_keys(ledger, NOW + 8 * 24 * HOUR) == 1


def test_a_keyword_requests_a_person_and_the_notice_answers_it(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¡Asesor!"), NOW)
    assert _handling(ledger) == Handling("human", NOW + 1800, "keyword", None, NOW, 0, NOW)
    assert _send(ledger, NOW) == [NOTICE]
    inbox.record_inbound(ledger, written("¿asesor?", sid="SM2"), NOW + 5)
    assert _send(ledger, NOW + 6) == []
    assert _asked(ledger, NOW + 60) == []


def test_a_request_that_nobody_answers_goes_back_to_the_agent_and_stays_open(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("ASESOR"), NOW)
    inbox.record_inbound(ledger, written("es urgente", sid="SM2"), NOW + 5)
    assert handover.end_due(ledger, 10, NOW + 1799) == []
    assert handover.end_due(ledger, 10, NOW + 1800) == [(1, "nobody_free")]
    assert (_handling(ledger).handler, _handling(ledger).waiting) == ("agent", True)
    assert [job.question.text for job in _asked(ledger, NOW + 1801)] == ["es urgente"]
    handover.release(ledger, PHONE, API, NOW + 1900)
    assert not _handling(ledger).waiting


def test_waiting_ends_when_a_person_writes_and_the_reason_stays(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("ASESOR"), NOW)
    _say(ledger, "Soy Lucía", NOW + 5, operator=ANA_AT_WORK)
    assert _handling(ledger) == Handling("human", NOW + 5 + 12 * HOUR, "keyword", "lucia")


def test_a_takeover_that_nobody_prolongs_ends_by_itself(ledger: Ledger) -> None:
    handover.take_over(ledger, PHONE, API, 0.5, NOW)
    assert handover.next_end(ledger) == NOW + 1800
    assert handover.end_due(ledger, 10, NOW + 1800) == [(1, "time_over")]
    assert _handling(ledger) == Handling()


def test_the_agents_text_in_the_turn_in_which_it_asks_for_a_person_goes_out(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("quiero hablar con alguien"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    assert handover.request_in_turn(ledger, job.turn_id, NOW + 4)
    assert turns.take_answer(ledger, job.turn_id, ["Claro, te comunico."], None, NOW + 5)
    assert _send(ledger, NOW + 5) == [NOTICE]
    assert _send(ledger, NOW + 6) == ["Claro, te comunico."]
    inbox.record_inbound(ledger, written("gracias", sid="SM2"), NOW + 7)
    assert _asked(ledger, NOW + 60) == []


def test_a_turn_that_asks_for_a_person_and_fails_gets_no_fallback(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("quiero hablar con alguien"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    handover.request_in_turn(ledger, job.turn_id, NOW + 4)
    assert not turns.fail_turn(ledger, job.turn_id, "closed", NOW + 5)
    assert [status for status in _statuses(ledger) if status[0] == "notice"] == [("notice", "queued", None)]


def test_a_person_who_takes_over_silences_also_the_turn_that_asked_for_one(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("quiero hablar con alguien"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    handover.request_in_turn(ledger, job.turn_id, NOW + 4)
    handover.take_over(ledger, PHONE, ANA_AT_WORK, None, NOW + 5)
    assert turns.take_answer(ledger, job.turn_id, ["Claro, te comunico."], None, NOW + 6)
    assert _send(ledger, NOW + 7) == [NOTICE]


def test_a_failed_turn_requests_a_person_instead_of_the_fallback(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(handover_on_failure=True, handover_notice=NOTICE)
    calls.record_call(ledger, call(), NOW - 60)
    _send(ledger, NOW - 60)
    inbox.record_inbound(ledger, written("¿precio?"), NOW)
    (job,) = _asked(ledger, NOW + 3)
    assert turns.fail_turn(ledger, job.turn_id, "no answer", NOW + 4)
    assert _handling(ledger) == Handling("human", NOW + 4 + 1800, "failure", None, NOW + 4, 0, NOW)
    assert _send(ledger, NOW + 4) == [NOTICE]
    handover.end_due(ledger, 5, NOW + 1804)
    assert [job.question.text for job in _asked(ledger, NOW + 1805)] == ["¿precio?"]


def test_the_opening_of_a_call_is_skipped_while_a_person_has_the_conversation(ledger: Ledger) -> None:
    handover.take_over(ledger, PHONE, API, None, NOW)
    assert calls.record_call(ledger, call("conv_2"), NOW + 10).skipped == "handed_over"
    handover.release(ledger, PHONE, API, NOW + 20)
    assert _send(ledger, NOW + 21) == []


def test_an_opt_out_is_honoured_while_a_person_has_the_conversation(ledger: Ledger) -> None:
    _say_within_window(ledger)
    inbox.record_inbound(ledger, written("¿precio?", sid="SM2"), NOW + 2)
    assert inbox.record_inbound(ledger, written("BAJA", sid="SM3"), NOW + 3).effect == "opted_out"
    assert _statuses(ledger)[1] == ("human", "failed", "cancelled")
    handover.release(ledger, PHONE, API, NOW + 60)
    assert _asked(ledger, NOW + 61) == []


def test_nothing_is_asked_at_a_release_after_the_window_has_closed(ledger: Ledger) -> None:
    handover.take_over(ledger, PHONE, API, 48.0, NOW)
    inbox.record_inbound(ledger, written("¿precio?"), NOW + 1)
    handover.release(ledger, PHONE, API, NOW + 25 * HOUR)
    assert _asked(ledger, NOW + 25 * HOUR + 5) == []


def test_a_muted_conversation_is_asked_after_its_hour_only_after_too_many_turns(ledger: Ledger) -> None:
    assert handover.mute(ledger, 1, "too_many_turns", NOW)
    inbox.record_inbound(ledger, written("¿precio?"), NOW + 1)
    assert handover.end_due(ledger, 5, NOW + HOUR) == [(1, "mute_over")]
    assert [job.question.text for job in _asked(ledger, NOW + HOUR + 1)] == ["¿precio?"]


def test_after_a_mute_for_repetition_nothing_is_asked(ledger: Ledger) -> None:
    assert handover.mute(ledger, 1, "repeats_itself", NOW)
    inbox.record_inbound(ledger, written("¿precio?"), NOW + 1)
    handover.end_due(ledger, 5, NOW + HOUR)
    assert _asked(ledger, NOW + HOUR + 1) == []


def test_a_person_who_looks_has_read_everything(ledger: Ledger) -> None:
    handover.take_over(ledger, PHONE, API, None, NOW)
    inbox.record_inbound(ledger, written("¿precio?"), NOW + 1)
    assert _handling(ledger).unread == 1
    handover.note_read(ledger, PHONE)
    assert _handling(ledger).unread == 0


def test_a_person_waits_until_what_was_claimed_has_begun_or_never_will(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("¿precio?", sid="SM1"), NOW)
    (job,) = _asked(ledger, NOW + 10)
    turns.take_answer(ledger, job.turn_id, ["Cuesta 10."], None, NOW + 10)
    claims.claim_messages(ledger, 10, NOW + 11)
    at = 0.0
    begun = Begun(lambda: at)
    for act in (
        lambda: handover.take_over(ledger, PHONE, API, None, NOW + 11, begun),
        lambda: human_messages.write(ledger, PHONE, HumanMessage("Soy Lucía"), API, None, NOW + 11, begun),
    ):
        with pytest.raises(MayBegin):
            act()
    assert _handling(ledger).handler == "agent"
    at = BEGUN_AFTER
    assert handover.take_over(ledger, PHONE, API, None, NOW + 12, begun) == 1
    assert _handling(ledger).handler == "human"
