"""The triggers that guard the moves of an outbound message, and write the journal."""

from __future__ import annotations

from wa_relay.ledger.dialects import Trigger

MOVES = (
    # from, to: every edge of an outbound message's life; a receipt of any rank passes through `sent`
    ("queued", "sending"),
    ("queued", "failed"),
    ("queued", "sent"),  # a resend that was waiting when the first send's receipt came after all
    ("sending", "sent"),
    ("sending", "failed"),
    ("sending", "queued"),
    ("sending", "uncertain"),
    ("uncertain", "sent"),
    ("uncertain", "failed"),
    ("uncertain", "queued"),
    ("sent", "delivered"),
    ("sent", "read"),
    ("sent", "failed"),
    ("delivered", "read"),
)

_LEGAL = " or ".join(f"(old.status = '{a}' and new.status = '{b}')" for a, b in MOVES)
_UPDATE_OF_STATUS = "before update of status on conversation_messages"

_LEGAL_MOVE = Trigger(
    "legal_move",
    _UPDATE_OF_STATUS,
    f"old.status <> new.status and not ({_LEGAL})",
    refuses="illegal move of a message",
)
_PROOF = Trigger(
    "no_return_without_proof",
    _UPDATE_OF_STATUS,
    """new.status = 'queued' and (
        (old.status = 'sending' and new.moved_by is distinct from 'http')
        or (old.status = 'uncertain' and new.moved_by is distinct from 'operator'))""",
    refuses="a message returns to the queue only with proof",
)
_SENDING = Trigger(
    "send_is_recorded",
    _UPDATE_OF_STATUS,
    """new.status = 'sending' and old.status <> 'sending' and (
        new.attempted_at is null or new.epoch is null or new.sends <> old.sends + 1)""",
    refuses="a send is recorded before it is made",
)
_MOVED = Trigger(
    "move_is_stated",
    _UPDATE_OF_STATUS,
    "old.status <> new.status and (new.moved_by is null or new.moved_at is null)",
    refuses="a move states who made it, and when",
)
_MOVE_ENTRY = Trigger(
    "move_is_journalled",
    "after update of status on conversation_messages",
    "old.status <> new.status",
    does="""
    insert into journal (at, event, reason, detail, actor, conversation_id, call_id, message_id, turn_id, from_status,
        to_status, moved_by, code)
    values (new.moved_at, case when new.moved_by in ('receipt', 'operator') then new.moved_by else 'send' end,
        new.reason, new.evidence, new.moved_actor, new.conversation_id, new.call_id, new.id, new.turn_id, old.status,
        new.status, new.moved_by, new.moved_code);""",
)
_MESSAGE_ENTRY = Trigger(
    "message_is_journalled",
    "after insert on conversation_messages",
    does="""
    insert into journal (at, event, conversation_id, call_id, message_id, turn_id, to_status)
    values (new.created_at, 'message', new.conversation_id, new.call_id, new.id, new.turn_id, new.status);""",
)
_NEWEST_ENTRY = Trigger(
    "newest_entry_stays",
    "before delete on journal",
    "old.id = (select max(id) from journal)",
    refuses="the newest entry stays, so that no id is given twice",
)
# What a report asks of every turn stands in the turn: half a million look-ups fewer.
_TOLD = Trigger(
    "answer_is_timed",
    "after update of accepted_at on conversation_messages",
    "new.turn_id is not null and new.part = 0 and new.direction = 'outbound'",
    does="update turns set replied_at = new.accepted_at where id = new.turn_id;",
)

TRIGGERS = (_LEGAL_MOVE, _PROOF, _SENDING, _MOVED, _MOVE_ENTRY, _MESSAGE_ENTRY, _NEWEST_ENTRY, _TOLD)
