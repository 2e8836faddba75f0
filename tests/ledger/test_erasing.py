"""Erasing a customer: nothing that says who they were stays, and what is counted stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines import only_sqlite
from tests.ledger.conftest import NOW, PHONE, call, written
from wa_relay.ledger import batches, calls, claims, consent, erasing, forgotten, inbox, receipts, send_results, turns
from wa_relay.ledger.store import Ledger
from wa_relay.model import Accepted, BatchHint, Receipt, Unclear
from wa_relay.reports import stats_queries
from wa_relay.reports.spans import Span

EVA, BSUID = "+573004445566", "CO.1A2b3C4d"
SECRETS = ("3138539155", "Ana", "precio", "Premium", "conv_1", "SM1", "CO.1A2b", "rcpt_9", "sess_1", "SM" + "0" * 31)

KEPT = {
    "addresses.kind",
    *(f"calls.{name}" for name in ("agent_id", "agent_name", "batch_id", "batch_name", "group_id", "group_name")),
    *(f"calls.{name}" for name in ("outcome", "source", "skipped")),
    *(f"conversation_state.{name}" for name in ("agent_id", "status", "started_at", "last_message_at", "sender")),
    *(f"conversation_state.{name}" for name in ("handler", "handed_code")),
    *(f"conversation_messages.{name}" for name in ("direction", "sent_at", "kind", "status", "reason", "error_code")),
    *(f"conversation_messages.{name}" for name in ("notice", "author", "waits_for", "receipt", "content_sid")),
    *(f"conversation_messages.{name}" for name in ("moved_by", "moved_code", "moved_actor", "sender")),
    "turns.state",
    *(f"journal.{name}" for name in ("event", "reason", "actor", "from_status", "to_status", "moved_by", "code")),
    "receipts.status",
    "receipts.error_code",
    "opt_outs.source",
    "forgotten.kind",
    "forgotten.hash",
}
"""Columns of text that are about a customer's rows, and do not identify the customer."""

ERASED = {
    "addresses.address",
    *(f"calls.{name}" for name in ("elevenlabs_conversation_id", "phone_number", "recipient_id", "client_name")),
    *(f"calls.{name}" for name in ("client_id", "variables", "summary", "transcript", "raw", "collected")),
    *(f"conversation_state.{name}" for name in ("phone_number", "client_name", "elevenlabs_conversation_id")),
    *(f"conversation_state.{name}" for name in ("call_summary", "user_id", "reply_to", "handler_reason")),
    *(f"conversation_state.{name}" for name in ("handler_by", "handed_actor", "handed_evidence")),
    *(f"conversation_messages.{name}" for name in ("content", "twilio_message_id", "error_message", "attachment")),
    *(f"conversation_messages.{name}" for name in ("to_address", "content_variables", "evidence")),
    *(f"turns.{name}" for name in ("session_id", "error")),
    *(f"journal.{name}" for name in ("detail", "facts")),
    "receipts.sid",
    "opt_outs.phone_number",
    *(f"strangers.{name}" for name in ("twilio_message_id", "phone_number", "content")),
    *(f"call_hints.{name}" for name in ("elevenlabs_conversation_id", "batch_id", "recipient_id", "call")),
    *(f"idempotency_keys.{name}" for name in ("key", "body")),
    "conversation_messages.referral",
    *(f"media.{name}" for name in ("content_type", "evidence", "name", "public_id", "purpose", "reason", "state")),
    *(f"media.{name}" for name in ("transcript", "url")),
    "media_chunks.content",
    *(f"alerts.{name}" for name in ("webhook_id", "type", "subject", "data", "state", "reason", "evidence")),
}
"""Columns of text that `erase` empties, or whose rows it deletes."""

OF_NOBODY = {
    "relay",
    "holds",
    "settled_batches",
    "console_users",
    "console_sessions",
    "console_links",
    "console_failures",
    "agent_failures",
    "runs",
}
"""Tables in which nothing is about a customer."""


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger], tmp_path: Path) -> Ledger:
    made = make_ledger(burst_limit=0)
    made.forgotten = tmp_path / "relay.db.forgotten"
    return made


def a_whole_story(ledger: Ledger) -> None:
    """A call, its opening, a question, an answer, an opt-out, another address, and everything beside it."""
    shown = call(
        "conv_1",
        recipient_id="rcpt_9",
        batch_id="batch_1",
        batch_name="Octubre",
        client_id="77",
        variables={"name": "Ana"},
        summary="Ana pidió el plan Premium",
        transcript="Ana: hola",
        raw='{"phone": "+573138539155"}',
        collected={"interest": "Premium"},
    )
    calls.record_call(ledger, shown, NOW)
    deliver(ledger, 1)
    inbox.record_inbound(ledger, written(user_id=BSUID), NOW + 20)
    (job,) = turns.claim_turns(ledger, 5, NOW + 30).jobs
    turns.finish_turn(ledger, job.turn_id, ["El plan Premium cuesta $99, Ana"], "sess_1", NOW + 40)
    deliver(ledger, 3, NOW + 50)
    inbox.record_inbound(ledger, written("baja", sid="SM19"), NOW + 60)
    batches.record_hint(ledger, BatchHint(call("conv_19"), "batch_2", "rcpt_9"), NOW + 60)
    deliver(ledger, 5, NOW + 70)


def deliver(ledger: Ledger, number: int, now: float = NOW + 10) -> None:
    """Sends what is due, and brings its receipt."""
    for job in claims.claim_messages(ledger, 5, now).jobs:
        assert job.outgoing.message_id is not None
        sid = "SM" + f"{number:032x}"
        send_results.finish_send(ledger, job.outgoing.message_id, Accepted(sid), now)
        receipts.record_receipt(ledger, Receipt(sid, "delivered", user_id=BSUID), now + 1)


def stored(ledger: Ledger) -> str:
    """Everything that is in any table, as text."""
    tables = [row[0] for row in ledger.all(TABLE_NAMES[ledger.db.name])]
    rows = [dict(row) for table in tables for row in ledger.all(f"select * from {table}")]
    return json.dumps(rows, ensure_ascii=False, default=str)


TABLE_NAMES = {
    "sqlite": "select name from sqlite_master where type = 'table'",
    "postgres": "select tablename from pg_tables where schemaname = 'public'",
}


def figures(ledger: Ledger, by: Any = None) -> Any:
    """The report."""
    found = stats_queries.stats(ledger.db, span=Span(None, None), by=by, timezone=ledger.rules.timezone)
    return found.to_json()


def test_nothing_of_the_customer_is_left_in_any_table(ledger: Ledger) -> None:
    a_whole_story(ledger)
    before = stored(ledger)
    assert [secret for secret in SECRETS if secret not in before] == []
    assert erasing.erase(ledger, PHONE, "ana", NOW + 100)
    after = stored(ledger)
    assert [secret for secret in SECRETS if secret in after] == []


@pytest.mark.parametrize("by", [None, "day", "batch", "group", "agent"])
def test_the_reports_counts_stay_as_they_were(ledger: Ledger, by: Any) -> None:
    a_whole_story(ledger)
    calls.record_call(ledger, call("conv_2", phone=EVA, batch_id="batch_2", batch_name="Nov"), NOW)
    before = figures(ledger, by)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    assert figures(ledger, by) == before


@only_sqlite
def test_every_column_of_text_is_erased_or_known_to_say_nothing(ledger: Ledger) -> None:
    columns = {
        f"{table}.{column['name']}"
        for (table,) in ledger.all(TABLE_NAMES["sqlite"])
        # What is in the search index's own tables, test_free_space.py reads byte by byte.
        if table not in OF_NOBODY and not table.startswith(("sqlite_", "search_"))
        for column in ledger.all(f"select name, type from pragma_table_info('{table}')")
        if column["type"].lower() in ("text", "blob")
    }
    assert columns - KEPT - ERASED == set(), "say in test_erasing.py what `erase` does with this column"
    assert (KEPT | ERASED) - columns == set()


def test_an_unknown_customer_is_not_erased(ledger: Ledger) -> None:
    assert not erasing.erase(ledger, PHONE, None, NOW)


def test_nothing_is_erased_while_a_message_is_in_flight(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    claims.claim_messages(ledger, 5, NOW)
    with pytest.raises(erasing.MessageInFlight, match="is being sent"):
        erasing.erase(ledger, PHONE, None, NOW)
    send_results.finish_send(ledger, 1, Unclear("read timeout"), NOW)
    with pytest.raises(erasing.MessageInFlight, match="wa-relay resolve 1"):
        erasing.erase(ledger, PHONE, None, NOW)
    assert PHONE in stored(ledger)


def test_waiting_messages_of_an_erased_customer_are_never_sent(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    erasing.erase(ledger, PHONE, None, NOW)
    assert claims.claim_messages(ledger, 5, NOW + 10).jobs == ()
    assert turns.claim_turns(ledger, 5, NOW + 10).jobs == ()


def test_another_report_of_an_erased_call_stores_and_sends_nothing(ledger: Ledger) -> None:
    a_whole_story(ledger)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    before = stored(ledger)
    assert not calls.record_call(ledger, call("conv_1"), NOW + 200).created
    batches.record_hint(ledger, BatchHint(call("conv_1"), "batch_1", "rcpt_9"), NOW + 200)
    assert calls.unknown_calls(ledger, ["conv_1", "conv_7"]) == {"conv_7"}
    assert stored(ledger) == before


def test_a_listing_or_a_receipt_of_an_erased_message_stores_nothing(ledger: Ledger) -> None:
    a_whole_story(ledger)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    before = stored(ledger)
    assert inbox.record_inbound(ledger, written(written_at=NOW + 20), NOW + 200).effect == "duplicate"
    for receipt in (Receipt("SM" + f"{1:032x}", "read"), Receipt("SM" + "a" * 32, "read", message_id=1, user_id=BSUID)):
        assert not receipts.record_receipt(ledger, receipt, NOW + 200).known
    assert stored(ledger) == before


def test_a_later_call_to_a_forgotten_customer_who_had_opted_out_is_only_counted(ledger: Ledger) -> None:
    a_whole_story(ledger)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    state = calls.record_call(ledger, call("conv_1_again", ended_at=NOW + 150), NOW + 200)
    assert (state.created, state.skipped) == (True, "opted_out")
    assert figures(ledger)["calls"] == 2
    assert figures(ledger)["skipped"] == {"opted_out": 1}
    assert [secret for secret in SECRETS if secret in stored(ledger)] == []
    assert not calls.record_call(ledger, call("conv_1_again", ended_at=NOW + 150), NOW + 300).created


def test_a_hint_of_such_a_call_is_kept_without_the_number(ledger: Ledger) -> None:
    a_whole_story(ledger)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    batches.record_hint(ledger, BatchHint(call("conv_8"), "batch_1", None), NOW + 200)
    assert "3138539155" not in stored(ledger)
    (hint,) = batches.take_due_hints(ledger, 5, 120.0, NOW + 200)
    assert calls.record_call(ledger, hint.call, NOW + 200).skipped == "opted_out"


def test_a_new_call_to_a_forgotten_customer_who_had_not_opted_out_starts_afresh(ledger: Ledger) -> None:
    calls.record_call(ledger, call(), NOW)
    erasing.erase(ledger, PHONE, None, NOW + 1)
    state = calls.record_call(ledger, call("conv_2", ended_at=NOW + 5), NOW + 10)
    assert (state.message_status, state.conversation_id) == ("queued", 2)


def test_a_forgotten_customer_who_opts_back_in_is_written_to_again(ledger: Ledger) -> None:
    a_whole_story(ledger)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    assert consent.is_opted_out(ledger, PHONE)
    inbox.record_inbound(ledger, written("alta", sid="SM7", user_id=BSUID), NOW + 200)
    assert not consent.is_opted_out(ledger, PHONE)
    assert calls.record_call(ledger, call("conv_3", ended_at=NOW + 250), NOW + 300).message_status == "queued"


def test_a_stranger_is_erased_too(ledger: Ledger) -> None:
    inbox.record_inbound(ledger, written("baja", sid="SM1"), NOW)
    assert erasing.erase(ledger, PHONE, None, NOW + 1)
    assert [secret for secret in ("3138539155", "SM1") if secret in stored(ledger)] == []
    assert figures(ledger)["opted_out"] == 1
    assert consent.is_opted_out(ledger, PHONE)


def test_the_key_is_in_a_file_that_only_the_owner_reads_and_not_in_the_database(ledger: Ledger) -> None:
    a_whole_story(ledger)
    erasing.erase(ledger, PHONE, None, NOW + 100)
    assert ledger.forgotten is not None
    key = forgotten.find_key(ledger.forgotten)
    assert key is not None
    assert ledger.forgotten.stat().st_mode & 0o777 == 0o600
    assert key.hex() not in stored(ledger)
    assert [secret for secret in SECRETS if secret in ledger.forgotten.read_text("ascii")] == []


def test_a_database_that_was_restored_forgets_again(
    ledger: Ledger, make_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    a_whole_story(ledger)
    keys = [("call", "conv_1"), ("message", "SM1"), ("address", PHONE)]
    assert ledger.forgotten is not None
    forgotten.append(ledger.forgotten, forgotten.traces_of(ledger, keys, NOW + 100))  # type: ignore[arg-type]
    assert erasing.forget_again(ledger, NOW + 500) == 1
    assert [secret for secret in SECRETS if secret in stored(ledger)] == []
    assert erasing.forget_again(ledger, NOW + 600) == 0


def test_a_customer_who_has_come_back_since_is_not_forgotten_again(ledger: Ledger) -> None:
    a_whole_story(ledger)
    assert ledger.forgotten is not None
    hashes = forgotten.traces_of(ledger, [("call", "conv_1")], NOW + 50)
    forgotten.append(ledger.forgotten, hashes)
    assert erasing.forget_again(ledger, NOW + 500) == 0
    assert "Ana" in stored(ledger)


def test_a_line_that_a_power_cut_has_cut_off_is_ignored(ledger: Ledger) -> None:
    assert ledger.forgotten is not None
    (trace,) = forgotten.traces_of(ledger, [("call", "conv_1")], NOW)
    forgotten.append(ledger.forgotten, [trace])
    with ledger.forgotten.open("a", encoding="ascii") as file:
        file.write(f"call {trace.hash[:20]}")
    forgotten.append(ledger.forgotten, [forgotten.Trace("call", "f" * 64, NOW)])
    assert set(forgotten.read(ledger.forgotten)) == {("call", trace.hash), ("call", "f" * 64)}
