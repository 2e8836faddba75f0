"""One schema in each engine's own SQL: what a CHECK of the text says is refused by both."""

from __future__ import annotations

import re

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW
from wa_relay.ledger import schema
from wa_relay.ledger.dialects import checks_of, statements
from wa_relay.ledger.store import Ledger

EVERYTHING = "".join(schema.EVERY_TABLE)
INSERT_ADDRESS = "insert into addresses (address, kind, conversation_id, known_since) values (:address, :kind, 1, 0)"
INSERT_CONVERSATION = """
    insert into conversation_state (id, phone_number, elevenlabs_conversation_id, agent_id, started_at, last_message_at,
        created_at) values (1, '+571', '', 'a', '', '', 0)"""
INSERT_MESSAGE = """
    insert into conversation_messages (conversation_id, direction, content, kind, status, author, reason, created_at)
    values (1, :direction, '', :kind, :status, :author, :reason, 0)"""
GOOD = {"direction": "outbound", "kind": "reply", "status": "queued", "author": None, "reason": None}


@pytest.fixture
def customer(ledger: Ledger) -> Ledger:
    """A ledger with one conversation."""
    ledger.run(INSERT_CONVERSATION)
    return ledger


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": "sideways"},
        {"direction": "inbound"},
        {"kind": "human"},
        {"kind": "shout"},
        {"kind": "opening"},
        {"status": "lost"},
        {"status": "failed"},
        {"status": "sending"},
        {"status": "sent"},
        {"reason": "because"},
    ],
)
def test_a_new_row_that_violates_a_check_is_refused(customer: Ledger, wrong: dict[str, str]) -> None:
    with pytest.raises(REFUSED):
        customer.run(INSERT_MESSAGE, GOOD | wrong)


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'human'",
        "attachment = 'paper'",
        "moved_by = 'nobody'",
        "in_flight = true",
        "call_id = null, kind = 'opening'",
    ],
)
def test_a_change_that_violates_a_check_is_refused(customer: Ledger, change: str) -> None:
    customer.run(INSERT_MESSAGE, GOOD)
    with pytest.raises(REFUSED):
        customer.run(f"update conversation_messages set {change}")


def test_what_a_check_leaves_open_is_accepted(customer: Ledger) -> None:
    customer.run(INSERT_MESSAGE, GOOD | {"kind": "human", "author": "Eva"})
    assert customer.run("update conversation_messages set notice = null, due_at = :now", {"now": NOW}) == 1


@pytest.mark.parametrize(("address", "kind"), [("+572", "bsuid"), ("CO.2", "phone")])
def test_a_pattern_of_a_check_holds(customer: Ledger, address: str, kind: str) -> None:
    with pytest.raises(REFUSED):
        customer.run(INSERT_ADDRESS, {"address": address, "kind": kind})


def test_on_a_server_every_check_stands_in_a_trigger() -> None:
    made = list(statements(EVERYTHING, "postgres"))
    tables = [each for each in made if each.startswith("create table")]
    assert not [each for each in tables if re.search(r"\bcheck\b", each)]
    checks = "".join(checks_of(EVERYTHING).values())
    assert len(re.findall(r"\bcheck \(", EVERYTHING)) == sum(each.count("$check$ ") for each in made) > 50
    assert checks.count("(") == checks.count(")")
