"""Attempts that never became a conversation: the webhook and the batch tell of them under different keys."""

from __future__ import annotations

import sqlite3

from wa_relay.ledger.store import Ledger
from wa_relay.model import Call

APART = 600.0
"""Seconds by which the two may differ about when an attempt failed."""

SAME = """
    select calls.*, s.phone_number from calls join conversation_state s on s.id = calls.conversation_id
    where s.phone_number = :phone and calls.agent_id = :agent_id and calls.outcome = 'failed'
        and calls.ended_at between :ended_at - :apart and :ended_at + :apart
        and case when :by_batch then calls.source = 'webhook' else instr(calls.elevenlabs_conversation_id, '/') end
    order by abs(calls.ended_at - :ended_at) limit 1"""


def told_before(ledger: Ledger, call: Call) -> sqlite3.Row | None:
    """The known call that is the same failed attempt, told by the other of webhook and batch; None without one."""
    by_batch = "/" in call.key
    if call.outcome != "failed" or call.ended_at is None or not (by_batch or call.source == "webhook"):
        return None
    parameters = {
        "phone": call.phone,
        "agent_id": call.agent_id,
        "ended_at": call.ended_at,
        "apart": APART,
        "by_batch": int(by_batch),
    }
    return ledger.one(SAME, parameters)
