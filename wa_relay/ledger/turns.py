"""Turns: what the customer wrote since the last answer, asked once at a time, answered once.

A claim marks the turn and takes its messages; `agent_input` adds the call and the thread. A turn that may have called
tools is never asked again: the tool would book twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wa_relay import policy
from wa_relay.ledger import agent_input, alerts, auto_responders, handover, journal, media, notices, wanted_details
from wa_relay.ledger.agent_input import DueTurn, TurnJob
from wa_relay.ledger.asked_turns import AskedTurn, EndingTurn, find_asked, find_ending, left_asking, query_of_ending
from wa_relay.ledger.customers import OpenTurn
from wa_relay.ledger.outbox import NewMessage, queue_message
from wa_relay.ledger.read_ahead import reads_ahead
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.try_journal import TriedTurn, record_end, record_try
from wa_relay.model import Moment, Scalar

SELECT_OPEN_TURN = """
    select id, first_at, due_at, put_off_at from turns where conversation_id = :conversation_id and state = 'open'"""
EXTEND_TURN = "update turns set last_at = greatest(last_at, :now), due_at = :due_at where id = :turn_id"
INSERT_TURN = """
    insert into turns (conversation_id, call_id, state, first_at, last_at, due_at)
    values (:conversation_id, :call_id, 'open', :now, :now, :due_at)"""
MOVE_QUESTION = """
    update conversation_messages set turn_id = :to_turn where turn_id = :from_turn and direction = 'inbound'"""
CLEAR_UNANSWERED = "update conversation_state set unanswered_turn_id = null where id = :conversation_id"
SELECT_FIRST_AT = "select first_at from turns where id = :turn_id"
SELECT_TOOLS_RAN = "select tools_ran from turns where id = :turn_id"
SELECT_UNANSWERED = "select unanswered_turn_id from conversation_state where id = :conversation_id"
SET_UNANSWERED = "update conversation_state set unanswered_turn_id = :turn_id where id = :conversation_id"
CANCEL_TURNS = """
    update turns set state = 'cancelled', finished_at = :now
    where conversation_id = :conversation_id and (state = 'open' or state = 'asking')
    returning id"""
"""Written with `or` so that SQLite uses the two partial indexes."""

SELECT_NEXT_TURN_DUE = "select min(due_at) from turns where state = 'open'"
BEGIN_TURN = """
    update turns set state = 'asking', tries = tries + 1, begun_at = :now, call_id = :call_id, epoch = :epoch
    where id = :turn_id"""

MARK_ANSWERED = """
    update turns set state = 'answered', finished_at = :now, session_id = :session_id, error = null
    where id = :turn_id"""
MARK_SILENT = """
    update turns set state = 'silent', finished_at = :now, session_id = :session_id, error = null
    where id = :turn_id"""
MARK_NOTICED = "update turns set state = 'noticed', finished_at = :now where id = :turn_id"
"""Closed by a notice: the agent was not asked, so it does not count as its answer."""

MARK_FAILED = "update turns set state = 'failed', finished_at = :now, error = :error where id = :turn_id"
MARK_TOOLS_RAN = "update turns set tools_ran = true where id = :turn_id and state = 'asking'"
TAKE_END = """
    update turns set last_at = (select o.last_at from turns o where o.id = :from_turn) where id = :to_turn"""
COUNT_ASKED_AGAIN = "update turns set tries = tries - 1, asked_again = asked_again + 1 where id = :turn_id"
MARK_MERGED = "update turns set state = 'cancelled', finished_at = :now where id = :turn_id"
"""For a turn whose messages moved to another. Deleting it would look for its messages in the whole table."""

REOPEN_TURN = "update turns set state = 'open', due_at = :due_at where id = :turn_id and state = 'asking'"
COUNT_PUT_OFF = """
    update turns set tries = tries - 1, put_offs = put_offs + 1, put_off_at = coalesce(put_off_at, :now)
    where id = :turn_id"""
ALLOW_TEXT_ONLY = "update conversation_state set text_only_sent = false where id = :conversation_id"
ALLOW_FALLBACK = """
    update conversation_state set fallback_sent = false, text_only_sent = false where id = :conversation_id"""
MARK_TEXT_ONLY_SENT = """
    update conversation_state set text_only_sent = true where id = :conversation_id and not text_only_sent"""

INTERRUPTED = "interrupted after a tool may have run"
PUT_OFF_LIMIT = 600.0
"""Seconds in which a turn may be put off for lack of capacity, from the first time (contract 7.1)."""


@dataclass(frozen=True, slots=True)
class ClaimedTurns:
    """The result of a claim, how many turns it answered itself, and when the next one is due (None without one)."""

    jobs: tuple[TurnJob, ...]
    answered: int = 0
    next_due: Moment | None = None


class Gathering(NamedTuple):
    """A turn that gathers what a customer writes."""

    id: int
    due_at: Moment


def gather(
    ledger: Ledger,
    conversation_id: int,
    *,
    call_id: int | None,
    unanswered_turn_id: int | None,
    turn: OpenTurn | None,
    now: Moment,
) -> Gathering:
    """Makes the open `turn` wait for one more message, or opens one with everything that was left unanswered.

    A customer who writes more does not shorten the wait of a turn that was put off for lack of capacity.
    """
    if turn is not None:
        due = policy.turn_due(turn.first_at, now, ledger.rules)
        # Otherwise each new message would ask a service that has just refused for lack of capacity.
        due = due if turn.put_off_at is None else max(due, turn.due_at)
        ledger.db.announce("turn", due)
        ledger.write(EXTEND_TURN, {"now": now, "due_at": due, "turn_id": turn.id})
        return Gathering(turn.id, due)
    due = policy.turn_due(now, now, ledger.rules)
    ledger.db.announce("turn", due)
    opened = {"conversation_id": conversation_id, "call_id": call_id, "now": now, "due_at": due}
    turn_id = ledger.insert(INSERT_TURN, opened)
    if unanswered_turn_id is not None:
        ledger.write(MOVE_QUESTION, {"to_turn": turn_id, "from_turn": unanswered_turn_id})
        ledger.write(CLEAR_UNANSWERED, {"conversation_id": conversation_id})
    return Gathering(turn_id, due)


def open_turn(ledger: Ledger, conversation_id: int) -> OpenTurn | None:
    """The turn that gathers what the customer writes, None without one."""
    row = ledger.one(SELECT_OPEN_TURN, {"conversation_id": conversation_id})
    return None if row is None else OpenTurn(*row)


def cancel_turns(ledger: Ledger, conversation_id: int, reason: str, now: Moment) -> int:
    """Ends the turns of a conversation that are open or being asked, for a reason (a code). Returns how many."""
    ended = [row[0] for row in ledger.all(CANCEL_TURNS, {"now": now, "conversation_id": conversation_id})]
    for turn_id in ended:
        entry = journal.Entry("turn", "cancelled", reason, conversation_id=conversation_id, turn_id=turn_id)
        journal.record(ledger, entry, now)
    return len(ended)


def claim_turns(ledger: Ledger, limit: int, now: Moment) -> ClaimedTurns:
    """Takes turns that are due, at most one a conversation. One with nothing to read is answered here."""
    jobs, answered = [], 0
    media.fail_overdue(ledger, now)
    for turn in agent_input.due_turns(ledger, limit, now):
        # Counted where a turn is asked, since that is what costs money; a burst of messages is one turn.
        if auto_responders.exceeds_turns(ledger, turn.conversation_id, turn.message_count, now):
            handover.mute(ledger, turn.conversation_id, "too_many_turns", now)
            notices.queue_fallback(ledger, turn.conversation_id, turn.call_id, turn.id, now, reason="too_many_turns")
            answered += 1
            continue
        # The call is chosen now: a customer may have been called again since they wrote.
        ledger.write(BEGIN_TURN, {"now": now, "call_id": turn.call_id, "epoch": ledger.epoch, "turn_id": turn.id})
        if turn.wants_details:
            wanted_details.want(ledger, turn.conversation_id, now + wanted_details.TURN_FETCHES_FIRST)
        messages = agent_input.messages_of_turn(ledger, turn.id)
        if any(message.has_words or message.file is not None for _, message in messages):
            _record(ledger, turn, "asked", "the agent is asked", now, messages=len(messages))
            jobs.append(agent_input.job_of(turn, messages))
        else:
            _answer_with_notice(ledger, turn, now)
            answered += 1
    ledger.db.forget_ahead()
    following = ledger.one(SELECT_NEXT_TURN_DUE)
    return ClaimedTurns(tuple(jobs), answered, None if following is None else following[0])


def note_tools(ledger: Ledger, turn_id: int) -> bool:
    """Records that the agent called, or may have called, a tool in this turn. False if it is not being asked.

    Must be durable before the tool's result goes back to the agent: from then on the turn is never asked again.
    """
    return ledger.run(MARK_TOOLS_RAN, {"turn_id": turn_id}) == 1


@reads_ahead(query_of_ending)
def take_answer(ledger: Ledger, turn_id: int, parts: Sequence[str], session_id: str | None, now: Moment) -> bool:
    """Stores what the agent answered; no parts are its silence. False if the turn is asked again instead.

    That happens when the customer wrote more meanwhile, a few times at most, and never after a tool may have run.
    """
    ending = find_ending(ledger, turn_id)
    if ending is None:
        return True
    turn, gathering_due_at = ending.turn, ending.gathering_due_at
    tried = TriedTurn(turn_id, ending.conversation_id, ending.call_id, being_asked=turn is not None)
    record_end(ledger, tried, "answered" if parts else "silent", now, session_id=session_id)
    # An answer to half of the customer's messages reads as if the rest were ignored.
    if turn is not None and gathering_due_at is not None and _may_ask_again(turn, ledger.rules.ask_again):
        ledger.write(COUNT_ASKED_AGAIN, {"turn_id": turn_id})
        _record(ledger, turn, "asked_again", "the customer wrote more while the agent was answering", now)
        _reopen(ledger, turn, max(now, gathering_due_at))
        return False
    if parts:
        _finish_answered(ledger, ending, parts, session_id, now)
    else:
        _finish_silent(ledger, ending, session_id, now)
    return True


def _may_ask_again(turn: AskedTurn, limit: int) -> bool:
    return turn.asked_again < limit and not turn.tools_ran


def finish_turn(ledger: Ledger, turn_id: int, parts: Sequence[str], session_id: str | None, now: Moment) -> list[int]:
    """Stores the answer with the outbox messages that carry it. Returns their ids.

    A turn that is not being asked any more (the customer opted out meanwhile) takes no answer.
    """
    ending = find_ending(ledger, turn_id)
    return [] if ending is None else _finish_answered(ledger, ending, parts, session_id, now)


def _finish_answered(
    ledger: Ledger, ending: EndingTurn, parts: Sequence[str], session_id: str | None, now: Moment
) -> list[int]:
    turn = ending.turn
    if turn is None:
        return []
    ledger.write(MARK_ANSWERED, {"now": now, "session_id": session_id, "turn_id": turn.id})
    _record(ledger, turn, "answered", "the agent answered", now, session=session_id, parts=len(parts))
    _note_that_agent_works(ledger, ending)
    message_ids = []
    for number, part in enumerate(parts):
        # A further part becomes due by the acceptance or the receipt of the one before it.
        due = now if number == 0 else None
        reply = NewMessage(turn.conversation_id, "reply", part, due, turn.call_id, turn.id, number)
        message_ids.append(queue_message(ledger, reply, now))
    return message_ids


def finish_silent(ledger: Ledger, turn_id: int, session_id: str | None, now: Moment) -> bool:
    """Ends a turn that the agent answered with silence. False if it is not being asked any more.

    Nothing is sent, and what was asked is not asked again.
    """
    ending = find_ending(ledger, turn_id)
    return ending is not None and _finish_silent(ledger, ending, session_id, now)


def _finish_silent(ledger: Ledger, ending: EndingTurn, session_id: str | None, now: Moment) -> bool:
    turn = ending.turn
    if turn is None:
        return False
    ledger.write(MARK_SILENT, {"now": now, "session_id": session_id, "turn_id": turn.id})
    _record(ledger, turn, "silent", "the agent answered with silence", now, session=session_id)
    _note_that_agent_works(ledger, ending)
    return True


def _note_that_agent_works(ledger: Ledger, ending: EndingTurn) -> None:
    """Allows the customer's next notice, and ends the row of the agent's failures."""
    if ending.noticed:
        ledger.write(ALLOW_FALLBACK, {"conversation_id": ending.conversation_id})
    if ending.agent_failed:
        alerts.clear_agent_failures(ledger, ending.conversation_id)


def fail_turn(ledger: Ledger, turn_id: int, error: str, now: Moment) -> bool:
    """Closes a turn without an answer. True when a text goes out for it: the fallback, or the notice of a handover.

    Its question becomes part of the next turn's, unless a tool may have run: that question is never asked again. A turn
    in which the agent requested a person ends in silence: the notice has answered it.
    """
    turn = find_asked(ledger, turn_id)
    if turn is None:
        return False
    if handover.has_person(ledger, turn.conversation_id):
        return not finish_silent(ledger, turn_id, None, now)
    # 500 characters: an error may quote a whole page of a proxy.
    ledger.write(MARK_FAILED, {"now": now, "error": error[:500], "turn_id": turn_id})
    _record(ledger, turn, "failed", error[:500], now, tools_ran=bool(turn.tools_ran))
    alerts.count_agent_failure(ledger, turn.conversation_id, now)
    leave_unanswered(ledger, turn.conversation_id, turn_id)
    if ledger.rules.handover_on_failure:
        (asked_at,) = ledger.need_one(SELECT_FIRST_AT, {"turn_id": turn_id})
        if handover.request(ledger, turn.conversation_id, "failure", asked_at, now, turn_id=turn_id):
            return bool(ledger.rules.handover_notice)
    return notices.queue_fallback(ledger, turn.conversation_id, turn.call_id, turn_id, now)


def leave_unanswered(ledger: Ledger, conversation_id: int, turn_id: int) -> None:
    """Makes the question of a turn part of the next turn's, or of the one that is open.

    Not if a tool may have run in it: that question is never asked again.
    """
    if ledger.need_one(SELECT_TOOLS_RAN, {"turn_id": turn_id})[0]:
        return
    gathering = ledger.one(SELECT_OPEN_TURN, {"conversation_id": conversation_id})
    if gathering is not None:
        ledger.write(MOVE_QUESTION, {"to_turn": gathering[0], "from_turn": turn_id})
        return
    earlier = ledger.one(SELECT_UNANSWERED, {"conversation_id": conversation_id})
    if earlier is not None and earlier[0] is not None and earlier[0] != turn_id:
        ledger.write(MOVE_QUESTION, {"to_turn": turn_id, "from_turn": earlier[0]})
    ledger.write(SET_UNANSWERED, {"turn_id": turn_id, "conversation_id": conversation_id})


def put_off_turn(ledger: Ledger, turn_id: int, due_at: Moment, now: Moment, why: str = "") -> bool:
    """Reopens a turn that the agent service refused for lack of capacity. It does not count as a try.

    False when the turn can't wait: it has been put off for ten minutes, a tool may have run, or it is not being
    asked any more. The caller then fails it.
    """
    turn = find_asked(ledger, turn_id)
    record_try(ledger, turn_id, "no_capacity", now, why)
    if turn is None or turn.tools_ran:
        return False
    # From the first refusal, so that a service without capacity can't keep a customer waiting forever.
    end = (now if turn.put_off_at is None else turn.put_off_at) + PUT_OFF_LIMIT
    if now >= end:
        return False
    ledger.write(COUNT_PUT_OFF, {"now": now, "turn_id": turn_id})
    due = min(due_at, end)
    _record(ledger, turn, "put_off", "ElevenLabs had no capacity", now, due_at=due)
    _reopen(ledger, turn, due)
    return True


def reopen_turn(ledger: Ledger, turn_id: int, due_at: Moment) -> None:
    """Gives back a turn that was not finished. One whose tools may have run fails instead."""
    turn = find_asked(ledger, turn_id)
    if turn is None:
        return
    record_try(ledger, turn_id, "interrupted", due_at)
    if turn.tools_ran:
        fail_turn(ledger, turn_id, INTERRUPTED, due_at)
        return
    _record(ledger, turn, "given_back", "the turn was not finished and is asked again", due_at)
    _reopen(ledger, turn, due_at)


def rescue_turns(ledger: Ledger, now: Moment) -> int:
    """At startup: reopens what was being asked. Returns how many turns that were.

    A turn fails instead if a tool may have run, or if it has begun too often without an end.
    """
    turns = left_asking(ledger)
    for turn in turns:
        record_try(ledger, turn.id, "interrupted", now)
        if turn.tools_ran:
            fail_turn(ledger, turn.id, INTERRUPTED, now)
        elif turn.tries >= policy.TURN_TRIES:
            # A turn that crashes the process would crash every later start.
            fail_turn(ledger, turn.id, f"begun {turn.tries} times without an end", now)
        else:
            _record(ledger, turn, "given_back", "the process ended while the agent was being asked", now)
            _reopen(ledger, turn, now)
    return len(turns)


def _reopen(ledger: Ledger, turn: AskedTurn, due_at: Moment) -> None:
    gathering = ledger.one(SELECT_OPEN_TURN, {"conversation_id": turn.conversation_id})
    if gathering is not None:
        # What came meanwhile joins the older turn, whose place in the order is the first.
        younger = OpenTurn(*gathering).id
        ledger.write(MOVE_QUESTION, {"to_turn": turn.id, "from_turn": younger})
        ledger.write(TAKE_END, {"from_turn": younger, "to_turn": turn.id})
        ledger.write(MARK_MERGED, {"now": due_at, "turn_id": younger})
    ledger.write(REOPEN_TURN, {"due_at": due_at, "turn_id": turn.id})
    ledger.db.announce("turn", due_at)


def _record(
    ledger: Ledger, turn: AskedTurn | DueTurn, reason: str, detail: str, now: Moment, **facts: Scalar | None
) -> None:
    entry = journal.Entry(
        "turn",
        reason,
        detail,
        conversation_id=turn.conversation_id,
        call_id=turn.call_id,
        turn_id=turn.id,
        facts=facts,
    )
    journal.record(ledger, entry, now)


def finish_unreadable(ledger: Ledger, turn_id: int, now: Moment) -> bool:
    """Ends a turn whose files the agent could not be given, and that holds nothing else. False if it is not asked."""
    turn = find_asked(ledger, turn_id)
    if turn is None:
        return False
    _answer_with_notice(ledger, turn, now)
    return True


def _answer_with_notice(ledger: Ledger, turn: DueTurn | AskedTurn, now: Moment) -> None:
    """Answers a turn in which nothing can be read with one text, once until the agent has answered."""
    ledger.write(MARK_NOTICED, {"now": now, "turn_id": turn.id})
    _record(ledger, turn, "text_only", "nothing in the turn can be read: the agent is not asked", now)
    if ledger.rules.text_only and ledger.run(MARK_TEXT_ONLY_SENT, {"conversation_id": turn.conversation_id}):
        notices.queue_notice(
            ledger, turn.conversation_id, turn.call_id, "text_only", ledger.rules.text_only, turn.id, now
        )
