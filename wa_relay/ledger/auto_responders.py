"""Auto-responders: customers that are machines too, and would answer the agent without end.

Either rule mutes the conversation.

A release and the end of a mute start both counts anew: nothing from before the handler last changed is counted.
"""

from __future__ import annotations

from wa_relay import policy
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

COUNT_TURNS_ASKED = """
    select count(*) from turns t
    where t.id in (select m.turn_id from conversation_messages m
            where m.conversation_id = :conversation_id and m.direction = 'inbound' and m.accepted_at > :written_since)
        and t.begun_at > :since and t.state in ('answered', 'silent', 'failed')
        and t.begun_at > coalesce((select s.handed_at from conversation_state s where s.id = :conversation_id), 0)"""
COUNT_RECENT_MESSAGES = """
    select count(*) from conversation_messages
    where conversation_id = :conversation_id and direction = 'inbound' and accepted_at > :written_since"""
SELECT_SAME_TEXTS = """
    select t.state from conversation_messages m left join turns t on t.id = m.turn_id
    where m.conversation_id = :conversation_id and m.direction = 'inbound' and m.accepted_at > :since
        and m.content = :text and m.attachment is null and not m.tapped
        and m.accepted_at > coalesce((select s.handed_at from conversation_state s where s.id = :conversation_id), 0)"""


def repeats_itself(ledger: Ledger, conversation_id: int, text: str, now: Moment) -> bool:
    """True for a text that is about to be stored for the third time, if the agent has answered the others."""
    if len(text.strip()) < policy.LOOP_TEXT:
        return False
    same = {"conversation_id": conversation_id, "text": text, "since": now - policy.LOOP_SPAN}
    states = [row[0] for row in ledger.all(SELECT_SAME_TEXTS, same)]
    return policy.is_loop(states)


def exceeds_turns(ledger: Ledger, conversation_id: int, message_count: int, now: Moment) -> bool:
    """True if the turn that is due is one more than a customer may have in an hour.

    Only turns that have ended count, so that one that is asked again is one turn. `message_count` is that of the whole
    thread: a short one need not be counted again.
    """
    most = ledger.rules.max_turns_per_hour
    if not most or message_count <= most:
        return False
    since = now - policy.TURNS_SPAN
    # A turn's messages may be older than its start: it may have been put off.
    counted = {"conversation_id": conversation_id, "written_since": since - policy.TURNS_SPAN}
    # The index alone has the messages; they are rarely numerous enough that the turns must be read.
    if ledger.need_one(COUNT_RECENT_MESSAGES, counted)[0] <= most:
        return False
    asked: int = ledger.need_one(COUNT_TURNS_ASKED, counted | {"since": since})[0]
    return asked >= most
