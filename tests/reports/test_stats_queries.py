"""The report: what counts, when it counts, and in which group."""

from __future__ import annotations

from typing import Any

import pytest

from tests.story import ANA, BOGOTA, EVA, LUIS, NOW, Story
from wa_relay.ledger import claims, operator_decisions
from wa_relay.ledger.engine import Queries
from wa_relay.model import Attachment, SendRefused, Unclear
from wa_relay.reports import conversation, spans, stats_queries
from wa_relay.reports.ranks import median, percentile
from wa_relay.reports.spans import Span
from wa_relay.reports.stats_queries import Grouping

EVERYTHING = Span()


def figures(db: Queries, span: Span = EVERYTHING, by: Grouping | None = None) -> dict[str, Any]:
    """The report as programs get it."""
    return stats_queries.stats(db, span=span, by=by, timezone=BOGOTA).to_json()


def groups(db: Queries, by: Grouping, span: Span = EVERYTHING) -> dict[str | None, dict[str, Any]]:
    """The groups of a report by their key, in its order."""
    return {group["key"]: group for group in figures(db, span, by)["groups"]}


def test_a_new_database_counts_nothing_and_divides_by_nothing(db: Queries) -> None:
    assert figures(db) == {
        "since": None,
        "until": None,
        "calls": 0,
        "skipped": {},
        "openings": {"queued": 0, "sent": 0, "delivered": 0, "read": 0, "failed": 0, "uncertain": 0, "cancelled": 0},
        "replied": 0,
        "reply_rate": None,
        "median_first_reply_seconds": None,
        "messages": {"inbound": 0, "outbound": 0},
        "turns": {"answered": 0, "failed": 0, "median_seconds": None, "p95_seconds": None},
        "opted_out": 0,
        "failures": [],
        "losses": [],
        "steps": {"median_seconds": {"sent": None, "delivered": None, "read": None}},
        "costs": {"turns": 0, "parts": 0, "templates": {}},
        "templates": [],
        "groups": [],
    }


def test_each_opening_counts_for_all_that_it_reached_and_all_of_them_add_up(story: Story, db: Queries) -> None:
    for number, status in enumerate(["", "delivered", "read", "failed"]):
        story.call(f"conv_{number}", f"+5730000000{number:02}")
        ((_, sid),) = story.send()
        if status:
            story.receipt(sid, status, "63024" if status == "failed" else None)
    story.call("conv_unclear", "+573000000091")
    story.send(Unclear("read timeout"))
    story.call("conv_refused", "+573000000092")
    story.send(SendRefused("21211", "no phone", "customer"))
    story.call("conv_waiting", "+573000000093")
    story.call("conv_mailbox", "+573000000094", outcome="voicemail")
    report = figures(db)
    assert report["calls"] == 8
    assert report["skipped"] == {"outcome_not_followed": 1}
    assert report["openings"] == {
        "queued": 1,
        "sent": 3,
        "delivered": 2,
        "read": 1,
        "failed": 2,
        "uncertain": 1,
        "cancelled": 0,
    }
    # What Twilio took and WhatsApp did not deliver was an outbound message all the same.
    assert report["messages"]["outbound"] == 4
    assert [(failure["code"], failure["count"]) for failure in report["failures"]] == [("21211", 1), ("63024", 1)]
    assert "WhatsApp" in report["failures"][1]["meaning"]


def test_a_message_that_is_on_the_wire_is_still_queued(story: Story, db: Queries) -> None:

    story.call("conv_1")
    assert len(claims.claim_messages(story.ledger, 1, story.now).jobs) == 1
    assert figures(db)["openings"]["queued"] == 1


def test_a_reply_answers_the_latest_opening_that_had_got_away(story: Story, db: Queries) -> None:
    story.call("conv_1", batch_name="uno")
    story.send()  # accepted 0.5 s later
    story.now += 100.5
    story.write("Hola")
    story.now += 1000.0
    story.write("¿Sigues ahí?")
    story.call("conv_2", batch_name="dos")
    story.now += 10.0
    story.write("Antes de la segunda apertura")
    story.send()
    story.now += 30.5
    story.write("Después de ella")
    story.call("conv_3", LUIS, batch_name="dos")
    story.send()
    report = figures(db)
    assert (report["replied"], report["openings"]["sent"], report["reply_rate"]) == (2, 3, 0.6667)
    assert report["median_first_reply_seconds"] == 65.0  # the mean of 100 and 30
    by_batch = groups(db, "batch")
    assert (by_batch["uno"]["replied"], by_batch["uno"]["median_first_reply_seconds"]) == (1, 100.0)
    assert (by_batch["dos"]["replied"], by_batch["dos"]["median_first_reply_seconds"]) == (1, 30.0)
    assert by_batch["dos"]["reply_rate"] == 0.5


def test_one_message_does_not_answer_two_openings(story: Story, db: Queries) -> None:
    story.call("conv_1", batch_name="uno")
    story.send()
    story.now += 100.0
    story.call("conv_2", batch_name="dos")
    story.send()
    story.now += 100.0
    story.write("Sí")
    by_batch = groups(db, "batch")
    assert (by_batch["uno"]["replied"], by_batch["dos"]["replied"]) == (0, 1)


def test_an_opening_that_was_not_delivered_was_not_answered(story: Story, db: Queries) -> None:
    story.call("conv_1")
    ((_, sid),) = story.send()
    story.now += 5.0
    story.receipt(sid, "failed", "63024")
    story.write("Hola, ¿quién es?")
    report = figures(db)
    assert (report["replied"], report["reply_rate"], report["messages"]["inbound"]) == (0, None, 1)


def test_a_message_that_a_listing_brought_late_counts_when_the_customer_wrote_it(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    story.now += 7200.0
    story.write("Sí", written_at=NOW + 60.0)
    report = figures(db, Span(NOW, NOW + 3600.0))
    assert report["messages"]["inbound"] == 1
    assert report["median_first_reply_seconds"] == pytest.approx(60.0, abs=1.0)
    assert figures(db, Span(NOW + 3600.0, None))["messages"]["inbound"] == 0


def test_calls_count_by_their_end_and_what_follows_them_counts_with_them(story: Story, db: Queries) -> None:
    story.call("conv_1", ended_at=NOW)
    story.now += 86400.0
    story.send()
    story.write("Sí")
    assert figures(db, Span(NOW, NOW + 1.0))["openings"]["sent"] == 1
    assert figures(db, Span(NOW, NOW + 1.0))["messages"] == {"inbound": 0, "outbound": 0}
    later = figures(db, Span(NOW + 1.0, None))
    assert (later["calls"], later["openings"]["sent"]) == (0, 0)
    assert later["messages"] == {"inbound": 1, "outbound": 1}
    assert figures(db, Span(None, NOW))["calls"] == 0


def test_a_call_whose_end_is_unknown_counts_only_without_a_span(story: Story, db: Queries) -> None:
    story.call("conv_1", ended_at=None)
    assert figures(db)["calls"] == 1
    assert figures(db, Span(0.0, None))["calls"] == 0
    assert figures(db, Span(None, 9e9))["calls"] == 0
    assert groups(db, "day")[None]["calls"] == 1


def test_a_turn_lasts_from_the_customers_last_message_to_twilios_acceptance(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    for seconds in (3.0, 5.0, 9.0, 4.0):
        story.now += 100.0
        story.write("Hola")
        story.answer("Primera parte", "segunda parte", after=seconds)
        story.send()
        story.now += 20.0
        story.send()
    turns = figures(db)["turns"]
    assert turns == {"answered": 4, "failed": 0, "median_seconds": 5.0, "p95_seconds": 9.5}


def test_a_turn_that_failed_counts_as_such_and_lasts_nothing(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    story.write("Hola")
    story.answer()
    story.send()
    assert figures(db)["turns"] == {"answered": 0, "failed": 1, "median_seconds": None, "p95_seconds": None}


def test_an_answer_that_waits_to_be_sent_is_answered_and_has_no_length(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    story.write("Hola")
    story.answer("Claro")
    assert figures(db)["turns"] == {"answered": 1, "failed": 0, "median_seconds": None, "p95_seconds": None}


def test_failures_without_a_code_are_shown_by_their_reason(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send(Unclear("read timeout"))
    operator_decisions.resolve(story.ledger, 1, "cancel", None, "ana", story.now)
    (failure,) = figures(db)["failures"]
    assert (failure["code"], failure["count"]) == ("cancelled", 1)
    assert "opt-out" in failure["meaning"]


def test_days_are_those_of_the_timezone(story: Story, db: Queries) -> None:
    midnight = spans.span("2026-11-19", None, BOGOTA, NOW).since
    assert midnight is not None
    story.now = midnight - 1.0
    story.call("conv_1", ended_at=midnight - 1.0)
    story.send()  # accepted half a second before midnight
    story.now = midnight
    story.write("Sí")
    by_day = groups(db, "day")
    assert list(by_day) == ["2026-11-18", "2026-11-19"]
    assert (by_day["2026-11-18"]["calls"], by_day["2026-11-18"]["replied"]) == (1, 1)
    assert by_day["2026-11-18"]["messages"] == {"inbound": 0, "outbound": 1}
    assert by_day["2026-11-19"]["messages"] == {"inbound": 1, "outbound": 0}


def test_a_message_belongs_to_its_conversations_latest_call_before_it(story: Story, db: Queries) -> None:
    story.call("conv_1", batch_id="b1", batch_name="Uno", agent_name="Sofía", group_id="5", group_name="Octubre")
    story.send()
    story.now += 10.0
    story.write("Para la primera")
    story.now += 10.0
    story.call("conv_2", batch_id="b2", agent_id="agent_2")
    story.send()
    story.now += 10.0
    story.write("baja")
    story.call("conv_3", EVA, batch_id="b1", batch_name="Uno", outcome="failed")
    by_batch = groups(db, "batch")
    assert list(by_batch) == ["Uno", "b2"]
    assert (by_batch["Uno"]["calls"], by_batch["b2"]["calls"]) == (2, 1)
    assert by_batch["Uno"]["messages"] == {"inbound": 1, "outbound": 1}
    assert by_batch["b2"]["messages"] == {"inbound": 1, "outbound": 1}
    assert (by_batch["Uno"]["opted_out"], by_batch["b2"]["opted_out"]) == (0, 1)
    assert list(groups(db, "agent")) == ["Sofía", "agent_2"]
    assert list(groups(db, "group")) == ["Octubre", None]


def test_one_batch_is_one_group_though_a_report_of_it_lacks_the_name(story: Story, db: Queries) -> None:
    story.call("conv_1", ANA, batch_id="b1")
    story.call("conv_2", LUIS, batch_id="b1", batch_name="Octubre")
    assert [(key, group["calls"]) for key, group in groups(db, "batch").items()] == [("Octubre", 2)]


def test_two_batches_of_one_name_stay_two(story: Story, db: Queries) -> None:
    story.call("conv_1", ANA, batch_id="b1", batch_name="Octubre")
    story.call("conv_2", LUIS, batch_id="b2", batch_name="Octubre")
    assert list(groups(db, "batch")) == ["Octubre (b1)", "Octubre (b2)"]


@pytest.mark.parametrize("by", ["day", "batch", "group", "agent"])
def test_the_groups_add_up_to_the_whole(story: Story, db: Queries, by: Grouping) -> None:
    for number in range(12):
        story.now += 9000.0
        phone = (ANA, LUIS, EVA)[number % 3]
        story.call(
            f"conv_{number}", phone, batch_id=f"b{number % 2}", outcome=("completed", "voicemail")[number % 5 == 4]
        )
        story.send(SendRefused("63016", "no", "message") if number % 4 == 3 else None)
        story.write("Hola", phone)
        story.answer("Claro") if number % 3 else story.answer()
        story.send()
    report = figures(db, by=by)
    for figure in ("calls", "replied", "opted_out"):
        assert report[figure] == sum(group[figure] for group in report["groups"])
    for figure in ("openings", "messages"):
        for name, count in report[figure].items():
            assert count == sum(group[figure][name] for group in report["groups"]), (figure, name)
    assert report["turns"]["answered"] == sum(group["turns"]["answered"] for group in report["groups"])
    assert sum(failure["count"] for failure in report["failures"]) == sum(
        failure["count"] for group in report["groups"] for failure in group["failures"]
    )
    openings = report["openings"]
    assert openings["sent"] >= openings["delivered"] >= openings["read"]


def test_statistics_and_history_agree_on_the_messages(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.send()
    story.write("Hola")
    story.answer("Claro")
    story.send()
    thread = conversation.conversation(db, phone=ANA, limit=100)
    assert thread is not None
    sent = [message for message in thread.messages if message.direction == "outbound" and message.sent_at]
    assert figures(db)["messages"] == {"inbound": len(thread.messages) - len(sent), "outbound": len(sent)}


def test_the_median_is_the_mean_of_the_middle_two_and_a_percentile_the_nearest_rank() -> None:
    assert median([]) is None
    assert median([1.0, 2.0, 9.0]) == 2.0
    assert median([1.0, 2.0, 4.0, 9.0]) == 3.0
    assert percentile([], 0.95) is None
    assert percentile([float(number) for number in range(1, 101)], 0.95) == 95.0
    assert percentile([7.0], 0.95) == 7.0


def test_an_automatic_answer_is_not_a_turn_of_the_agent(story: Story, db: Queries) -> None:
    story.call("conv_1")
    story.write("", attachment=Attachment("audio"))
    story.answer("nobody is asked")
    story.send()
    assert figures(db)["turns"] == {"answered": 0, "failed": 0, "median_seconds": None, "p95_seconds": None}
    assert figures(db)["messages"] == {"inbound": 1, "outbound": 1}


def test_an_opening_that_an_opt_out_ended_is_cancelled_and_not_failed(story: Story, db: Queries) -> None:
    story.write("hola")
    story.call("conv_1")
    story.write("baja")
    openings = figures(db)["openings"]
    assert (openings["cancelled"], openings["failed"], openings["queued"]) == (1, 0, 0)
