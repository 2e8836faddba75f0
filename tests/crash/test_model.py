"""The outbox, the inbox and the turns under any order of events: the invariants hold after every step."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.crash.world import MADE, RULES, Store, Twilio, call_of, customer, written_by
from wa_relay import policy
from wa_relay.ledger import calls, claims, inbox, operator_decisions, receipts, send_results, turns, waiting_openings
from wa_relay.ledger.agent_input import TurnJob
from wa_relay.ledger.claims import SendJob
from wa_relay.model import Accepted, NotSent, Receipt, SendRefused, Unclear

PEOPLE = st.integers(0, 2)
LATEST = policy.HOLD - 30.0
FATES = st.sampled_from(["ok", "ok", "ok", "lost", "nothing", "late", "refused", "429", "account"])


class Model(RuleBasedStateMachine):
    """Everything that can happen to a ledger, in any order."""

    policy_rules = RULES

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="wa-relay-model-")
        self.store = Store(Path(self._folder.name) / "relay.db", self.policy_rules)
        self.twilio, self.now = Twilio(), MADE + 10.0
        self.sending: list[SendJob] = []
        self.asking: list[TurnJob] = []
        self.resent: set[int] = set()
        self.written = self.reported = 0
        self.asked: Counter[str] = Counter()

    def teardown(self) -> None:
        self._everything_taken_is_adopted()
        self.store.close()
        self._folder.cleanup()

    @initialize()
    def somebody_was_called(self) -> None:
        self._call(0)

    # --- inputs ---

    @rule(who=PEOPLE, age=st.sampled_from([0.0, 5.0, 3600.0]))
    def a_call_ends(self, who: int, age: float) -> None:
        self._call(who, age)

    def _call(self, who: int, age: float = 0.0) -> None:
        self.reported += 1
        for _ in range(2):
            self.store.run(calls.record_call, call_of(self.reported, who, self.now - age), self.now)

    @rule(who=PEOPLE, listed=st.booleans(), twice=st.booleans())
    def a_customer_writes(self, who: int, listed: bool, twice: bool) -> None:
        self.written += 1
        facts: dict[str, Any] = {"written_at": float(int(self.now))} if listed else {}
        reported = written_by(who, f"q{self.written}x", f"SMin{self.written}", **facts)
        for _ in range(1 + twice):
            self.store.run(inbox.record_inbound, reported, self.now)

    @rule(who=PEOPLE, word=st.sampled_from(["BAJA", "ALTA"]))
    def a_customer_decides(self, who: int, word: str) -> None:
        self.written += 1
        self.store.run(inbox.record_inbound, written_by(who, word, f"SMin{self.written}"), self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0, 130.0, 700.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.twilio.pass_time(self.now)

    # --- sends ---

    @rule(limit=st.integers(1, 4))
    def the_sender_claims(self, limit: int) -> None:
        self.store.run(receipts.release_holds, self.now)
        for job in self.store.run(claims.claim_messages, limit, self.now).jobs:
            self._may_be_sent(job)
            self.sending.append(job)

    def _may_be_sent(self, job: SendJob) -> None:
        (row,) = self.store.rows(
            "select m.*, s.status as consent, s.window_ends_at as window from conversation_messages m"
            " join conversation_state s on s.id = m.conversation_id where m.id = ?",
            job.outgoing.message_id,
        )
        assert self.twilio.times(row["id"]) == 0 or row["id"] in self.resent, "I8: it was sent already"
        assert row["consent"] == "active" or row["notice"] == "opt_out", "I9: sent to a customer who opted out"
        assert job.outgoing.to in {customer(number) for number in range(3)}
        if row["kind"] == "opening":
            (call,) = self.store.rows("select ended_at from calls where id = ?", row["call_id"])
            assert call["ended_at"] >= MADE, "I9: before the fence"
            assert call["ended_at"] + RULES.max_call_age > self.now, "I9: too old"
        else:
            assert row["window"] > self.now, "I9: outside the window"

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), fate=FATES, receipt=st.booleans())
    def a_send_comes_back(self, data: st.DataObject, fate: str, receipt: bool) -> None:
        job = data.draw(st.sampled_from(self.sending))
        self.sending.remove(job)
        identity = job.outgoing.message_id
        assert identity is not None
        self.now += 0.1
        result: Any = Unclear("no answer")
        if fate in ("ok", "lost"):
            taken = self.twilio.take(job, self.now)
            if receipt:
                self.store.run(receipts.record_receipt, Receipt(taken.sid, "sent", identity), self.now)
            result = Accepted(taken.sid) if fate == "ok" else result
        elif fate == "late":
            self.twilio.late.append((self.now + data.draw(st.floats(0.0, LATEST - 60.0)), job))
        elif fate == "refused":
            result = SendRefused("21211", "not a number", "customer")
        elif fate == "account":
            result = SendRefused("20003", "Authenticate", "account")
        elif fate == "429":
            result = NotSent("429", retry_after=data.draw(st.sampled_from([None, 1.0, 1e9])))
        self.store.run(send_results.finish_send, identity, result, self.now)

    @precondition(lambda self: self.twilio.taken)
    @rule(
        data=st.data(),
        own=st.booleans(),
        status=st.sampled_from(["sent", "delivered", "read", "undelivered", "queued"]),
    )
    def a_receipt_comes(self, data: st.DataObject, own: bool, status: str) -> None:
        taken = data.draw(st.sampled_from(self.twilio.taken))
        reported = Receipt(taken.sid, status, taken.row if own else None)
        noted = self.store.run(receipts.record_receipt, reported, self.now)
        assert noted.alarm is None or customer(0)[:9] not in noted.alarm, "I10: a phone in an alarm"

    @rule(works=st.booleans(), lags=st.booleans(), again=st.booleans())
    def unclear_sends_are_looked_up(self, works: bool, lags: bool, again: bool) -> None:
        for lookup in self.store.run(receipts.due_lookups, 4, self.now):
            if not works:
                self.store.run(receipts.put_off_lookup, lookup.message_id, self.now + 1.0)
                continue
            shown = [
                one.listed()
                for one in reversed(self.twilio.taken)
                if one.to == lookup.phone and not (lags and self.now - one.at < 60.0)
            ]
            self.store.run(receipts.record_lookup, lookup, shown + shown[: int(again)], self.now)

    @rule()
    def receipts_are_asked_for(self) -> None:
        by_sid = {one.sid: one for one in self.twilio.taken}
        for message_id, sid in self.store.run(receipts.due_polls, 4, self.now):
            assert by_sid[sid].row == message_id
            self.store.run(receipts.poll_answered, message_id, self.now)
            self.store.run(receipts.record_receipt, Receipt(sid, "delivered"), self.now)

    @rule()
    def old_openings_expire(self) -> None:
        self.store.run(waiting_openings.expire, self.now)

    @rule(data=st.data(), decision=st.sampled_from(["resend", "cancel"]))
    def a_person_decides(self, data: st.DataObject, decision: Any) -> None:
        uncertain = [
            row["id"]
            for row in self.store.rows("select * from conversation_messages where status = 'uncertain'")
            # Some late messages are never waited for: that is what the ten minutes are for.
            if row["attempted_at"] + policy.HOLD < self.now
        ]
        if not uncertain:
            return
        message = data.draw(st.sampled_from(uncertain))
        self.resent.add(message)
        self.store.run(operator_decisions.resolve, message, decision, None, "ana", self.now)

    # --- turns ---

    @rule(limit=st.integers(1, 3))
    def turns_are_claimed(self, limit: int) -> None:
        self.asking += self.store.run(turns.claim_turns, limit, self.now).jobs

    @precondition(lambda self: self.asking)
    @rule(data=st.data(), end=st.sampled_from(["answer", "answer", "two", "fail", "give back"]))
    def a_turn_ends(self, data: st.DataObject, end: str) -> None:
        job = data.draw(st.sampled_from(self.asking))
        self.asking.remove(job)
        if end == "fail":
            self.store.run(turns.fail_turn, job.turn_id, "no answer", self.now)
        elif end == "give back":
            self.store.run(turns.reopen_turn, job.turn_id, self.now)
        else:
            parts = [f"{part} {job.question.text}" for part in ("a", "b")[: 1 + (end == "two")]]
            if self.store.run(turns.finish_turn, job.turn_id, parts, None, self.now):
                self.asked.update(word for word in job.question.text.split() if word.startswith("q"))

    # --- the end of the process ---

    @rule(data=st.data(), pause=st.sampled_from([0.2, 30.0, 900.0]))
    def the_process_dies(self, data: st.DataObject, pause: float) -> None:
        for job in self.sending:
            match data.draw(st.sampled_from(["taken", "nothing", "late"])):
                case "taken":
                    self.twilio.take(job, self.now)
                case "late":
                    self.twilio.late.append((self.now + data.draw(st.floats(0.0, 300.0)), job))
        self.sending, self.asking = [], []
        self.now += pause
        self.twilio.pass_time(self.now)
        self.store.restart(self.now)

    # --- invariants after every step ---

    @invariant()
    def inbound_is_stored_once_and_answered_once(self) -> None:
        sids = [row[0] for row in self.store.rows("select twilio_message_id from conversation_messages")]
        known = [sid for sid in sids if sid is not None]
        assert len(known) == len(set(known)), "I1, I6"
        assert not [word for word, count in self.asked.items() if count > 1], "I2"

    @invariant()
    def one_message_is_on_its_way_to_a_person(self) -> None:
        rows = self.store.rows(
            "select conversation_id from conversation_messages"
            " where status = 'sending' or (status = 'uncertain' and in_flight = 1)"
        )
        assert all(count == 1 for count in Counter(row[0] for row in rows).values()), "I3"
        ids = {row["id"] for row in self.store.rows("select id from conversation_messages where status = 'sending'")}
        assert ids <= {job.outgoing.message_id for job in self.sending}, "I7: an unanswered message belongs to no turn"

    @invariant()
    def a_call_has_one_opening(self) -> None:
        rows = self.store.rows("select call_id from conversation_messages where kind = 'opening'")
        assert len(rows) == len({row[0] for row in rows}), "I4"

    @invariant()
    def the_queue_is_returned_to_with_evidence_only(self) -> None:
        for row in self.store.rows("select * from journal where to_status = 'queued' and from_status is not null"):
            assert row["moved_by"] == ("http" if row["from_status"] == "sending" else "operator"), "I5"

    @invariant()
    def nothing_waits_for_nothing(self) -> None:
        rows = {row["id"]: row for row in self.store.rows("select * from conversation_messages")}
        waiting = {(row["turn_id"], row["part"]) for row in rows.values() if row["status"] in ("queued", "uncertain")}
        waiting |= {(row["turn_id"], row["part"]) for row in rows.values() if row["status"] == "sending"}
        for row in rows.values():
            if row["status"] == "queued" and row["due_at"] is None:
                assert (row["turn_id"], row["part"] - 1) in waiting, "I7: a part that no part frees"
            if row["status"] == "sent":
                assert row["poll_at"] is not None or row["polls"] == 3, "I7: a receipt that is not asked for"
            if row["status"] == "uncertain":
                young = self.now < row["attempted_at"] + policy.LATE_LOOKUPS_END - policy.LATE_LOOKUP
                assert row["lookup_at"] is not None or not young, "I7: an unclear send that is not looked up"

    @invariant()
    def what_was_taken_belongs_to_one_row(self) -> None:
        rows = {row["id"]: row for row in self.store.rows("select * from conversation_messages")}
        for taken in self.twilio.taken:
            assert rows[taken.row]["sends"] >= 1, "I8"
            assert self.twilio.times(taken.row) == 1 or taken.row in self.resent, "I8: it was sent twice"
        for row in rows.values():
            owner = [one for one in self.twilio.taken if one.sid == row["twilio_message_id"]]
            if row["direction"] == "outbound" and owner:
                assert owner[0].row == row["id"], "I8: another message was adopted"

    def _everything_taken_is_adopted(self) -> None:
        """Twilio's callbacks report every message in the end."""
        for taken in self.twilio.taken:
            self.store.run(receipts.record_receipt, Receipt(taken.sid, "delivered", taken.row), self.now)
        rows = {row["id"]: row for row in self.store.rows("select * from conversation_messages")}
        for taken in self.twilio.taken:
            if taken.row not in self.resent:
                assert rows[taken.row]["twilio_message_id"] == taken.sid, "I8: what was sent is not adopted"


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=False,
)
