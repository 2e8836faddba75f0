"""Customers' messages at the stand-in: the signed form, the fallback, and replies by the answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.standins.twilio_played import ANA, listening, official, playing, run
from wa_relay.standins.twilio import SANDBOX, Fault
from wa_relay.standins.twilio.customers import reply_texts

TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response>{}</Response>'


def test_a_text_is_posted_signed_with_the_fields_that_were_captured() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener:
            standin.configure(webhook_url=f"{listener.url}incoming#rc=5&rp=all")
            standin.contact(ANA, name="Ana Prueba", user_id="ES.1000000000000001")
            written = await standin.customer_writes(ANA, "Hola ñ 👍 ")
            (heard,) = listener.heard
            assert (written.status, written.tries, written.form) == (204, 1, heard.form)
            assert heard.url.endswith("/incoming")
            assert heard.signed_by(standin.settings.auth_token)
            assert sorted(heard.form) == [
                *("AccountSid", "ApiVersion", "Body", "ChannelMetadata", "ExternalUserId", "From", "MessageSid"),
                *("MessageType", "NumMedia", "NumSegments", "ProfileName", "ReferralNumMedia", "SmsMessageSid"),
                *("SmsSid", "SmsStatus", "To", "WaId"),
            ]
            assert heard.form["Body"] == "Hola ñ 👍 "
            assert (heard.form["From"], heard.form["To"]) == (f"whatsapp:{ANA}", SANDBOX)
            metadata = json.loads(heard.form["ChannelMetadata"])
            assert metadata["data"]["context"] == {"ProfileName": "Ana Prueba", "WaId": ANA[1:]}
            assert heard.headers["User-Agent"] == "TwilioProxy/1.1"

    run(scenario())


def test_a_photo_a_button_a_place_and_a_hidden_number_have_their_own_fields() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.configure(webhook_url=listener.url)
            made = await sdk.send()
            photo = (await standin.customer_writes(ANA, "", media="image/jpeg")).form
            assert (photo["Body"], photo["NumMedia"], photo["MessageType"]) == ("", "1", "image")
            assert photo["MessageSid"].startswith("MM")
            assert photo["MediaUrl0"].startswith(standin.url)
            button = (await standin.customer_writes(ANA, "", button="Sí, me interesa")).form
            assert (button["Body"], button["ButtonText"]) == ("Sí, me interesa", "Sí, me interesa")
            assert button["MessageType"] == "interactive"
            assert button["OriginalRepliedMessageSid"] == made.sid
            place = (await standin.customer_writes(ANA, "", location=(4.6, -74.08))).form
            assert (place["Latitude"], place["Longitude"], place["MessageType"]) == ("4.6", "-74.08", "location")
            voice = (await standin.customer_writes(ANA, "", media="audio/ogg")).form
            assert voice["MessageType"] == "audio"
            hidden = (await standin.customer_writes("CO.1A2b", "hola", fields={"Forwarded": "true"})).form
            assert (hidden["From"], hidden["Forwarded"], "WaId" in hidden) == ("whatsapp:CO.1A2b", "true", False)
            assert hidden["ExternalUserId"] == "whatsapp:CO.1A2b"
            assert all(one.signed_by(standin.settings.auth_token) for one in listener.heard)

    run(scenario())


def test_a_failing_webhook_is_followed_by_the_fallback_with_the_error_and_the_same_sid() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening(statuses=[500]) as listener, listening() as fallback:
            standin.configure(webhook_url=f"{listener.url}in#rp=ct", fallback_url=f"{fallback.url}in")
            written = await standin.customer_writes(ANA, "hola")
            assert (written.status, written.fallback) == (500, 204)
            (heard,) = fallback.heard
            assert heard.form["ErrorCode"] == "11200"
            assert heard.form["ErrorUrl"] == f"{listener.url}in"
            assert heard.form["MessageSid"] == written.sid
            assert heard.signed_by(standin.settings.auth_token)

    run(scenario())


def test_replies_by_twiml_and_by_plain_text_are_sent_and_an_empty_response_is_not() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.configure(webhook_url=listener.url)
            for content_type, body in [
                ("text/xml", TWIML.format("")),
                ("text/xml", TWIML.format("<Message>Hola</Message><Message><Body>¿Qué tal?</Body></Message>")),
                ("text/plain", "ok"),
                ("application/json", '{"success": true}'),
            ]:
                listener.content_type, listener.body = content_type, body
                await standin.customer_writes(ANA, "hola")
            assert [one.body for one in standin.accepted(ANA)] == ["Hola", "¿Qué tal?", "ok"]
            shown = await sdk(lambda client: client.messages.list(to=f"whatsapp:{ANA}"))
            assert {one.direction for one in shown} == {"outbound-reply"}

    run(scenario())


@pytest.mark.parametrize(
    "body", ["<Response>", "<Say>x</Say>", "<!DOCTYPE x><Response><Message>x</Message></Response>"]
)
def test_an_answer_other_than_twiml_sends_nothing(body: str) -> None:
    assert reply_texts("text/xml", body) == []


def test_a_message_can_be_listed_without_a_webhook_or_with_a_late_or_double_one() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.configure(webhook_url=listener.url)
            written = await standin.customer_writes(ANA, "hola", deliver=False)
            assert (written.tries, listener.heard) == (0, [])
            (listed,) = await sdk(lambda client: client.messages.list(to=SANDBOX))
            assert listed.sid == written.sid
            for _ in range(2):
                await standin.redeliver(written.sid)
            assert [one.form["MessageSid"] for one in listener.heard] == [written.sid] * 2
            with pytest.raises(KeyError):
                await standin.redeliver("SM" + "0" * 32)

    run(scenario())


def test_a_burst_comes_out_of_order() -> None:
    async def scenario() -> None:
        async with playing() as standin, listening() as listener, official(standin) as sdk:
            standin.configure(webhook_url=listener.url)
            await standin.customer_writes(ANA, "cero")
            await standin.customer_burst(ANA, ["uno", "dos", "tres"], order=[2, 0, 1])
            shown = await sdk(lambda client: client.messages.list(to=SANDBOX))
            assert [one.body for one in shown] == ["tres", "dos", "uno", "cero"]
            assert sorted(one.form["Body"] for one in listener.heard) == ["cero", "dos", "tres", "uno"]
            assert [entry.data["body"] for entry in standin.journal.entries("inbound")][1:] == ["uno", "dos", "tres"]
            assert len({one.form["MessageSid"] for one in listener.heard}) == 4

    run(scenario())


def test_a_webhook_can_come_twice_or_never() -> None:
    """F21 of inbound messages."""

    async def scenario() -> None:
        async with playing() as standin, listening() as listener:
            standin.configure(webhook_url=listener.url)
            standin.faults.next("webhook", Fault("F21", how="never"))
            standin.faults.next("webhook", Fault("F21", how="duplicate"))
            assert (await standin.customer_writes(ANA, "uno")).status is None
            await standin.customer_writes(ANA, "dos")
            assert [one.form["Body"] for one in listener.heard] == ["dos", "dos"]

    run(scenario())


def test_a_message_can_be_posted_after_the_next_one() -> None:
    """F21 of inbound messages, in reverse."""

    async def scenario() -> None:
        async with playing() as standin, listening() as listener:
            standin.configure(webhook_url=listener.url)
            standin.faults.next("webhook", Fault("F21", how="reverse", seconds=15))
            first = asyncio.create_task(standin.customer_writes(ANA, "uno"))
            await standin.journal.wait_for(lambda one: one.kind == "fault")
            await standin.customer_writes(ANA, "dos")
            assert (await asyncio.wait_for(first, 30)).status == 204
            assert [one.form["Body"] for one in listener.heard] == ["dos", "uno"]
            standin.faults.next("webhook", Fault("F21", how="reverse", seconds=0.05))
            assert (await standin.customer_writes(ANA, "the last one")).status == 204

    run(scenario())


def test_our_own_reader_reads_a_form_as_it_was_written() -> None:
    from wa_relay.channel.inbound import parse_inbound

    async def scenario() -> None:
        async with playing() as standin:
            written = await standin.customer_writes(ANA, "¿Qué precio tiene?")
            read = parse_inbound(written.form)
            assert (read.phone, read.text, read.sid) == (ANA, "¿Qué precio tiene?", written.sid)

    run(scenario())
