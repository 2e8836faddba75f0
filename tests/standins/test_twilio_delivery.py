"""The delivery of messages: statuses, signed receipts, the window, and customers who can't be reached."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.standins.twilio_played import ANA, LUIS, listening, official, playing, run
from tests.stopwatch import Stopwatch
from wa_relay.standins.journal import Entry
from wa_relay.standins.twilio import Delays, Fate, Fault, Template, TwilioStandin
from wa_relay.standins.twilio.connection import Overrides, overrides_of

OPENING = Template("HX" + "a" * 32, "Hola {{1}}, hablamos hace poco.", {"1": "Ana"})


async def callback_of(standin: TwilioStandin, sid: str, status: str) -> Entry:
    """The callback that reported a status."""
    return await standin.journal.wait_for(
        lambda one: one.kind == "callback" and one.data["sid"] == sid and one.data["status"] == status
    )


def test_receipts_report_sent_delivered_and_read_with_a_signature_and_our_query() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.contact(ANA, user_id="CO.1A2b3C")
            made = await sdk.send(status_callback=f"{listener.url}status?m=7&x=a%20b#rc=2")
            await callback_of(standin, made.sid, "read")
            assert listener.statuses_reported == ["sent", "delivered", "read"]
            for one in listener.heard:
                assert one.url.endswith("/status?m=7&x=a%20b")
                assert one.signed_by(standin.settings.auth_token)
                assert not one.signed_by("other")
                assert one.form["MessageSid"] == one.form["SmsSid"] == made.sid
                assert one.form["ChannelToAddress"] == "+57300111XXXX"
                assert one.headers["Content-Type"] == "application/x-www-form-urlencoded; charset=utf-8"
                assert "Body" not in one.form
            assert [one.form.get("ExternalUserId") for one in listener.heard] == [None, *["whatsapp:CO.1A2b3C"] * 2]
            fetched = await sdk(lambda client: client.messages(made.sid).fetch())
            assert fetched.status == "read"
            assert fetched.date_sent is not None

    run(scenario())


def test_free_text_outside_the_window_is_accepted_and_then_undelivered() -> None:
    async def scenario() -> None:
        windowed = playing(enforce_window=True, templates=(OPENING,))
        async with windowed as standin, listening() as listener, official(standin) as sdk:
            made = await sdk.send(status_callback=listener.url)
            assert made.status == "queued"
            await callback_of(standin, made.sid, "undelivered")
            (heard,) = listener.heard
            assert heard.form["ErrorCode"] == "63016"
            assert heard.form["ErrorMessage"]
            fetched = await sdk(lambda client: client.messages(made.sid).fetch())
            assert (fetched.status, fetched.error_code) == ("undelivered", 63016)
            opening = await sdk.send("", content_sid=OPENING.sid, status_callback=listener.url)
            await callback_of(standin, opening.sid, "read")
            again = await sdk.send(status_callback=listener.url)
            await callback_of(standin, again.sid, "undelivered")

    run(scenario())


def test_the_customers_message_opens_the_window_for_24_hours() -> None:
    async def scenario() -> None:
        now = [1_790_000_000.0]
        windowed = playing(enforce_window=True, clock=lambda: now[0])
        async with windowed as standin, listening() as listener, official(standin) as sdk:
            await standin.customer_writes(ANA, "hola")
            for later, status in ((24 * 3600 - 1, "read"), (24 * 3600, "undelivered")):
                now[0] = 1_790_000_000.0 + later
                made = await sdk.send(status_callback=listener.url)
                await callback_of(standin, made.sid, status)
            standin.open_window(ANA)
            made = await sdk.send(status_callback=listener.url)
            await callback_of(standin, made.sid, "read")

    run(scenario())


@pytest.mark.parametrize(
    ("customer", "code"),
    [({"whatsapp": False}, "63024"), ({"blocked": True}, "63014"), ({"sandbox_expired": True}, "63015")],
)
def test_people_who_cannot_be_written_to_make_a_message_undelivered(customer: dict[str, bool], code: str) -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.contact(ANA, **customer)
            made = await sdk.send(status_callback=listener.url)
            await callback_of(standin, made.sid, "undelivered")
            assert listener.heard[0].form["ErrorCode"] == code

    run(scenario())


def test_a_phone_that_is_off_and_one_without_read_receipts_stop_early() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.contact(ANA, reachable=False)
            standin.contact(LUIS, reads=False)
            await sdk.send(status_callback=listener.url)
            await sdk.send(to=LUIS, status_callback=listener.url)
            probe = await sdk.send(to="+573009998877", status_callback=listener.url)
            await callback_of(standin, probe.sid, "read")  # by then a receipt for the others would have come
            others = [one.form for one in listener.heard if one.form["MessageSid"] != probe.sid]
            got = [(one["To"].removeprefix("whatsapp:"), one["MessageStatus"]) for one in others]
            assert sorted(got) == [(ANA, "sent"), (LUIS, "delivered"), (LUIS, "sent")]

    run(scenario())


def test_the_fate_of_the_next_message_can_be_settled() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.next_message(Fate(code="InvalidSandboxRequest", status="failed"), ANA)
            made = await sdk.send(status_callback=listener.url)
            await callback_of(standin, made.sid, "failed")
            assert listener.heard[0].form["ErrorCode"] == "InvalidSandboxRequest"
            made = await sdk.send(status_callback=listener.url)
            await callback_of(standin, made.sid, "read")

    run(scenario())


def test_without_delays_a_message_moves_only_by_hand_and_never_after_its_end() -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, listening() as listener, official(standin) as sdk:
            made = await sdk.send(status_callback=listener.url)
            assert standin.journal.entries("status") == []
            assert await standin.progress(made.sid, "undelivered", 63049)
            await callback_of(standin, made.sid, "undelivered")
            assert not await standin.progress(made.sid, "read")
            assert listener.heard[0].form["ErrorCode"] == "63049"

    run(scenario())


def test_one_person_takes_45_messages_at_once_and_then_one_in_six_seconds() -> None:
    async def scenario() -> None:
        now = [1_790_000_000.0]
        async with playing(clock=lambda: now[0]) as standin, official(standin) as sdk:
            standin.configure(pair_limit=True)

            async def becomes(status: str, to: str = ANA) -> None:
                sid = (await sdk.send(to=to)).sid
                await standin.journal.wait_for(lambda one: one.kind == "status" and one.data["sid"] == sid)
                (first, *_) = [one for one in standin.journal.entries("status") if one.data["sid"] == sid]
                assert (first.data["status"], first.data["code"]) == (status, 63018 if status != "sent" else None)

            for _ in range(45):
                await becomes("sent")
            await becomes("undelivered")
            await becomes("sent", LUIS)
            now[0] += 6.1
            await becomes("sent")
            await becomes("undelivered")

    run(scenario())


def test_a_paused_template_fails_with_its_own_code() -> None:
    async def scenario() -> None:
        paused = Template(OPENING.sid, OPENING.body, approval="paused")
        async with playing(templates=(paused,)) as standin, listening() as listener, official(standin) as sdk:
            made = await sdk.send("", content_sid=paused.sid, status_callback=listener.url)
            await callback_of(standin, made.sid, "undelivered")
            assert listener.heard[0].form["ErrorCode"] == "63041"

    run(scenario())


@pytest.mark.parametrize(
    ("way", "wanted"),
    [
        ("reverse", ["read", "delivered", "sent"]),
        ("duplicate", ["sent", "sent", "delivered", "delivered", "read", "read"]),
        ("never", []),
        ("early", ["sent", "delivered", "read"]),
    ],
)
def test_receipts_come_reversed_twice_never_or_before_the_answer(way: str, wanted: list[str]) -> None:
    """F21."""

    async def scenario() -> None:
        delays = Delays(0.05, 0.05, 0.05)
        async with playing(delays=delays) as standin, listening() as listener, official(standin) as sdk:
            standin.faults.next("callback", Fault("F21", how=way))
            made = await sdk.send(status_callback=listener.url)
            before_the_answer = list(listener.statuses_reported)
            await standin.journal.wait_for(lambda one: one.kind == "status" and one.data["status"] == "read")
            probe = await sdk.send(status_callback=listener.url)  # by its last receipt all others have come
            await callback_of(standin, probe.sid, "read")
            assert [one.form["MessageStatus"] for one in listener.heard if one.form["MessageSid"] == made.sid] == wanted
            assert before_the_answer == (["sent"] if way == "early" else [])

    run(scenario())


def test_a_message_goes_on_when_the_service_goes_down_during_its_early_receipt() -> None:
    """F21: the request that made the message ends, and the rest of its way must not end with it."""

    async def scenario() -> None:
        delays = Delays(0.05, 0.05, 0.05)
        async with playing(delays=delays) as standin, listening(slow=0.3) as listener, official(standin) as sdk:
            standin.faults.next("callback", Fault("F21", how="early"))
            asking = asyncio.create_task(sdk.send(status_callback=listener.url))
            await standin.journal.wait_for(lambda one: one.kind == "status" and one.data["status"] == "sent")
            await standin.down()
            await asyncio.gather(asking, return_exceptions=True)
            await standin.journal.wait_for(lambda one: one.kind == "status" and one.data["status"] == "read")

    run(scenario())


@pytest.mark.parametrize(
    ("fragment", "wanted"),
    [
        ("", Overrides(5.0, 15.0, 15.0, 1, frozenset({"ct"}))),
        ("#rc=5&rp=all&ct=2000&rt=3000", Overrides(2.0, 3.0, 15.0, 5, frozenset({"ct", "rt", "4xx", "5xx"}))),
        ("#rc=9&ct=1&rt=99999&tt=500&rp=5xx,rt", Overrides(0.1, 15.0, 0.5, 5, frozenset({"5xx", "rt"}))),
        ("#rc=many&rp=never", Overrides(5.0, 15.0, 15.0, 1, frozenset())),
    ],
)
def test_connection_overrides_are_read_from_the_fragment_and_kept_in_their_ranges(
    fragment: str, wanted: Overrides
) -> None:
    assert overrides_of("https://relay.example.com/a?b=1" + fragment) == ("https://relay.example.com/a?b=1", wanted)


@pytest.mark.parametrize(("fragment", "tries"), [("", 1), ("#rp=5xx", 2), ("#rp=all&rc=5", 3), ("#rp=4xx&rc=5", 1)])
def test_a_5xx_is_repeated_only_where_the_address_asks_for_it(fragment: str, tries: int) -> None:
    async def scenario() -> None:
        async with playing(delays=None) as standin, listening() as listener:
            listener.statuses = [503, 503, 200, 200]
            standin.configure(webhook_url=listener.url + fragment)
            written = await standin.customer_writes(ANA, "hola")
            assert (written.tries, len(listener.heard)) == (tries, tries)
            assert written.status == (200 if tries == 3 else 503)
            tokens = {one.headers["I-Twilio-Idempotency-Token"] for one in listener.heard}
            assert len(tokens) == 1

    run(scenario())


def test_a_refused_connection_is_tried_once_more_and_then_given_up() -> None:
    async def scenario() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with playing(webhook_url=f"http://127.0.0.1:{closed.getsockname()[1]}/in") as standin:
                written = await standin.customer_writes(ANA, "hola")
                assert (written.status, written.tries) == (None, 2)
                assert written.error

    run(scenario())


def test_a_slow_webhook_is_given_up_after_its_read_timeout_and_all_retries_within_the_total() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening(slow=2.0) as listener:
            standin.configure(webhook_url=listener.url + "#rt=100&rp=rt&rc=1")
            watch = Stopwatch()
            written = await standin.customer_writes(ANA, "hola")
            assert (written.status, written.tries) == (None, 2)
            standin.configure(webhook_url=listener.url + "#rt=15000&rp=all&rc=5&tt=300")
            written = await standin.customer_writes(ANA, "hola")
            assert written.status is None
            assert watch.seconds < 2.0

    run(scenario())
