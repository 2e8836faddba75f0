"""One flow from its inputs to its end, driven step by step: a channel whose journal is a file, and a virtual clock."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.crash.world import MADE, Store, call_of, written_by
from wa_relay.ledger import calls, claims, inbox, receipts, send_results, turns
from wa_relay.ledger.claims import SendJob
from wa_relay.ledger.sqlite import SqliteEngine
from wa_relay.model import Accepted, Listed, NotSent, Receipt, SendRefused, SendResult, Unclear

Moment = Literal["before", "after"]
STEP, STEPS = 11.0, 250
"""Seconds between two steps of the driver, and the number of steps: together longer than two holds."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The inputs, and the successive results of the channel and of the agent; after the last one everything
    succeeds."""

    name: str
    inputs: tuple[str, ...] = ("call", "q1x")
    sends: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


FLOWS = (
    Flow("a call is opened", inputs=("call",)),
    Flow("a question is answered in two parts"),
    Flow("two questions are answered one after the other", inputs=("call", "q1x", "q2x")),
    Flow("a person opts out", inputs=("call", "q1x", "BAJA", "q2x")),
    Flow("the channel is busy, then takes it", sends=("429", "429")),
    Flow("the answer to a send is lost", sends=("lost", "lost")),
    Flow("a send never reaches Twilio", sends=("nothing",)),
    Flow("a send is refused", sends=("refused",)),
    Flow("the account is refused, then not", sends=("account", "account")),
    Flow("the agent fails", answers=("fail",)),
    Flow("the agent's turn is abandoned halfway", answers=("give back",)),
)


class Journal:
    """The messages that the channel took, kept where a kill of the daemon can't touch them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, kind: str, **data: Any) -> None:
        """Adds an entry."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **data}) + "\n")

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The entries of a kind."""
        if not self._path.exists():
            return []
        lines = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["kind"] == kind]


class Driver:
    """Plays a flow on a ledger."""

    def __init__(self, flow: Flow, store: Store, journal: Journal, now: float) -> None:
        self._flow, self._store, self._journal, self.now = flow, store, journal, now

    def play(self) -> None:
        """Gives the inputs, again after a kill as the backend and the sweep do, and works until nothing is left."""
        for number, shown in enumerate(self._flow.inputs):
            if shown == "call":
                self._store.run(calls.record_call, call_of(1, 0, MADE + 5.0), self.now)
            else:
                self._store.run(inbox.record_inbound, written_by(0, shown, f"SMin{number}"), self.now)
            for _ in range(3):
                self._look()
        for _ in range(STEPS):
            if self._at_rest():
                return
            self._look()
        raise AssertionError("the flow does not end")

    def _at_rest(self) -> bool:
        rows = self._store.rows(
            "select (select count(*) from conversation_messages where status in ('queued', 'sending', 'sent'))"
            " + (select count(*) from turns where state in ('open', 'asking'))"
        )
        return not rows[0][0]

    def _look(self) -> None:
        self.now += STEP
        self._journal.note("clock", at=self.now)
        store = self._store
        store.run(receipts.release_holds, self.now)
        for job in store.run(claims.claim_messages, 4, self.now).jobs:
            assert job.outgoing.message_id is not None
            store.run(send_results.finish_send, job.outgoing.message_id, self._send(job), self.now)
        for lookup in store.run(receipts.due_lookups, 4, self.now):
            store.run(receipts.record_lookup, lookup, self._listed(lookup.phone), self.now)
        for turn in store.run(turns.claim_turns, 4, self.now).jobs:
            self._answer(turn.turn_id, turn.question.text)
        for taken in self._journal.entries("taken"):
            store.run(receipts.record_receipt, Receipt(taken["sid"], "delivered"), self.now)

    def _send(self, job: SendJob) -> SendResult:
        tries = len(self._journal.entries("tried"))
        fate = self._flow.sends[tries] if tries < len(self._flow.sends) else "ok"
        outgoing = job.outgoing
        self._journal.note("tried", row=outgoing.message_id)
        if fate in ("ok", "lost"):
            sid = f"SM{tries:032x}"
            self._journal.note(
                "taken", sid=sid, row=outgoing.message_id, to=outgoing.to, body=outgoing.body, at=self.now
            )
            return Accepted(sid) if fate == "ok" else Unclear("reset")
        refusals: dict[str, SendResult] = {
            "429": NotSent("429", 1.0),
            "nothing": Unclear("reset"),
            "refused": SendRefused("21211", "not a number", "customer"),
            "account": SendRefused("20003", "Authenticate", "account"),
        }
        return refusals[fate]

    def _listed(self, phone: str) -> list[Listed]:
        return [
            Listed(one["sid"], "outbound-api", one["to"], "+14155238886", one["body"], "sent", float(int(one["at"])))
            for one in self._journal.entries("taken")
            if one["to"] == phone
        ]

    def _answer(self, turn_id: int, text: str) -> None:
        asked = len(self._journal.entries("asked"))
        fate = self._flow.answers[asked] if asked < len(self._flow.answers) else "answer"
        self._journal.note("asked", text=text)
        if fate == "fail":
            self._store.run(turns.fail_turn, turn_id, "no answer", self.now)
        elif fate == "give back":
            self._store.run(turns.reopen_turn, turn_id, self.now)
        else:
            # A language model answers differently each time it is asked.
            parts = [f"{part} {text} ({asked})" for part in ("primero", "segundo")]
            self._store.run(turns.finish_turn, turn_id, parts, None, self.now)


class Dying(SqliteEngine):
    """A connection whose process is killed at a commit: before it is made, or right after.

    An empty commit does not count: a kill there is a kill at the one before.
    """

    at, when, commits, changes = 0, "before", 0, 0

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Runs a statement, and dies if its time has come."""
        due = sql == "commit" and self._counted()
        if due and Dying.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        cursor = super().execute(sql, *parameters)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return cursor

    def _counted(self) -> bool:
        if self.total_changes == self.changes:
            return False
        self.changes = self.total_changes
        Dying.commits += 1
        return Dying.commits == Dying.at


def die_at(commit: int, when: Moment, work: Callable[[], None]) -> bool:
    """Does the work in a child that is killed at that commit. Returns true if the work ended before it."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            Dying.at, Dying.when, Dying.commits = commit, when, 0
            connect = sqlite3.connect
            sqlite3.connect = lambda *shown, **more: connect(*shown, **(more | {"factory": Dying}))
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (0, -signal.SIGKILL), f"the flow itself failed: {ended}"
    return ended == 0


def judged(flow: Flow, store: Store, journal: Journal, killed: bool) -> list[str]:
    """The broken promises, as sentences."""
    broken = []
    rows = {row["id"]: row for row in store.rows("select * from conversation_messages")}
    taken = journal.entries("taken")
    for one in taken:
        row = rows[one["row"]]
        if sum(other["row"] == one["row"] for other in taken) > 1:
            broken.append(f"row {one['row']} was sent twice")
        elif row["twilio_message_id"] != one["sid"]:
            broken.append(f"row {one['row']} was sent and is {row['status']}")
    ours = [row for row in rows.values() if row["direction"] == "outbound"]
    uncertain = [row for row in ours if row["status"] == "uncertain"]
    broken += [f"row {row['id']} ends {row['status']}" for row in ours if row["status"] in ("queued", "sending")]
    if len(uncertain) > int(killed) + flow.sends.count("nothing"):
        broken.append(f"{len(uncertain)} are uncertain")
    broken += _unanswered(flow, ours, killed=killed)
    if [one["at"] for one in taken] != sorted(one["at"] for one in taken) or _disordered(taken):
        broken.append("the answers are out of order")
    return broken


def _unanswered(flow: Flow, ours: Sequence[sqlite3.Row], *, killed: bool) -> list[str]:
    broken = []
    openings = [row for row in ours if row["kind"] == "opening"]
    if len(openings) != 1:
        broken.append(f"{len(openings)} openings")
    gone = "BAJA" in flow.inputs
    for question in (shown for shown in flow.inputs if shown.startswith("q")):
        answers = {row["turn_id"] for row in ours if row["kind"] == "reply" and question in row["content"]}
        if len(answers) > 1:
            broken.append(f"{question} was answered {len(answers)} times")
        if not answers and not gone and "fail" not in flow.answers:
            broken.append(f"{question} was not answered")
    notices = [row["notice"] for row in ours if row["kind"] == "notice"]
    wanted = ["opt_out"] * gone + ["fallback"] * ("fail" in flow.answers)
    # An agent that is asked again after a kill may answer this time.
    if notices != wanted and not (killed and not notices and "fail" in flow.answers):
        broken.append(f"notices {notices}, not {wanted}")
    return broken


def _disordered(taken: Sequence[dict[str, Any]]) -> bool:
    rows = [one["row"] for one in taken]
    return rows != sorted(rows)
