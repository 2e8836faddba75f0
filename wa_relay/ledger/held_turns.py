"""Held turns: the messages that stay unanswered while the agent does not have the conversation.

There is at most one in a conversation. A person's message answers it; when the agent has the conversation again, it is
asked once.
"""

from __future__ import annotations

from wa_relay.ledger import journal
from wa_relay.ledger.store import Ledger
from wa_relay.model import Moment

SELECT_HELD_TURN = "select id from turns where conversation_id = :conversation_id and state = 'held'"
INSERT_HELD_TURN = """
    insert into turns (conversation_id, call_id, state, first_at, last_at, due_at)
    select id, call_id, 'held', :now, :now, :now from conversation_state where id = :conversation_id"""
HOLD_MESSAGE = "update conversation_messages set turn_id = :turn_id where id = :message_id"
NOTE_HELD_MESSAGE = "update turns set last_at = greatest(last_at, :now) where id = :turn_id"
HOLD_QUESTION = """
    update conversation_messages set turn_id = :to_turn where turn_id = :from_turn and direction = 'inbound'"""
HOLD_END = """
    update turns set last_at = (select o.last_at from turns o where o.id = :from_turn) where id = :to_turn"""
TAKE_UNANSWERED = """
    update conversation_state set unanswered_turn_id = null
    where id = :conversation_id and unanswered_turn_id is not null"""
SELECT_UNANSWERED_TURN = "select unanswered_turn_id from conversation_state where id = :conversation_id"
SELECT_BEGUN_TURNS = """
    select id, tools_ran from turns
    where conversation_id = :conversation_id and (state = 'open' or state = 'asking') order by id"""
END_TURN = "update turns set state = 'cancelled', finished_at = :now where id = :turn_id"
SELECT_TURN_OF_TOOLS = "select tools_ran from turns where id = :turn_id"
SELECT_FIRST_HELD = """
    select min(accepted_at) from conversation_messages where turn_id = :turn_id and direction = 'inbound'"""
SELECT_ASKABLE = """
    select status = 'active' and window_ends_at > :now and (call_id is not null or agent_id <> '')
    from conversation_state where id = :conversation_id"""
ASK_HELD_TURN = "update turns set state = 'open', first_at = :now, due_at = :now where id = :turn_id"


def hold_message(ledger: Ledger, conversation_id: int, message_id: int, now: Moment) -> None:
    """Keeps one message of the customer for the next to answer."""
    turn_id = _held(ledger, conversation_id, now)
    ledger.run(HOLD_MESSAGE, {"turn_id": turn_id, "message_id": message_id})
    ledger.run(NOTE_HELD_MESSAGE, {"now": now, "turn_id": turn_id})


def hold_begun_turns(ledger: Ledger, conversation_id: int, now: Moment, *, but: int | None = None) -> None:
    """Ends the turns that are open or being asked, except `but`, and keeps what they asked.

    What a failed turn has left unanswered is kept with it. A turn whose tools may have run is never asked again.
    """
    earlier = ledger.need_one(SELECT_UNANSWERED_TURN, {"conversation_id": conversation_id})[0]
    if earlier is not None and ledger.run(TAKE_UNANSWERED, {"conversation_id": conversation_id}):
        hold_question(ledger, conversation_id, earlier, now)
    for turn_id, tools_ran in ledger.all(SELECT_BEGUN_TURNS, {"conversation_id": conversation_id}):
        if turn_id == but:
            continue
        ledger.run(END_TURN, {"now": now, "turn_id": turn_id})
        entry = journal.Entry("turn", "cancelled", "handed_over", conversation_id=conversation_id, turn_id=turn_id)
        journal.record(ledger, entry, now)
        if not tools_ran:
            hold_question(ledger, conversation_id, turn_id, now)


def hold_question(ledger: Ledger, conversation_id: int, turn_id: int, now: Moment) -> None:
    """Keeps what an ended turn asked, unless a tool may have run in it."""
    if ledger.need_one(SELECT_TURN_OF_TOOLS, {"turn_id": turn_id})[0]:
        return
    held = _held(ledger, conversation_id, now)
    ledger.run(HOLD_QUESTION, {"to_turn": held, "from_turn": turn_id})
    ledger.run(HOLD_END, {"to_turn": held, "from_turn": turn_id})


def first_held_at(ledger: Ledger, conversation_id: int) -> Moment | None:
    """Returns when the oldest held message was written, None without one."""
    row = ledger.one(SELECT_HELD_TURN, {"conversation_id": conversation_id})
    if row is None:
        return None
    first: Moment | None = ledger.need_one(SELECT_FIRST_HELD, {"turn_id": row[0]})[0]
    return first


def answer_held(ledger: Ledger, conversation_id: int, reason: str, now: Moment) -> int | None:
    """Ends the held turn for a reason (a code), without asking the agent. Returns its id, None without one."""
    row = ledger.one(SELECT_HELD_TURN, {"conversation_id": conversation_id})
    if row is None:
        return None
    turn_id = int(row[0])
    ledger.run(END_TURN, {"now": now, "turn_id": turn_id})
    entry = journal.Entry("turn", "cancelled", reason, conversation_id=conversation_id, turn_id=turn_id)
    journal.record(ledger, entry, now)
    return turn_id


def ask_held(ledger: Ledger, conversation_id: int, now: Moment) -> bool:
    """Makes the held turn due for the agent. False if no turn is held, or if it must no longer be answered: after an
    opt-out, once the window has closed, and for a stranger without an agent.
    """
    row = ledger.one(SELECT_HELD_TURN, {"conversation_id": conversation_id})
    if row is None:
        return False
    if not ledger.need_one(SELECT_ASKABLE, {"conversation_id": conversation_id, "now": now})[0]:
        answer_held(ledger, conversation_id, "not_askable", now)
        return False
    ledger.run(ASK_HELD_TURN, {"now": now, "turn_id": row[0]})
    ledger.db.announce("turn", now)
    entry = journal.Entry(
        "turn",
        "given_back",
        "the agent is asked about the unanswered messages",
        conversation_id=conversation_id,
        turn_id=row[0],
    )
    journal.record(ledger, entry, now)
    return True


def _held(ledger: Ledger, conversation_id: int, now: Moment) -> int:
    row = ledger.one(SELECT_HELD_TURN, {"conversation_id": conversation_id})
    if row is not None:
        return int(row[0])
    return ledger.insert(INSERT_HELD_TURN, {"conversation_id": conversation_id, "now": now})
