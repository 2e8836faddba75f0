"""The list of what customers sent, as the sweep reads it."""

from __future__ import annotations

import asyncio

import aiohttp

from wa_relay.channel.twilio import TwilioChannel
from wa_relay.model import Page
from wa_relay.standins.twilio import Fault, TwilioStandin

ANA = "+573138539155"


async def _read(*texts: str, fault: Fault | None = None) -> Page:
    twilio = TwilioStandin()
    await twilio.start()
    try:
        async with aiohttp.ClientSession() as http:
            channel = TwilioChannel(
                http,
                account_sid=twilio.account_sid,
                auth_token=twilio.settings.auth_token,
                sender=twilio.senders[0],
                messaging_service_sid="",
                base_url=twilio.url,
                status_callback="http://127.0.0.1/status",
            )
            for text in texts:
                await twilio.customer_writes(ANA, text)
            if fault is not None:
                twilio.faults.next("list", fault)
            return await channel.inbound_page(None, *channel.senders)
    finally:
        await twilio.stop()


def test_a_page_shows_what_was_written_to_our_sender_the_newest_first() -> None:
    page = asyncio.run(_read("hola", "¿precio?"))
    assert [(message.sender, message.body) for message in page.messages] == [(ANA, "¿precio?"), (ANA, "hola")]


def test_a_message_to_another_number_in_the_list_is_left_out() -> None:
    page = asyncio.run(_read("hola", fault=Fault("F24")))
    assert [message.body for message in page.messages] == ["hola"]
