"""The resources that `doctor` asks Twilio for, read by the official SDK."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from tests.standins.twilio_played import Sdk, official, password, playing, run
from wa_relay.standins.twilio import SANDBOX, Account, MessagingService, Sender, Template, TwilioStandin

MORE = "whatsapp:+573000000001"
SERVICE = "MG" + "a" * 32
HOOK = "https://relay.example.org/webhook/twilio/incoming#rc=5&rp=all"


def messaging(standin: TwilioStandin, sdk: Sdk) -> Sdk:
    sdk.client.messaging.base_url = standin.url
    return sdk


def test_the_account_has_a_state_and_a_type() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            fetch = lambda client: client.api.v2010.accounts(standin.account_sid).fetch()  # noqa: E731
            account = await sdk(fetch)
            assert (account.status, account.type) == ("active", "Full")
            standin.register(Account("suspended", "Trial"))
            account = await sdk(fetch)
            assert (account.status, account.type) == ("suspended", "Trial")

    run(scenario())


def test_an_api_key_may_do_everything_but_read_the_account() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            key = "SK" + "c" * 32
            standin.configure(api_keys={key: "secret"})
            client = Client(key, "secret", standin.account_sid, http_client=sdk.http)
            client.api.base_url = standin.url
            sdk.client = client
            await sdk(lambda one: one.messages.list(limit=1))
            with pytest.raises(TwilioRestException) as caught:
                await sdk(lambda one: one.api.v2010.accounts(standin.account_sid).fetch())
            assert (caught.value.status, caught.value.code) == (401, 20003)

    run(scenario())


def test_the_sdk_reads_the_senders_page_by_page() -> None:
    async def scenario() -> None:
        async with playing(senders=(SANDBOX, MORE)) as standin, official(standin) as sdk:
            messaging(standin, sdk)
            standin.configure(webhook_url=HOOK)

            async def listed() -> list[tuple[str, str, str | None]]:
                found = await sdk(lambda client: client.messaging.v2.channels_senders.list("whatsapp", page_size=2))
                return [(one.sender_id, one.status, one.webhook["callback_url"]) for one in found]

            assert await listed() == [(MORE, "ONLINE", HOOK)]
            standin.register(*(Sender(f"whatsapp:+57300000000{n}", "OFFLINE" if n else "ONLINE") for n in range(5)))
            assert [status for _, status, _ in await listed()] == ["ONLINE", *["OFFLINE"] * 4]
            sid = "XE" + "573000000003".rjust(32, "0")
            one = await sdk(lambda client: client.messaging.v2.channels_senders(sid).fetch())
            assert one.sender_id == "whatsapp:+573000000003"
            assert one.webhook["callback_url"] is None
            standin.configure(forbidden=("senders",))
            with pytest.raises(TwilioException, match="HTTP 403"):
                await listed()

    run(scenario())


def test_the_sdk_reads_a_messaging_service_and_its_senders() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            messaging(standin, sdk)
            fetch = lambda client: client.messaging.v1.services(SERVICE).fetch()  # noqa: E731
            with pytest.raises(TwilioRestException) as caught:
                await sdk(fetch)
            assert (caught.value.status, caught.value.code) == (404, 20404)
            standin.register(MessagingService(SERVICE, (SANDBOX, MORE)))
            service = await sdk(fetch)
            assert (service.inbound_request_url, service.use_inbound_webhook_on_number) == (None, False)
            standin.register(MessagingService(SERVICE, (SANDBOX, MORE), HOOK, use_inbound_webhook_on_number=True))
            service = await sdk(fetch)
            assert (service.inbound_request_url, service.use_inbound_webhook_on_number) == (HOOK, True)
            found = await sdk(lambda client: client.messaging.v1.services(SERVICE).channel_senders.list(page_size=1))
            assert [(one.sender, one.sender_type) for one in found] == [(SANDBOX, "WhatsApp"), (MORE, "WhatsApp")]

    run(scenario())


def test_the_sdk_reads_a_template_with_quick_replies_and_its_approval() -> None:
    async def scenario() -> None:
        template = Template("HX" + "a" * 32, "Hola {{1}}", {"1": "Ana"}, "paused", buttons=("Sí", "No"))
        async with playing(templates=(template,)) as standin, official(standin) as sdk:
            content = await sdk(lambda client: client.content.v1.contents(template.sid).fetch())
            (kind,) = content.types
            assert (kind, content.types[kind]["body"], content.variables) == (
                "twilio/quick-reply",
                "Hola {{1}}",
                {"1": "Ana"},
            )
            assert [action["title"] for action in content.types[kind]["actions"]] == ["Sí", "No"]
            approval = await sdk(lambda client: client.content.v1.contents(template.sid).approval_fetch().fetch())
            assert approval.whatsapp["status"] == "paused"

    run(scenario())


def test_the_date_header_can_be_off_also_on_a_refusal() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            standin.configure(clock_skew=-120.0)
            path = f"{standin.url}/2010-04-01/Accounts/{standin.account_sid}.json"
            for token, status in ((standin.settings.auth_token, 200), ("wrong", 401)):
                headers = {"Authorization": password(standin.account_sid, token)}
                async with aiohttp.ClientSession(headers=headers) as http, http.get(path) as answer:
                    off = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
                assert (answer.status, -130 < off < -110) == (status, True)

    run(scenario())
