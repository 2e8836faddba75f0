"""The users of the console in the ledger: names, roles, sessions, links and the throttle."""

from __future__ import annotations

import pytest

from tests.engines import REFUSED
from tests.story import ANA, Story
from wa_relay.ledger import audit, console_sessions, console_users
from wa_relay.ledger.audit import Deed
from wa_relay.ledger.console_sessions import Attempt, Credentials
from wa_relay.ledger.engine import Queries

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"
TOKEN, OTHER = "a" * 64, "b" * 64
NAME, ADDRESS = "name ana", "address 10.0.0.1"


@pytest.fixture(autouse=True)
def ana(story: Story) -> None:
    console_users.add_user(story.ledger, "ana", "operator", HASH, "root", story.now)


def log_in(story: Story, token: str = TOKEN, password_hash: str = HASH) -> bool:
    attempt = console_sessions.begin_attempt(story.ledger, (NAME, ADDRESS), story.now)
    assert isinstance(attempt, Attempt)
    user = Credentials(1, password_hash)
    return console_sessions.log_in(
        story.ledger, user, attempt, NAME, token, story.now + 3600.0, "from 10.0.0.1", story.now
    )


def fail_to_log_in(story: Story, *subjects: str) -> bool:
    """True if the login was allowed to check the password."""
    attempt = console_sessions.begin_attempt(story.ledger, subjects or (NAME, ADDRESS), story.now)
    return isinstance(attempt, Attempt)


def test_a_name_is_given_once(story: Story) -> None:
    with pytest.raises(console_users.NameTaken):
        console_users.add_user(story.ledger, "ana", "viewer", HASH, "root", story.now)


def test_the_schema_refuses_a_password_that_is_not_hashed(story: Story) -> None:
    with pytest.raises(REFUSED):
        console_users.set_password(story.ledger, "ana", "correct horse", "root", story.now)


def test_a_session_is_found_until_it_ends(story: Story, db: Queries) -> None:
    assert log_in(story)
    found = console_sessions.find_session(db, TOKEN, story.now)
    assert found is not None
    assert (found.name, found.role) == ("ana", "operator")
    assert console_sessions.find_session(db, TOKEN, story.now + 3600.0) is None
    assert console_sessions.find_session(db, OTHER, story.now) is None


def test_a_role_holds_from_the_next_request_on(story: Story, db: Queries) -> None:
    log_in(story)
    console_users.set_role(story.ledger, "ana", "viewer", "root", story.now)
    found = console_sessions.find_session(db, TOKEN, story.now)
    assert found is not None
    assert found.role == "viewer"


def test_a_removed_user_has_no_session(story: Story, db: Queries) -> None:
    log_in(story)
    console_users.add_link(story.ledger, "ana", OTHER, "root", story.now)
    console_users.remove_user(story.ledger, "ana", "root", story.now)
    assert console_sessions.find_session(db, TOKEN, story.now) is None
    assert console_users.list_users(db) == []


def test_a_new_password_ends_every_session(story: Story, db: Queries) -> None:
    log_in(story)
    console_users.set_password(story.ledger, "ana", HASH + "2", "root", story.now)
    assert console_sessions.find_session(db, TOKEN, story.now) is None


def test_a_password_that_changed_while_it_was_checked_opens_nothing(story: Story) -> None:
    assert not log_in(story, password_hash=HASH + "old")


def test_a_link_logs_in_once(story: Story, db: Queries) -> None:
    console_users.add_link(story.ledger, "ana", OTHER, "root", story.now)
    end = story.now + 3600.0
    assert console_sessions.log_in_by_link(story.ledger, OTHER, TOKEN, end, "by link", story.now)
    assert not console_sessions.log_in_by_link(story.ledger, OTHER, "c" * 64, end, "by link", story.now)
    assert console_sessions.find_session(db, TOKEN, story.now)


def test_a_link_is_valid_for_ten_minutes(story: Story) -> None:
    console_users.add_link(story.ledger, "ana", OTHER, "root", story.now)
    story.now += 600.0
    assert not console_sessions.log_in_by_link(story.ledger, OTHER, TOKEN, story.now + 1.0, "by link", story.now)


def test_five_failures_of_a_name_close_it_until_fifteen_minutes_after_the_fifth(story: Story) -> None:
    for count in range(5):
        assert fail_to_log_in(story, NAME, f"address {count}")
        story.now += 60.0
    assert not fail_to_log_in(story, NAME, "address 9")
    story.now += 900.0 - 60.0 - 1.0
    assert not fail_to_log_in(story, NAME, "address 9")
    story.now += 1.0
    assert fail_to_log_in(story, NAME, "address 9")


def test_five_failures_of_an_address_close_it_for_every_name(story: Story) -> None:
    for count in range(5):
        assert fail_to_log_in(story, f"name {count}", ADDRESS)
    assert not fail_to_log_in(story, "name 9", ADDRESS)
    assert fail_to_log_in(story, "name 9", "address 10.0.0.2")


def test_five_failures_over_more_than_fifteen_minutes_close_nothing(story: Story) -> None:
    for _ in range(8):
        assert fail_to_log_in(story)
        story.now += 226.0


def test_a_success_clears_the_name_and_not_the_address(story: Story) -> None:
    for _ in range(4):
        assert fail_to_log_in(story)
    assert log_in(story)
    for count in range(4):
        assert fail_to_log_in(story, NAME, f"address {count}")
    assert fail_to_log_in(story, "name eva", ADDRESS)
    assert not fail_to_log_in(story, "name eva", ADDRESS)


def test_the_log_says_who_did_what_to_whom(story: Story, db: Queries) -> None:
    story.call("conv_1")
    log_in(story)
    audit.record_deed(story.ledger, Deed("ana", "takeover", address=ANA), story.now)
    console_sessions.log_out(story.ledger, TOKEN, "ana", story.now)
    lines = [(line.user, line.action, line.phone_number) for line in audit.read_log(db)]
    assert lines == [
        ("root", "user_add", None),
        ("ana", "login", None),
        ("ana", "takeover", ANA),
        ("ana", "logout", None),
    ]


def test_a_refused_operation_leaves_no_deed(story: Story, db: Queries) -> None:
    def refuse(_ledger: object) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        audit.run_audited(story.ledger, Deed("ana", "pause"), story.now, refuse)
    assert [line.action for line in audit.read_log(db)] == ["user_add"]
