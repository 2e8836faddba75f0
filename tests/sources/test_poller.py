"""Poll rounds against a scripted service: what is recorded, what is requested, and what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.sources.scripted import START, Answer, Scripted, batch, conversation, json_answer, recipient, run, service
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.model import BatchHint, Call, UpstreamError
from wa_relay.sources.batch_outcomes import Rejection
from wa_relay.sources.poll_memory import PollMemory
from wa_relay.sources.poller import PollReport, poll, resolve_hints

NOW = START + 300.0
DAY = 86_400.0
WORKSPACE = "/v1/convai/batch-calling/workspace"


@dataclass
class Book:
    """A call book in memory."""

    calls: dict[str, Call] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    records: list[int] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    memory: PollMemory = field(default_factory=lambda: PollMemory(DAY))

    async def settled_batches(self) -> Mapping[str, str]:
        return dict(self.settled)

    async def settle_batch(self, batch_id: str, mark: str) -> None:
        self.settled[batch_id] = mark

    async def unknown(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if key not in self.calls}

    def reject(self, rejection: Rejection) -> None:
        self.rejected.append(rejection)

    async def record_polled(self, calls: Sequence[Call]) -> None:
        self.records.append(len(calls))
        for call in calls:
            assert call.key not in self.calls, "recorded twice"
            self.calls[call.key] = call


def scripted(*batches: dict[str, Any], **more: Any) -> Scripted:
    """A service with these batches and an ordinary conversation for each recipient that has one."""
    named = [r["conversation_id"] for b in batches for r in b["recipients"] if r["conversation_id"]]
    known = {name: conversation(int(name.rpartition("_")[2])) for name in named}
    return Scripted(batches={b["id"]: b for b in batches}, conversations=known, **more)


async def one_round(
    api: ElevenLabs, book: Book, *, agent_ids: Sequence[str] = (), now: float = NOW, budget: int = 500
) -> PollReport:
    return await poll(api, book, book.memory, agent_ids=agent_ids, now=now, budget=budget)


def polled(script: Scripted, book: Book | None = None, **more: Any) -> tuple[Book, PollReport]:
    """One round over a script."""

    async def scenario() -> tuple[Book, PollReport]:
        async with service(script) as api:
            kept = book or Book()
            return kept, await one_round(api, kept, **more)

    return run(scenario())


def test_a_finished_recipient_becomes_a_call_with_its_conversation() -> None:
    book, report = polled(scripted(batch(recipient(1))))
    assert book.calls["conv_1"] == Call(
        key="conv_1",
        phone="+573138500001",
        agent_id="agent_1",
        outcome="completed",
        source="poll",
        ended_at=START + 114,
        agent_name="Recepción",
        batch_id="btcal_1",
        batch_name="Campaña Octubre",
        recipient_id="rcpt_1",
        variables={"customer_name": "Ana 1", "plan": "Oro"},
        summary="Le interesa el plan.",
        transcript="Agente: Hola Ana, te llamo de Acme.\nCliente: Sí",
        seconds=54.0,
        collected={},
    )
    assert (report.batches, report.fetched, report.calls, report.incomplete) == (1, 1, 1, False)


def test_a_settled_batch_costs_nothing_until_it_changes() -> None:
    script, book = scripted(batch(recipient(1))), Book()

    async def scenario() -> None:
        async with service(script) as api:
            await one_round(api, book)
            script.asked.clear()
            await one_round(api, book)
            assert script.asked == [WORKSPACE]
            script.batches["btcal_1"] |= {"retry_count": 1, "recipients": [recipient(1, conversation="conv_2")]}
            script.conversations["conv_2"] = conversation(2)
            await one_round(api, book)
        assert set(book.calls) == {"conv_1", "conv_2"}

    run(scenario())


def test_a_batch_moves_through_time_and_each_call_is_recorded_as_it_ends() -> None:
    rows = [recipient(1, "in_progress"), recipient(2, "pending", None), recipient(3, "brand_new")]
    script, book = scripted(batch(*rows, status="in_progress")), Book()

    async def scenario() -> None:
        async with service(script) as api:
            await one_round(api, book)
            assert not book.calls
            rows[0]["status"] = "voicemail"
            await one_round(api, book)
            assert {key: call.outcome for key, call in book.calls.items()} == {"conv_1": "voicemail"}
            assert not book.settled
            rows[1].update(status="completed", conversation_id="conv_2")
            rows[2]["status"] = "failed"
            script.conversations["conv_2"] = conversation(2)
            script.batches["btcal_1"]["status"] = "completed"
            script.asked.clear()
            await one_round(api, book)
            assert sorted(script.of("/conversations/")) == [
                "/v1/convai/conversations/conv_2",
                "/v1/convai/conversations/conv_3",
            ]
            assert book.settled.keys() == {"btcal_1"}

    run(scenario())


def test_a_failed_call_without_a_conversation_ended_when_it_changed() -> None:
    rows = [
        recipient(1, "failed", None),
        recipient(2, "failed", None, updated_at_unix=START),
        recipient(3, "cancelled", None),
    ]
    book, _ = polled(scripted(batch(*rows)))
    assert {key: call.ended_at for key, call in book.calls.items()} == {
        "btcal_1/rcpt_1": START + 120,
        "btcal_1/rcpt_2": None,
    }
    assert book.settled


def test_a_call_that_never_came_about_needs_no_telephony_details() -> None:
    script = scripted(batch(recipient(1, "failed")))
    script.conversations["conv_1"] = conversation(1, "failed", phone_call=None, call_duration_secs=0)
    book, _ = polled(script)
    assert (book.calls["conv_1"].outcome, book.calls["conv_1"].ended_at) == ("failed", START + 60)


@pytest.mark.parametrize("status", ["initiated", "in-progress", "brand-new"])
def test_a_call_whose_end_is_not_shown_yet_is_asked_for_again(status: str) -> None:
    script, book = scripted(batch(recipient(1))), Book()
    script.conversations["conv_1"]["status"] = status

    async def scenario() -> None:
        async with service(script) as api:
            report = await one_round(api, book)
            assert (book.calls, book.settled, report.incomplete) == ({}, {}, False)
            script.conversations["conv_1"] = conversation(1, "processing")
            await one_round(api, book)
            assert (book.calls["conv_1"].ended_at, book.calls["conv_1"].summary) == (START + 114, None)
            assert book.settled

    run(scenario())


def test_a_call_that_never_shows_its_end_is_given_up_after_a_day() -> None:
    script = scripted(batch(recipient(1)))
    script.conversations["conv_1"]["status"] = "in-progress"
    book, _ = polled(script, now=NOW + 2 * DAY)
    assert book.calls["conv_1"].ended_at is None
    assert book.settled


def test_a_conversation_that_is_not_found_is_asked_for_again_for_ten_minutes() -> None:
    script, book = scripted(batch(recipient(1))), Book()
    shown = script.conversations.pop("conv_1")

    async def scenario() -> None:
        async with service(script) as api:
            for age in (0.0, 15.0, 300.0, 599.0):
                report = await one_round(api, book, now=NOW + age)
                assert (book.calls, book.settled, report.incomplete) == ({}, {}, False)
            script.conversations["conv_1"] = shown
            await one_round(api, book, now=NOW + 599.5)
            assert not book.calls, "it rests between two requests"
            await one_round(api, book, now=NOW + 600.0)
            assert book.calls["conv_1"].ended_at == START + 114
            assert book.settled

    run(scenario())


def test_a_conversation_that_does_not_appear_within_ten_minutes_has_no_known_end() -> None:
    script, book = scripted(batch(recipient(1))), Book()
    script.conversations.clear()

    async def scenario() -> None:
        async with service(script) as api:
            await one_round(api, book)
            await one_round(api, book, now=NOW + 600.0)

    run(scenario())
    assert book.calls["conv_1"].ended_at is None
    assert book.settled


def test_a_missing_conversation_is_asked_for_with_growing_pauses() -> None:
    script, book = scripted(batch(recipient(1))), Book()
    script.conversations.clear()

    async def scenario() -> None:
        async with service(script) as api:
            for age in range(0, 600, 15):
                await one_round(api, book, now=NOW + age)

    run(scenario())
    assert len(script.of("/conversations/")) == 9


def test_a_conversation_that_was_deleted_long_ago_is_not_waited_for() -> None:
    script = scripted(batch(recipient(1)))
    script.conversations.clear()
    book, report = polled(script, now=NOW + 2 * DAY)
    assert (book.calls["conv_1"].ended_at, report.incomplete) == (None, False)
    assert book.settled


@pytest.mark.parametrize(
    "metadata", [{"text_only": True}, {"phone_call": {"direction": "inbound", "external_number": "+573138539155"}}]
)
def test_only_outbound_phone_calls_are_recorded(metadata: dict[str, Any]) -> None:
    script = scripted(batch(recipient(1)))
    script.conversations["conv_1"] = conversation(1, **metadata)
    book, _ = polled(script)
    assert not book.calls
    assert [one.reason for one in book.rejected] == ["not_a_phone_call"]
    assert book.settled


def test_whatsapp_batches_and_batches_that_dialled_nobody_are_not_read() -> None:
    script = scripted(
        batch(recipient(1), name="wa", whatsapp_params={"whatsapp_phone_number_id": "x"}),
        batch(
            recipient(2, "pending", None),
            name="later",
            status="pending",
            total_calls_dispatched=0,
            total_calls_finished=0,
        ),
    )
    book, report = polled(script)
    assert (script.asked, book.calls, report.batches) == ([WORKSPACE], {}, 2)


def test_a_recipient_whose_number_lacks_its_plus_is_a_call() -> None:
    rows = [recipient(1, "failed", None, phone_number="573001112233"), recipient(2, phone_number="573001112244")]
    book, _ = polled(scripted(batch(*rows)))
    assert [call.phone for call in book.calls.values()] == ["+573001112233", "+573001112244"]


def test_a_recipient_whose_number_is_unusable_is_called_by_the_number_of_its_conversation() -> None:
    rows = [recipient(2, phone_number=None), recipient(3, phone_number="57 300")]
    book, _ = polled(scripted(batch(*rows)))
    assert [call.phone for call in book.calls.values()] == ["+573138500002", "+573138500003"]


def test_a_number_that_can_not_be_used_is_reported_once_and_not_in_every_round() -> None:
    rows = [recipient(1, "failed", None, phone_number="3001112233"), recipient(2, phone_number=None)]
    script, book = scripted(batch(*rows, status="in_progress")), Book()
    script.conversations["conv_2"] = conversation(2, phone_call=None)

    async def scenario() -> None:
        async with service(script) as api:
            for _ in range(3):
                await one_round(api, book)

    run(scenario())
    assert not book.calls
    assert book.rejected == [
        Rejection("number_unusable", "btcal_1/rcpt_1", "btcal_1", "rcpt_1", "3001112233"),
        Rejection("number_unusable", "conv_2", "btcal_1", "rcpt_2", None),
    ]
    assert len(script.of("/conversations/")) == 1


def test_entries_that_can_not_be_read_are_reported_once_with_their_batch() -> None:
    script, book = scripted(batch(recipient(1, "in_progress"), status="in_progress")), Book()
    script.batches["btcal_1"]["recipients"] += [{"id": None}, 7]

    async def scenario() -> None:
        async with service(script) as api:
            for _ in range(3):
                await one_round(api, book)

    run(scenario())
    assert book.rejected == [Rejection("unreadable_entries", batch_id="btcal_1", count=2)]


def test_recipients_that_never_show_how_their_call_ended_are_reported_when_their_batch_is_settled() -> None:
    rows = [recipient(1, "in_progress", None), recipient(2, "completed", None), recipient(3, "cancelled", None)]
    book, _ = polled(scripted(batch(*rows)), now=NOW + 2 * DAY)
    assert book.settled
    assert book.rejected == [Rejection("never_ended", None, "btcal_1", "rcpt_1", count=2)]


def test_a_listed_batch_that_does_not_exist_is_reported_once() -> None:
    script, book = scripted(batch(recipient(1))), Book()
    script.answers["/v1/convai/batch-calling/btcal_1"] = json_answer({}, 404)

    async def scenario() -> None:
        async with service(script) as api:
            for _ in range(3):
                await one_round(api, book)

    run(scenario())
    assert book.rejected == [Rejection("batch_not_found", batch_id="btcal_1")]


@pytest.mark.parametrize(
    ("status", "settles"), [("completed", False), ("failed", True), ("cancelled", True), ("in_progress", False)]
)
def test_recipients_still_pending_keep_a_batch_open_unless_it_was_ended(status: str, settles: bool) -> None:
    rows = [recipient(1), recipient(2, "pending", None)]
    book, _ = polled(scripted(batch(*rows, status=status)))
    assert ("btcal_1" in book.settled) is settles


def test_a_batch_that_stopped_moving_is_settled_after_a_day() -> None:
    rows = [recipient(1), recipient(2, "in_progress", None), recipient(3, "completed", None)]
    script = scripted(batch(*rows))
    assert not polled(script)[0].settled
    assert polled(script, now=NOW + 2 * DAY)[0].settled


def test_an_unknown_batch_status_is_settled_like_a_final_one() -> None:
    assert polled(scripted(batch(recipient(1), status="archived")))[0].settled


def test_only_the_agents_that_were_named_are_polled_and_no_batch_twice() -> None:
    script = scripted(
        batch(recipient(1)),
        batch(recipient(2), name="b2", agent_id="agent_2"),
        batch(recipient(3), name="b3", agent_id="x"),
    )
    book, report = polled(script, agent_ids=("agent_1", "agent_2", "agent_1"))
    assert set(book.calls) == {"conv_1", "conv_2"}
    assert (report.batches, report.fetched) == (2, 2)


def test_running_batches_come_first_then_the_latest_changed() -> None:
    script = scripted(
        batch(recipient(1), name="old", last_updated_at_unix=START + 1),
        batch(recipient(2), name="new", last_updated_at_unix=START + 9),
        batch(recipient(3), name="running", status="in_progress", last_updated_at_unix=START),
    )
    polled(script)
    assert [path.rpartition("/")[2] for path in script.of("batch-calling/") if path != WORKSPACE] == [
        "running",
        "new",
        "old",
    ]


def test_a_round_has_a_budget_and_says_that_more_is_left() -> None:
    script, book = scripted(batch(*(recipient(n) for n in range(100)))), Book()

    async def scenario() -> None:
        async with service(script) as api:
            first = await one_round(api, book, budget=40)
            assert (first.more, len(book.calls), book.settled) == (True, 64, {})
            second = await one_round(api, book, budget=40)
            assert (second.more, len(book.calls)) == (False, 100)
            assert book.settled
        assert max(book.records) <= 32

    run(scenario())


def test_conversations_that_are_not_calls_use_up_the_budget_once_and_hide_no_call() -> None:
    script = scripted(
        batch(*(recipient(n) for n in range(100)), name="chats"),
        batch(recipient(200), name="older", last_updated_at_unix=START),
    )
    for number in range(100):
        script.conversations[f"conv_{number}"] = conversation(number, text_only=True)
    book = Book()

    async def scenario() -> None:
        async with service(script) as api:
            for _ in range(6):
                await one_round(api, book, budget=40)

    run(scenario())
    assert set(book.calls) == {"conv_200"}
    assert set(book.settled) == {"chats", "older"}


def test_the_newest_calls_of_a_batch_come_first() -> None:
    rows = [recipient(n, updated_at_unix=START + n) for n in range(100)]
    book, _ = polled(scripted(batch(*rows)), budget=1)
    assert set(book.calls) == {f"conv_{n}" for n in range(68, 100)}


def test_one_bad_batch_does_not_stop_the_others() -> None:
    script = scripted(batch(recipient(1), name="bad"), batch(recipient(2), name="good", last_updated_at_unix=START))
    script.answers["/v1/convai/batch-calling/bad"] = json_answer({}, 500)
    book, report = polled(script)
    assert set(book.calls) == {"conv_2"}
    assert report.trouble is not None
    assert (report.trouble.status, report.failure, report.incomplete) == (500, None, True)


@pytest.mark.parametrize(
    "answer", [json_answer({}, 500), json_answer({}, 422), Answer(b"<html>"), json_answer({"conversation_id": 7})]
)
def test_one_bad_conversation_does_not_stop_the_others_and_is_asked_for_again(answer: Answer) -> None:
    script = scripted(batch(recipient(1), recipient(2)))
    script.answers["/v1/convai/conversations/conv_1"] = answer
    book, report = polled(script)
    assert (set(book.calls), report.failure, report.incomplete, book.settled) == ({"conv_2"}, None, True, {})


def test_a_conversation_that_can_never_be_read_is_given_up_after_a_day() -> None:
    script = scripted(batch(recipient(1)))
    script.answers["/v1/convai/conversations/conv_1"] = json_answer({}, 422)
    book, report = polled(script, now=NOW + 2 * DAY)
    assert (book.calls["conv_1"].ended_at, report.incomplete) == (None, False)
    assert book.settled


def test_one_unreadable_conversation_alone_does_not_stop_the_round() -> None:
    script = scripted(batch(recipient(1)))
    script.answers["/v1/convai/conversations/conv_1"] = Answer(b"<html>")
    _, report = polled(script)
    assert report.failure is None
    assert report.trouble is not None


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_refusal_of_the_account_ends_the_round_at_once(status: int) -> None:
    script = scripted(*(batch(recipient(n), name=f"b{n}") for n in range(5)))
    script.answers["/v1/convai/conversations/conv_0"] = json_answer({}, status, **{"Retry-After": "9"})
    _, report = polled(script)
    assert report.failure is not None
    assert (report.failure.status, report.failure.retry_after) == (status, 9.0)
    assert len(script.of("/conversations/")) == 1


def test_conversations_fetched_before_a_refusal_are_kept() -> None:
    script = scripted(batch(recipient(1), recipient(2)))
    script.answers["/v1/convai/conversations/conv_2"] = json_answer({}, 429)
    book, report = polled(script)
    assert set(book.calls) == {"conv_1"}
    assert report.failure is not None


def test_a_service_that_is_away_is_not_asked_for_every_batch() -> None:
    script = scripted(*(batch(recipient(n), name=f"b{n}") for n in range(9)))
    script.answers = {f"/v1/convai/batch-calling/b{n}": json_answer({}, 503) for n in range(9)}
    _, report = polled(script)
    assert report.failure is not None
    assert len(script.asked) == 4


@pytest.mark.parametrize("answer", [json_answer({}, 500), json_answer({}, 401), Answer(b"<html>"), json_answer({})])
def test_a_list_that_can_not_be_read_is_the_rounds_failure(answer: Answer) -> None:
    _, report = polled(Scripted(answers={WORKSPACE: answer}))
    assert report.failure is not None
    assert report.incomplete


def hint(outcome: str = "completed") -> BatchHint:
    call = Call(
        "conv_1",
        "+573138500001",
        "agent_1",
        outcome,
        "webhook",
        START + 114,
        batch_id="btcal_1",
        variables={"plan": "Oro"},
    )
    return BatchHint(call, "btcal_1", "rcpt_1", NOW)


def resolved(script: Scripted, asked: BatchHint, now: float = NOW) -> Call | None:
    async def scenario() -> Call | None:
        async with service(script) as api:
            (call,) = await resolve_hints(api, asked.batch_id, [asked], now)
            return call

    return run(scenario())


def test_a_hinted_call_takes_its_outcome_from_its_batch() -> None:
    call = resolved(scripted(batch(recipient(1, "voicemail"), recipient(2))), hint())
    assert call is not None
    assert (call.outcome, call.batch_name, call.ended_at) == ("voicemail", "Campaña Octubre", START + 114)
    assert call.variables == {"customer_name": "Ana 1", "plan": "Oro"}


def test_a_hinted_call_waits_while_its_recipient_is_not_final() -> None:
    running = scripted(batch(recipient(1, "in_progress")))
    assert resolved(running, hint(), NOW + 119.0) is None
    assert resolved(running, hint(), NOW + 120.0) == hint().call


def test_a_hint_without_a_recipient_is_found_by_its_conversation() -> None:
    call = resolved(scripted(batch(recipient(2), recipient(1, "voicemail"))), replace(hint(), recipient_id=None))
    assert call is not None
    assert (call.outcome, call.recipient_id) == ("voicemail", "rcpt_1")


@pytest.mark.parametrize("rows", [[recipient(2)], [recipient(1, "in_progress", "conv_7")], None])
def test_the_webhooks_own_status_counts_where_the_batch_has_none(rows: list[dict[str, Any]] | None) -> None:
    """The recipient is gone, was dialled again since, or the whole batch is gone."""
    script = Scripted() if rows is None else Scripted(batches={"btcal_1": batch(*rows)})
    assert resolved(script, hint("failed")) == hint("failed").call


def test_a_batch_that_can_not_be_asked_is_an_error() -> None:
    with pytest.raises(UpstreamError):
        resolved(Scripted(answers={"/v1/convai/batch-calling/btcal_1": json_answer({}, 503)}), hint())
