"""The model with operators: takeovers, releases, requests and operators' messages between all other events."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.crash.test_model import PEOPLE, Model
from tests.crash.world import RULES, customer, written_by
from wa_relay.ledger import handover, human_messages, inbox, turns
from wa_relay.ledger.claims import SendJob
from wa_relay.ledger.human_messages import HumanMessage, Stored
from wa_relay.policy import Operator

OPERATORS = st.sampled_from([Operator("ana", "console"), Operator("api", "api"), Operator("cli", "cli")])
NOTICE = "Te va a escribir una persona."


class HandoverModel(Model):
    """The handler of a conversation changes at any moment."""

    policy_rules = replace(
        RULES, handover_keywords=frozenset({"asesor"}), handover_notice=NOTICE, handover_on_failure=True
    )

    def __init__(self) -> None:
        super().__init__()
        self.written_by_people: dict[str, int] = {}
        self.keys = 0

    @rule(who=PEOPLE, operator=OPERATORS, hours=st.sampled_from([None, 0.01, 2.0]))
    def a_person_takes_over(self, who: int, operator: Operator, hours: float | None) -> None:
        self.store.run(handover.take_over, customer(who), operator, hours, self.now)

    @rule(who=PEOPLE, operator=OPERATORS)
    def a_person_gives_back(self, who: int, operator: Operator) -> None:
        self.store.run(handover.release, customer(who), operator, self.now)

    @rule(who=PEOPLE, operator=OPERATORS, twice=st.booleans())
    def a_person_writes(self, who: int, operator: Operator, twice: bool) -> None:
        self.keys += 1
        text = f"h{self.keys}x soy una persona"
        stored = [
            self.store.run(
                human_messages.write, customer(who), HumanMessage(text), operator, f"key-{self.keys}", self.now
            )
            for _ in range(1 + twice)
        ]
        ids = {done.message_id for done in stored if isinstance(done, Stored)}
        assert len(ids) <= 1, "I11: the same key stored two messages"
        self.written_by_people |= dict.fromkeys([text] * len(ids), min(ids, default=0))

    @rule(who=PEOPLE)
    def a_customer_requests_a_person(self, who: int) -> None:
        self.written += 1
        self.store.run(inbox.record_inbound, written_by(who, "ASESOR", f"SMin{self.written}"), self.now)

    @precondition(lambda self: self.asking)
    @rule(data=st.data(), speaks=st.booleans())
    def the_agent_asks_for_a_person(self, data: st.DataObject, speaks: bool) -> None:
        job = data.draw(st.sampled_from(self.asking))
        self.asking.remove(job)
        self.store.run(handover.request_in_turn, job.turn_id, self.now)
        if speaks:
            self.store.run(turns.take_answer, job.turn_id, ["a " + job.question.text], None, self.now)
        else:
            self.store.run(turns.fail_turn, job.turn_id, "closed", self.now)

    @rule()
    def the_time_of_handovers_ends(self) -> None:
        self.store.run(handover.end_due, 10, self.now)

    def _may_be_sent(self, job: SendJob) -> None:
        super()._may_be_sent(job)
        (row,) = self.store.rows(
            "select m.kind, s.handler, s.handler_by, s.handler_reason from conversation_messages m"
            " join conversation_state s on s.id = m.conversation_id where m.id = ?",
            job.outgoing.message_id,
        )
        if row["kind"] == "opening":
            assert row["handler"] != "human", "I12: an opening while a person has the conversation"
        if row["kind"] == "reply" and row["handler"] == "human":
            assert row["handler_by"] is None, "I12: a second voice"
            assert row["handler_reason"] == "tool", "I12: a second voice"

    @invariant()
    def inbound_is_stored_once_and_answered_once(self) -> None:
        """A question whose answer was cancelled is asked again, so only sent answers count."""
        sids = [row[0] for row in self.store.rows("select twilio_message_id from conversation_messages")]
        known = [sid for sid in sids if sid is not None]
        assert len(known) == len(set(known)), "I1, I6"
        turn_of = {row[0]: row[1] for row in self.store.rows("select id, turn_id from conversation_messages")}
        answers: defaultdict[str, set[int]] = defaultdict(set)
        for taken in self.twilio.taken:
            for word in taken.body.split():
                if word.startswith("q"):
                    answers[word].add(turn_of[taken.row])
        assert not [word for word, found in answers.items() if len(found) > 1], "I2"

    @invariant()
    def the_agent_is_silent_while_a_person_has_the_conversation(self) -> None:
        taken = "select id from conversation_state where handler = 'human' and handler_by is not null"
        begun = self.store.rows(
            f"select id from turns where state in ('open', 'asking') and conversation_id in ({taken})"
        )
        assert not begun, "I12: a turn while a person has the conversation"

    @invariant()
    def each_message_of_a_person_has_a_row_and_an_author(self) -> None:
        rows = self.store.rows("select content, author from conversation_messages where kind = 'human'")
        assert len(rows) == len(self.written_by_people), "I13: a person's message was lost or stored twice"
        assert all(row["author"] for row in rows), "I13"

    @invariant()
    def each_handover_is_journalled(self) -> None:
        for row in self.store.rows("select id, handler from conversation_state where handed_at is not null"):
            (last,) = self.store.rows(
                "select to_status from journal where conversation_id = ? and event in ('handover', 'mute')"
                " order by id desc limit 1",
                row["id"],
            )
            assert last["to_status"] == row["handler"], "I14: a handover that the journal does not know"


TestHandoverModel = HandoverModel.TestCase
TestHandoverModel.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=False,
)
