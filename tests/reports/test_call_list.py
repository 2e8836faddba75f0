"""The list of calls: one row each, on both engines, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from tests.story import ANA, EVA, LUIS, NOW, Story
from wa_relay.ledger.engine import Queries
from wa_relay.reports import call_list
from wa_relay.reports.call_list import CallRow
from wa_relay.reports.spans import Span


def rows(db: Queries, *, since: float | None = None, until: float | None = None, **more: Any) -> list[CallRow]:
    return list(call_list.list_calls(db, span=Span(since, until), **more))


def test_a_call_that_was_answered_has_all_that_became_of_it(story: Story, db: Queries) -> None:
    story.call("conv_1", client_name="Ana", batch_id="b1", batch_name="Octubre", group_id="5", group_name="Norte")
    ((_, sid),) = story.send()
    story.receipt(sid, "read")
    story.now += 60.0
    story.write("¿Precio?")
    (row,) = rows(db)
    assert row.to_json() == {
        "elevenlabs_conversation_id": "conv_1",
        "phone_number": ANA,
        "client_name": "Ana",
        "batch_id": "b1",
        "batch_name": "Octubre",
        "group_id": "5",
        "group_name": "Norte",
        "outcome": "completed",
        "ended_at": "2026-11-18T11:06:40Z",
        "opening_status": "read",
        "opening_reason": None,
        "error_code": None,
        "replied_at": "2026-11-18T11:07:40Z",
        "messages": 2,
        "opted_out": False,
        "handler": "agent",
    }


def test_a_call_without_an_opening_has_the_reason(story: Story, db: Queries) -> None:
    story.call("conv_1", outcome="voicemail")
    (row,) = rows(db)
    assert (row.opening_status, row.opening_reason, row.replied_at) == ("skipped", "outcome_not_followed", None)


def test_a_failed_opening_has_its_code_and_an_opted_out_customer_is_marked(story: Story, db: Queries) -> None:
    story.call("conv_1")
    ((_, sid),) = story.send()
    story.receipt(sid, "undelivered", "63024")
    story.write("baja")
    (row,) = rows(db)
    assert (row.opening_status, row.opening_reason, row.error_code) == ("failed", "undelivered", "63024")
    assert row.opted_out


def test_an_answer_belongs_to_the_latest_opening_before_it(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    story.now += 60.0
    story.call("conv_2")
    story.send()
    story.now += 60.0
    story.write("¿Precio?")
    assert [(row.elevenlabs_conversation_id, row.replied_at) for row in rows(db)] == [
        ("conv_1", None),
        ("conv_2", story.now),
    ]


def test_a_span_and_a_batch_choose_the_calls(story: Story, db: Queries) -> None:
    story.call("conv_1", batch_id="b1")
    story.call("conv_2", LUIS, batch_id="b2", ended_at=NOW - 7200.0)
    story.call("conv_3", EVA, batch_id="b1", ended_at=NOW - 7200.0)
    chosen = {
        "all": rows(db),
        "since": rows(db, since=NOW - 60.0),
        "until": rows(db, until=NOW),
        "batch": rows(db, batch="b1"),
        "both": rows(db, batch="b1", until=NOW),
        "none": rows(db, batch="b3"),
    }
    keys = {name: [row.elevenlabs_conversation_id[-1] for row in found] for name, found in chosen.items()}
    assert keys == {
        "all": ["2", "3", "1"],
        "since": ["1"],
        "until": ["2", "3"],
        "batch": ["3", "1"],
        "both": ["3"],
        "none": [],
    }


def test_a_spreadsheet_takes_no_text_for_a_formula(story: Story, db: Queries) -> None:
    story.call("conv_1", client_name='=HYPERLINK("http://x")\nx')
    header, row = csv.reader(io.StringIO("".join(call_list.calls_csv(rows(db)))))
    shown = dict(zip(header, row, strict=True))
    assert shown["client_name"] == """'=HYPERLINK("http://x") x"""
    assert shown["phone_number"] == f"'{ANA}"
    assert (shown["opted_out"], shown["batch_id"]) == ("false", "")
