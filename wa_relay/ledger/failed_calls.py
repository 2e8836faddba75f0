"""Failed calls: recipients whose attempt failed without a conversation.

The post-call webhook and the batch report the same failed call under different keys.
"""

from __future__ import annotations

from wa_relay.ledger.store import Ledger
from wa_relay.model import Call

APART = 600.0
"""Seconds by which the two reports may differ about when the call failed."""

SELECT_SAME_FAILED_CALL = """
    select elevenlabs_conversation_id from calls
    where conversation_id = :conversation_id and agent_id = :agent_id and outcome = 'failed'
        and ended_at between :earliest and :latest
        and ((:by_batch and source = 'webhook') or (not :by_batch and elevenlabs_conversation_id like '%/%'))
    order by abs(ended_at - :ended_at) limit 1"""


def find_duplicate_failure(ledger: Ledger, call: Call, conversation_id: int) -> str | None:
    """The key under which the same failed call was already reported, by the webhook or by the batch; None without
    one."""
    by_batch = "/" in call.key
    if call.outcome != "failed" or call.ended_at is None or not (by_batch or call.source == "webhook"):
        return None
    row = ledger.one(
        SELECT_SAME_FAILED_CALL,
        {
            "conversation_id": conversation_id,
            "agent_id": call.agent_id,
            "ended_at": call.ended_at,
            "earliest": call.ended_at - APART,
            "latest": call.ended_at + APART,
            "by_batch": by_batch,
        },
    )
    return None if row is None else str(row[0])
