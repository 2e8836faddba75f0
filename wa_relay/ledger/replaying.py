"""The stored turns of a customer, to be put to another agent: question, context and old answer of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from wa_relay.ledger import agent_input, customers
from wa_relay.ledger.agent_input import DueTurn
from wa_relay.ledger.engine import Row
from wa_relay.ledger.store import Ledger
from wa_relay.model import Question

SELECT_ENDED_TURNS = """
    select t.id, t.conversation_id, t.call_id, s.phone_number, c.elevenlabs_conversation_id as call_key
    from turns t join conversation_state s on s.id = t.conversation_id left join calls c on c.id = t.call_id
    where t.id in (select turn_id from conversation_messages where conversation_id = :id)
        and t.state in ('answered', 'silent', 'failed')
    order by t.id"""
SELECT_OLD_ANSWER = """
    select content from conversation_messages
    where turn_id = :turn_id and direction = 'outbound' and kind = 'reply' order by part"""


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn that has ended. `old` is None if the agent did not answer it."""

    question: Question
    old: str | None


def stored_turns(ledger: Ledger, address: str, agent_id: str) -> list[StoredTurn] | None:
    """The turns of a customer, oldest first, as questions for an agent; None for an unknown customer. Reads only."""
    conversation_id = customers.find_conversation(ledger.db, address)
    if conversation_id is None:
        return None
    return [
        turn
        for row in ledger.all(SELECT_ENDED_TURNS, {"id": conversation_id})
        if (turn := _turn(ledger, row, agent_id))
    ]


def _turn(ledger: Ledger, row: Row, agent_id: str) -> StoredTurn | None:
    messages = agent_input.messages_of_turn(ledger, row["id"])
    if not messages:
        return None
    call_key = row["call_key"] or ""
    due = DueTurn(row["id"], row["conversation_id"], row["call_id"], agent_id, row["phone_number"], call_key, 0)
    informed = agent_input.inform(ledger.db, agent_input.job_of(due, messages))
    parts = [part[0] for part in ledger.all(SELECT_OLD_ANSWER, {"turn_id": row["id"]})]
    # These facts are of today, and did not hold at the time.
    question = replace(informed.question, nobody_free=False, not_arrived=())
    return StoredTurn(question, "\n\n".join(parts) if parts else None)
