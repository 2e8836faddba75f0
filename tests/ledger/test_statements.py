"""The number of statements that a whole message and a pushed call cost: each is a few per cent of its time."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import TypeVar, cast

from tests.engines import only_sqlite
from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import calls, claims, inbox, send_results, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted

T = TypeVar("T")


class Counted:
    """Runs operations, and counts the statements of each; what triggers do is part of the statement."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.statements: Counter[str] = Counter()

    def run(self, operation: Callable[..., T], *arguments: object) -> T:
        """Runs one operation."""
        made: list[str] = []
        db = cast("sqlite3.Connection", self._ledger.db)
        db.set_trace_callback(made.append)
        try:
            return operation(self._ledger, *arguments)
        finally:
            db.set_trace_callback(None)
            # A statement is reported once more for each trigger that it meets.
            apart = [sql for number, sql in enumerate(made) if not number or sql != made[number - 1]]
            self.statements[operation.__name__] += len([sql for sql in apart if not sql.startswith("--")])


@only_sqlite
def test_a_whole_message_costs_few_statements(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    (opening,) = claims.claim_messages(ledger, 1, NOW).jobs
    send_results.finish_send(ledger, opening.outgoing.message_id or 0, Accepted("SM" + "0" * 32), NOW)
    counted = Counted(ledger)
    counted.run(inbox.record_inbound, written(), NOW + 60)
    (turn,) = counted.run(turns.claim_turns, 1, NOW + 63).jobs
    counted.run(turns.take_answer, turn.turn_id, ["Claro."], None, NOW + 64)
    (reply,) = counted.run(claims.claim_messages, 1, NOW + 64).jobs
    counted.run(send_results.finish_send, reply.outgoing.message_id, Accepted("SM" + "1" * 32), NOW + 65)
    assert counted.statements == {
        "record_inbound": 5,
        "claim_turns": 6,
        "take_answer": 6,
        "claim_messages": 6,
        "finish_send": 3,
    }


@only_sqlite
def test_a_pushed_call_costs_few_statements(ledger: Ledger) -> None:
    calls.record_call(ledger, call("conv_0", phone="+573001112233"), NOW)
    counted = Counted(ledger)
    counted.run(calls.record_call, call(), NOW)
    opening = claims.claim_messages(ledger, 2, NOW).jobs[-1]
    counted.run(send_results.finish_send, opening.outgoing.message_id, Accepted("SM" + "0" * 32), NOW)
    assert counted.statements == {"record_call": 8, "finish_send": 3}
