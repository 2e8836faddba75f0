"""A ledger on a real file between simulated services, with a virtual clock, for the model test and the sweep.

`Twilio` is the judge: it knows what it took, even if no answer arrived.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from wa_relay.ledger import file, send_results, store, turns
from wa_relay.ledger.claims import SendJob
from wa_relay.ledger.store import Ledger
from wa_relay.model import Call, Inbound, Listed, Moment
from wa_relay.policy import OpeningText, Rules

P = ParamSpec("P")
T = TypeVar("T")

MADE = 1_795_000_000.0
"""The moment at which the database is created."""

RULES = Rules(
    timezone=ZoneInfo("America/Bogota"),
    openings={"completed": OpeningText(body="Hola {client_name}, gracias por atender.")},
    burst_limit=0,
    fallback="En este momento no podemos responderte.",
    text_only="Por ahora solo puedo leer texto.",
    opt_out_keywords=frozenset({"baja"}),
    return_keywords=frozenset({"alta"}),
    confirmation="Listo, no te escribiremos más.",
)


@dataclass(slots=True)
class Taken:
    """One message that Twilio took. `row` is our own id in its callback."""

    sid: str
    row: int
    to: str
    body: str
    at: Moment

    def listed(self, status: str = "sent") -> Listed:
        """The message as the list shows it: times are cut to whole seconds."""
        return Listed(self.sid, "outbound-api", self.to, "+14155238886", self.body, status, float(int(self.at)))


@dataclass(slots=True)
class Twilio:
    """The messages that were sent, and those that Twilio will take later."""

    taken: list[Taken] = field(default_factory=list)
    late: list[tuple[Moment, SendJob]] = field(default_factory=list)

    def take(self, job: SendJob, at: Moment) -> Taken:
        """Takes a message: from now on the customer has it."""
        outgoing = job.outgoing
        assert outgoing.message_id is not None
        made = Taken(f"SM{len(self.taken) + 1:032x}", outgoing.message_id, outgoing.to, outgoing.body or "", at)
        self.taken.append(made)
        return made

    def pass_time(self, now: Moment) -> None:
        """Takes the late messages (F8)."""
        for at, job in [one for one in self.late if one[0] <= now]:
            self.late.remove((at, job))
            self.take(job, at)

    def times(self, row: int) -> int:
        """The number of times that a row was taken."""
        return sum(one.row == row for one in self.taken)


class Store:
    """The ledger, one transaction an operation, as its thread runs them; `restart` is a kill and a start."""

    def __init__(self, path: Path, rules: Rules = RULES) -> None:
        self._path, self._rules = path, rules
        self.ledger = self._open(MADE)

    def run(self, operation: Callable[Concatenate[Ledger, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs one operation in a transaction of its own."""
        db = self.ledger.db
        db.execute("begin immediate")
        try:
            result = operation(self.ledger, *args, **kwargs)
            db.execute("commit")
        except BaseException:
            if db.in_transaction:
                db.execute("rollback")
            raise
        return result

    def restart(self, now: Moment) -> None:
        """Ends abruptly, starts again and recovers the work under way."""
        self.close()
        self.ledger = self._open(now)
        self.run(send_results.rescue_sends, now)
        self.run(turns.rescue_turns, now)

    def rows(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Every row of a query."""
        return self.ledger.all(sql, parameters)

    def close(self) -> None:
        """Closes the file."""
        self.ledger.db.close()

    def _open(self, now: Moment) -> Ledger:
        found = file.open_for_writing(self._path, account_sid="AC1", now=now)
        # This machine keeps its power: only the order of commits matters here.
        found.connection.execute("pragma synchronous = off")
        ledger = Ledger(found.connection, self._rules)
        store.begin_run(ledger, now)
        return ledger


def customer(number: int) -> str:
    """The phone of a customer."""
    return f"+57300000000{number}"


def call_of(number: int, who: int, ended_at: Moment) -> Call:
    """A finished call."""
    return Call(f"conv_{number}", customer(who), "agent_1", "completed", "push", ended_at, client_name=f"Ana {number}")


def written_by(who: int, text: str, sid: str, **facts: Any) -> Inbound:
    """A customer's message."""
    return Inbound(sid, customer(who), text, **facts)
