"""Handovers: a person takes a conversation, gives it back, or is requested; and each of these ends by time.

`policy/handover.py` decides who has a conversation next. Here that is stored in one transaction with what follows from
it: what the agent has begun ends, and unanswered messages are kept for the next to answer (`held_turns`).
"""

from __future__ import annotations

from dataclasses import replace

from wa_relay import policy
from wa_relay.ledger import alerts, customers, held_turns, media, notices, wanted_details
from wa_relay.ledger.store import Ledger
from wa_relay.ledger.unfinished_sends import Begun, refuse_unbegun
from wa_relay.model import Moment
from wa_relay.policy import Ending, Handling, HandoverRequest, Mute, Operator

SELECT_HANDLING = """
    select handler, handler_until, handler_reason, handler_by, waiting_since, unread, unanswered_since
    from conversation_state where id = :id"""
SET_HANDLING = """
    update conversation_state set handler = :handler, handler_until = :until, handler_reason = :reason,
        handler_by = :by, waiting_since = :waiting_since, unread = :unread, unanswered_since = :unanswered_since,
        handed_at = :now, handed_code = :code, handed_actor = :actor, handed_evidence = :evidence
    where id = :id"""
SELECT_CANCELLED_QUESTIONS = """
    select distinct turn_id from conversation_messages
    where conversation_id = :id and status = 'queued' and kind = 'reply' and part = 0 and turn_id is not null
    order by turn_id"""
CANCEL_AGENTS_MESSAGES = """
    update conversation_messages set status = 'failed', reason = 'handed_over', failed_at = :now, moved_at = :now,
        moved_by = :by, moved_code = null, moved_actor = :actor, evidence = :evidence
    where conversation_id = :id and status = 'queued'
        and (kind = 'opening' or notice = 'reopen' or (kind = 'reply' and :replies))"""
SELECT_ENDED_HANDOVERS = """
    select id from conversation_state
    where handler_until is not null and handler_until <= :now order by handler_until limit :limit"""
SELECT_NEXT_END = "select min(handler_until) from conversation_state where handler_until is not null"
MARK_READ = "update conversation_state set unread = 0 where id = :id"
SELECT_CALL_OF_CONVERSATION = "select call_id from conversation_state where id = :id"
SELECT_TURN_THAT_ASKS = "select conversation_id, first_at from turns where id = :turn_id and state = 'asking'"
MARK_TURN_HANDED_OVER = "update turns set tools_ran = true where id = :turn_id"

WHY = {
    "keyword": "the customer asks for a person",
    "tool": "the agent asks for a person",
    "failure": "the agent could not answer",
    "repeats_itself": "the customer repeats the same text, and the agent answers it",
    "too_many_turns": "the customer's turns exceed reply.max_turns_per_hour",
    "time_over": "the takeover's time is over: the agent has the conversation again",
    "nobody_free": "no person came within handover.wait_minutes: the agent has the conversation again",
    "mute_over": "the hour of silence is over: the agent has the conversation again",
}
HELD_AFTER: dict[Mute, bool] = {"repeats_itself": False, "too_many_turns": True}
"""After a mute: whether the agent is asked about the messages that were not answered."""


def handling_of(ledger: Ledger, conversation_id: int) -> Handling:
    """Returns who has a conversation; raises `LookupError` for an unknown one."""
    return Handling(*ledger.need_one(SELECT_HANDLING, {"id": conversation_id}))


def take_over(
    ledger: Ledger, address: str, operator: Operator, hours: float | None, now: Moment, begun: Begun | None = None
) -> int | None:
    """A person takes a customer's conversation. Returns its id, None for an unknown customer.

    The agent's open work ends in the same transaction; messages in flight are left alone. With `begun`, raises
    `MayBegin` while one may begin after it.
    """
    conversation_id = customers.find_conversation(ledger.db, address)
    if conversation_id is None:
        return None
    if begun is not None:
        # Another host may have claimed a reply whose request has not begun: after this commit it must not begin.
        refuse_unbegun(ledger, conversation_id, begun)
    before = handling_of(ledger, conversation_id)
    silence_agent(ledger, conversation_id, operator.name, now)
    after = policy.take_over(before, operator, hours, ledger.rules, now)
    if after.unanswered_since is None:
        # The customer has waited since their message, not since the takeover.
        after = replace(after, unanswered_since=held_turns.first_held_at(ledger, conversation_id))
    wanted_details.want(ledger, conversation_id, now)
    evidence = f"taken over by {operator.name}"
    set_handling(ledger, conversation_id, after, operator.channel, evidence, operator.name, now)
    return conversation_id


def release(ledger: Ledger, address: str, operator: Operator, now: Moment) -> int | None:
    """Gives a customer's conversation back to the agent, which is asked about all unanswered messages.

    Also ends a mute, and an unanswered request for a person. Returns the conversation's id, None for an unknown
    customer.
    """
    conversation_id = customers.find_conversation(ledger.db, address)
    if conversation_id is None:
        return None
    before = handling_of(ledger, conversation_id)
    if before.handler != "agent" or before.waiting:
        _give_back(ledger, conversation_id, "released", f"given back by {operator.name}", operator.name, now)
    return conversation_id


def request(
    ledger: Ledger,
    conversation_id: int,
    reason: HandoverRequest,
    asked_at: Moment,
    now: Moment,
    *,
    turn_id: int | None = None,
) -> bool:
    """Requests a person. False if one has the conversation or is requested already.

    `turn_id` is the turn in which the agent did: what it says in that turn still goes out. The notice goes out once.
    """
    after = policy.request(handling_of(ledger, conversation_id), reason, asked_at, ledger.rules, now)
    if after is None:
        return False
    silence_agent(ledger, conversation_id, None, now, asked_turn=turn_id if reason == "tool" else None)
    set_handling(ledger, conversation_id, after, reason, WHY[reason], None, now)
    alerts.raise_wanted(ledger, conversation_id, reason, now)
    if ledger.rules.handover_notice:
        (call_id,) = ledger.need_one(SELECT_CALL_OF_CONVERSATION, {"id": conversation_id})
        # After a failed turn the notice is the answer, in place of the fallback.
        answers = turn_id if reason == "failure" else None
        notices.queue_notice(ledger, conversation_id, call_id, "handover", ledger.rules.handover_notice, answers, now)
    return True


def request_in_turn(ledger: Ledger, turn_id: int, now: Moment) -> bool:
    """The agent requests a person by its tool. Must be durable before the tool is answered.

    False if the turn is not being asked, or if a person has the conversation or is requested already.
    """
    row = ledger.one(SELECT_TURN_THAT_ASKS, {"turn_id": turn_id})
    if row is None:
        return False
    # First: the triggers let the rest of this turn's answer out by that mark.
    ledger.run(MARK_TURN_HANDED_OVER, {"turn_id": turn_id})
    return request(ledger, row[0], "tool", row[1], now, turn_id=turn_id)


def mute(ledger: Ledger, conversation_id: int, reason: Mute, now: Moment) -> bool:
    """Mutes a conversation for an hour. False if the agent does not have it."""
    after = policy.mute(handling_of(ledger, conversation_id), reason, now)
    if after is None:
        return False
    held_turns.hold_begun_turns(ledger, conversation_id, now)
    if not HELD_AFTER[reason]:
        held_turns.answer_held(ledger, conversation_id, "muted", now)
    set_handling(ledger, conversation_id, after, reason, WHY[reason], None, now)
    alerts.raise_muted(ledger, conversation_id, reason, now)
    return True


def end_due(ledger: Ledger, limit: int, now: Moment) -> list[tuple[int, Ending]]:
    """Gives back the conversations whose handler's time is over. Returns their ids, each with the reason."""
    ended: list[tuple[int, Ending]] = []
    for (conversation_id,) in ledger.all(SELECT_ENDED_HANDOVERS, {"now": now, "limit": limit}):
        ending = policy.ending_of(handling_of(ledger, conversation_id))
        _give_back(ledger, conversation_id, ending, WHY[ending], None, now)
        ended.append((conversation_id, ending))
    return ended


def next_end(ledger: Ledger) -> Moment | None:
    """Returns when the next handler's time ends, None without one."""
    end: Moment | None = ledger.need_one(SELECT_NEXT_END)[0]
    return end


def note_read(ledger: Ledger, address: str) -> int | None:
    """Records that a person has seen the conversation. Returns its id, None for an unknown customer."""
    conversation_id = customers.find_conversation(ledger.db, address)
    if conversation_id is not None:
        ledger.run(MARK_READ, {"id": conversation_id})
    return conversation_id


def keeps_messages(ledger: Ledger, conversation_id: int) -> bool:
    """True if the customer's next message is kept for whoever answers next; false after `repeats_itself`."""
    return handling_of(ledger, conversation_id).reason != "repeats_itself"


def has_person(ledger: Ledger, conversation_id: int) -> bool:
    """True while a person has the conversation, or is requested."""
    return handling_of(ledger, conversation_id).handler == "human"


def may_speak(ledger: Ledger, conversation_id: int, kind: str) -> bool:
    """False for an opening or a reply that must not go out, because a person has the conversation."""
    return kind not in ("opening", "reply") or policy.may_speak(kind, handling_of(ledger, conversation_id))


def keep_question(ledger: Ledger, conversation_id: int, turn_id: int | None, part: int, now: Moment) -> None:
    """Keeps the question of a reply that ended because of a person. One whose first part went out is answered."""
    if turn_id is not None and part == 0:
        held_turns.hold_question(ledger, conversation_id, turn_id, now)


def silence_agent(
    ledger: Ledger, conversation_id: int, actor: str | None, now: Moment, *, asked_turn: int | None = None
) -> None:
    """Ends what the agent has begun in a conversation, and keeps the questions that were not answered.

    With `asked_turn`, the turn in which the agent itself requested a person, only waiting turns and openings end: what
    the agent wrote in that turn goes out.
    """
    questions = [] if asked_turn is not None else ledger.all(SELECT_CANCELLED_QUESTIONS, {"id": conversation_id})
    evidence = "a person was requested" if actor is None else f"{actor} took the conversation over"
    by = "rule" if actor is None else "operator"
    cancelled = {"id": conversation_id, "now": now, "by": by, "actor": actor, "evidence": evidence}
    ledger.run(CANCEL_AGENTS_MESSAGES, cancelled | {"replies": asked_turn is None})
    for (turn_id,) in questions:
        held_turns.hold_question(ledger, conversation_id, turn_id, now)
    held_turns.hold_begun_turns(ledger, conversation_id, now, but=asked_turn)


def set_handling(
    ledger: Ledger, conversation_id: int, after: Handling, code: str, evidence: str, actor: str | None, now: Moment
) -> None:
    """Stores who has a conversation; a trigger journals it with code, evidence and actor."""
    columns = {
        "handler": after.handler,
        "until": after.until,
        "reason": after.reason,
        "by": after.by,
        "waiting_since": after.waiting_since,
        "unread": after.unread,
        "unanswered_since": after.unanswered_since,
    }
    change = {"id": conversation_id, "now": now, "code": code, "actor": actor, "evidence": evidence}
    ledger.run(SET_HANDLING, columns | change)


def _give_back(
    ledger: Ledger, conversation_id: int, ending: Ending, evidence: str, actor: str | None, now: Moment
) -> None:
    after = policy.give_back(handling_of(ledger, conversation_id), ending)
    set_handling(ledger, conversation_id, after, ending, evidence, actor, now)
    media.begin_all(ledger, conversation_id, now)
    held_turns.ask_held(ledger, conversation_id, now)
