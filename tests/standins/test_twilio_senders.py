"""Senders, templates and the account: rates, windows and error codes, met by the official SDK."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException

from tests.standins.twilio_played import ANA, LUIS, Sdk, listening, official, playing, run
from wa_relay.standins.twilio import SANDBOX, Template, TwilioStandin

MORE = "whatsapp:+573000000001"
TEMPLATE = Template("HX" + "a" * 32, "Hola {{1}}, ¿te quedó alguna duda?", {"1": "Ana"})
OTHER = Template("HX" + "b" * 32, "Hola {{1}}.", {"1": "Ana"})


async def code_of(sdk: Sdk, **fields: Any) -> int:
    with pytest.raises(TwilioRestException) as caught:
        await sdk.send(**fields)
    return int(caught.value.code)


async def receipt(standin: TwilioStandin, sdk: Sdk, **fields: Any) -> tuple[str, int | str | None]:
    """The last status of a message and its code."""
    made = await sdk.send(**fields)
    final = ("read", "undelivered", "failed")
    entry = await standin.journal.wait_for(
        lambda one: one.kind == "status" and one.data["sid"] == made.sid and one.data["status"] in final
    )
    code = entry.data["code"]
    return str(entry.data["status"]), code if isinstance(code, int | str) else None


def template(one: Template) -> dict[str, Any]:
    return {"body": "", "content_sid": one.sid, "content_variables": '{"1": "Ana"}'}


def test_each_sender_has_its_own_rate() -> None:
    async def scenario() -> None:
        async with playing(senders=(SANDBOX, MORE)) as standin, official(standin) as sdk:
            standin.configure(sender_rates={MORE: 1.0})
            await sdk.send(from_=MORE)
            assert await code_of(sdk, from_=MORE) == 20429
            for _ in range(3):
                await sdk.send()

    run(scenario())


def test_a_window_is_open_only_at_the_sender_that_the_customer_wrote_to() -> None:
    async def scenario() -> None:
        async with playing(senders=(SANDBOX, MORE), enforce_window=True) as standin, official(standin) as sdk:
            await standin.customer_writes(ANA, "hola", to=MORE)
            assert await receipt(standin, sdk, from_=MORE) == ("read", None)
            assert await receipt(standin, sdk) == ("undelivered", 63016)
            service = {"from_": "", "messaging_service_sid": "MG" + "1" * 32}
            assert await receipt(standin, sdk, **service) == ("read", None)
            sent = standin.journal.entries("accepted")[-1].data
            assert standin.senders[0] != MORE
            (fetched,) = [one for one in await sdk(lambda client: client.messages.list()) if one.sid == sent["sid"]]
            assert fetched.from_ == MORE
            standin.open_window(LUIS)
            assert await receipt(standin, sdk, to=LUIS) == ("read", None)

    run(scenario())


@pytest.mark.parametrize("code", [63018, 63038, 63051, 63058, 63007, 99999])
def test_a_sender_meets_a_code_by_receipt_or_in_the_response_until_it_is_taken_away(code: int) -> None:
    async def scenario() -> None:
        async with playing(senders=(SANDBOX, MORE)) as standin, official(standin) as sdk:
            standin.trouble(MORE, code)
            assert await receipt(standin, sdk, from_=MORE) == ("undelivered", code)
            assert await receipt(standin, sdk) == ("read", None)
            standin.trouble(MORE, code, "response", 429)
            assert await code_of(sdk, from_=MORE) == code
            standin.trouble(MORE, None)
            assert await receipt(standin, sdk, from_=MORE) == ("read", None)
            standin.trouble("", code, "response")
            assert await code_of(sdk) == code

    run(scenario())


@pytest.mark.parametrize("how", ["response", "receipt"])
@pytest.mark.parametrize("code", [21655, 21656, 63027, 63028, 63040, 63041, 63042])
def test_a_template_meets_a_code_while_others_go_out(code: int, how: str) -> None:
    async def scenario() -> None:
        async with playing(templates=(TEMPLATE, OTHER)) as standin, official(standin) as sdk:
            standin.trouble(TEMPLATE.sid, code, how)
            if how == "response":
                assert await code_of(sdk, **template(TEMPLATE)) == code
            else:
                assert await receipt(standin, sdk, **template(TEMPLATE)) == ("undelivered", code)
            assert await receipt(standin, sdk, **template(OTHER)) == ("read", None)
            standin.trouble(TEMPLATE.sid, None)
            assert await receipt(standin, sdk, **template(TEMPLATE)) == ("read", None)

    run(scenario())


def test_a_paused_template_goes_out_again_once_it_is_approved() -> None:
    async def scenario() -> None:
        async with playing(templates=(TEMPLATE,)) as standin, official(standin) as sdk:
            standin.template(replace(TEMPLATE, approval="paused"))
            assert await receipt(standin, sdk, **template(TEMPLATE)) == ("undelivered", 63041)
            standin.template(TEMPLATE)
            assert await receipt(standin, sdk, **template(TEMPLATE)) == ("read", None)

    run(scenario())


def test_a_message_that_waits_longer_than_it_is_valid_fails() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            standin.configure(queue_seconds=600.0)
            assert await receipt(standin, sdk, validity_period=599) == ("failed", 30036)
            assert await receipt(standin, sdk, validity_period=600) == ("read", None)
            assert [one.validity for one in standin.accepted(ANA)] == [599, 600]
            assert await code_of(sdk, validity_period=36_001) == 21624

    run(scenario())


def test_a_trial_account_sends_only_templates() -> None:
    async def scenario() -> None:
        async with playing(templates=(TEMPLATE,)) as standin, official(standin) as sdk:
            standin.configure(trial=True)
            assert await code_of(sdk) == 21654
            assert await receipt(standin, sdk, **template(TEMPLATE)) == ("read", None)

    run(scenario())


def test_a_customer_joins_the_sandbox_by_writing_to_it() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            standin.contact(ANA, sandbox_expired=True)
            assert await receipt(standin, sdk) == ("undelivered", 63015)
            await standin.customer_writes(ANA, "join two-words")
            assert await receipt(standin, sdk) == ("read", None)

    run(scenario())


def test_a_sender_writes_first_to_a_limited_number_of_customers_a_day() -> None:
    async def scenario() -> None:
        async with playing(templates=(TEMPLATE,), enforce_window=True) as standin, official(standin) as sdk:
            standin.configure(users_per_day=1)
            fields = template(TEMPLATE)
            assert await receipt(standin, sdk, **fields) == ("read", None)
            assert await receipt(standin, sdk, **fields) == ("read", None)
            assert await receipt(standin, sdk, to=LUIS, **fields) == ("undelivered", 63018)
            await standin.customer_writes(LUIS, "hola")
            assert await receipt(standin, sdk, to=LUIS, **fields) == ("read", None)

    run(scenario())


def test_the_typing_indicator_wants_an_inbound_message_and_is_recorded() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk, listening() as listener:
            standin.configure(webhook_url=listener.url)
            sdk.client.messaging.base_url = standin.url
            sid = (await standin.customer_writes(ANA, "hola")).sid

            async def typing(message: str) -> Any:
                return await sdk(
                    lambda client: client.messaging.v2.typing_indicator.create(channel="whatsapp", message_id=message)
                )

            assert (await typing(sid)).success is True
            assert [one.data["sid"] for one in standin.journal.entries("typing")] == [sid]
            with pytest.raises(TwilioRestException):
                await typing("SM" + "0" * 32)
            standin.configure(typing_status=500)
            with pytest.raises(TwilioRestException) as caught:
                await typing(sid)
            assert caught.value.status == 500

    run(scenario())
