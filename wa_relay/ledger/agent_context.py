"""The context that the agent would get for a customer if a turn were asked now. Reads only."""

from __future__ import annotations

from wa_relay.ledger import agent_input, customers
from wa_relay.ledger.agent_input import Informed, TurnJob
from wa_relay.ledger.engine import Queries
from wa_relay.model import Question

SELECT_WHO_ANSWERS = """
    select s.agent_id, s.status, s.handler, s.phone_number, s.call_id, s.elevenlabs_conversation_id,
        coalesce(
            (select t.id from turns t where t.conversation_id = s.id and t.state = 'asking'),
            (select t.id from turns t where t.conversation_id = s.id and t.state = 'open'),
            s.unanswered_turn_id) as turn_id
    from conversation_state s where s.id = :id"""
SELECT_FIRST_OF_TURN = """
    select min(id) as id from conversation_messages where turn_id = :turn_id and direction = 'inbound'"""
HIGHEST_ID = 2**63 - 1


def find_context(db: Queries, address: str, unknown_agent_id: str) -> Informed | str | None:
    """The call and the thread as a session would get them; an open question is left out.

    None for an unknown customer, and the reason as a sentence if no agent would answer.
    """
    conversation_id = customers.find_conversation(db, address)
    if conversation_id is None:
        return None
    row = db.execute(SELECT_WHO_ANSWERS, {"id": conversation_id}).fetchone()
    if row["status"] == "opted_out":
        return "the customer has opted out"
    if row["handler"] != "agent":
        return "a person has the conversation" if row["handler"] == "human" else "the conversation is muted"
    agent_id = row["agent_id"] or unknown_agent_id
    if not agent_id:
        return "the customer has had no call, and reply.unknown_sender names no agent"
    first = None
    if row["turn_id"] is not None:
        first = db.execute(SELECT_FIRST_OF_TURN, {"turn_id": row["turn_id"]}).fetchone()["id"]
    call_key = None if row["call_id"] is None else row["elevenlabs_conversation_id"]
    question = Question(agent_id=agent_id, text="", call_key=call_key)
    job = TurnJob(
        row["turn_id"] or 0,
        conversation_id,
        row["phone_number"],
        question,
        row["call_id"],
        HIGHEST_ID if first is None else first,
    )
    return agent_input.inform(db, job)
