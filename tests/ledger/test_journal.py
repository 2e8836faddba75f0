"""The journal: each change and its entry are one, ids only grow, and one conversation's entries are found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines import REFUSED
from tests.ledger.conftest import NOW, call, written
from wa_relay.ledger import calls, claims, inbox, journal, send_results
from wa_relay.ledger.journal import Entry
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted

SID = "SM" + "0" * 32


def test_an_entry_is_read_as_it_was_recorded(ledger: Ledger) -> None:
    entry = Entry(
        "operator", "resume", "resumed", actor="ana", conversation_id=1, call_id=2, turn_id=4, facts={"released": 3}
    )
    journal.record(ledger, entry, NOW)
    (recorded,) = journal.read_after(ledger.db, 0, 10)
    assert (recorded.id, recorded.at, recorded.entry) == (1, NOW, entry)


def test_every_message_and_every_move_is_one_entry(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    claims.claim_messages(ledger, 5, NOW)
    send_results.finish_send(ledger, 1, Accepted(SID), NOW + 1)
    inbox.record_inbound(ledger, written(), NOW + 2)
    found = [
        (each.entry.event, each.entry.message_id, each.from_status, each.to_status, each.moved_by)
        for each in journal.read_after(ledger.db, 0, 100)
        if each.to_status
    ]
    assert found == [
        ("message", 1, None, "queued", None),
        ("send", 1, "queued", "sending", "run"),
        ("send", 1, "sending", "sent", "http"),
        ("message", 2, None, "received", None),
    ]


def test_a_reader_continues_after_the_id_that_it_has_seen(ledger: Ledger) -> None:
    for number in range(5):
        journal.record(ledger, Entry("call", call_id=number), NOW)
    first = journal.read_after(ledger.db, 0, 3)
    rest = journal.read_after(ledger.db, first[-1].id, 3)
    assert [each.entry.call_id for each in first + rest] == [0, 1, 2, 3, 4]
    assert journal.newest_id(ledger.db) == rest[-1].id


def test_a_change_that_was_rolled_back_is_not_in_the_journal(ledger: Ledger) -> None:
    ledger.db.execute("begin")
    calls.record_call(ledger, call(), NOW)
    ledger.db.execute("rollback")
    assert journal.read_after(ledger.db, 0, 100) == []


def test_the_newest_entry_stays_so_that_no_id_is_given_twice(ledger: Ledger) -> None:
    for _ in range(2):
        journal.record(ledger, Entry("call"), NOW)
    ledger.run("delete from journal where id = 1")
    with pytest.raises(REFUSED, match="newest entry stays"):
        ledger.run("delete from journal where id = 2")


def test_a_conversations_entries_are_those_of_its_messages_its_turns_and_its_own(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger(burst_limit=0)
    for number in (1, 2):
        calls.record_call(ledger, call(f"conv_{number}", phone=f"+5731385391{number:02}"), NOW)
        inbox.record_inbound(ledger, written(sid=f"SM{number}", phone=f"+5731385391{number:02}"), NOW)
        journal.record(ledger, Entry("handover", "api", conversation_id=number), NOW)
    turn = ledger.need_one("select id from turns where conversation_id = 1")["id"]
    journal.record(ledger, Entry("try", "answered", conversation_id=1, turn_id=turn), NOW)
    claims.claim_messages(ledger, 5, NOW)
    found = journal.read_of_conversation(ledger.db, 1)
    assert {each.entry.conversation_id for each in found} == {1}
    assert {"handover", "try", "send"} <= {each.entry.event for each in found}
    assert [each.id for each in found] == sorted(each.id for each in found)
