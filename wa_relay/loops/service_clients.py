"""The clients of Twilio and ElevenLabs, over one session for all requests."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from wa_relay.agent.gateway import GatewayAgent
from wa_relay.agent.session import TextAgent
from wa_relay.channel.content import Templates
from wa_relay.channel.media import MediaFetcher
from wa_relay.channel.twilio import TwilioChannel
from wa_relay.config import Config
from wa_relay.elevenlabs.client import ElevenLabs
from wa_relay.elevenlabs.signed_url import SignedUrls
from wa_relay.http import PunctualConnector
from wa_relay.loops.answering import Agent
from wa_relay.loops.file_reader import FileReader
from wa_relay.phone import address


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """The clients of both services."""

    elevenlabs: ElevenLabs
    twilio: TwilioChannel
    templates: Templates
    agent: Agent
    media: MediaFetcher


async def open_clients(config: Config, mark: str, files: FileReader, opened: AsyncExitStack) -> ServiceClients:
    """Opens the clients; `opened` closes them. `mark` names the database in Twilio's callbacks."""
    http = await opened.enter_async_context(
        aiohttp.ClientSession(
            connector=PunctualConnector(limit=0, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
    )
    api = ElevenLabs(config.elevenlabs.base_url, config.elevenlabs.api_key.reveal())
    opened.push_async_callback(api.close)
    twilio = TwilioChannel.of(
        http,
        config.twilio,
        status_callback=f"{config.server.public_url}/webhook/twilio/status",
        database=mark,
        further=[number for sender in config.senders if (number := address(sender.number))],
    )
    templates = Templates(
        http,
        account_sid=config.twilio.account_sid,
        auth_token=config.twilio.auth_token.reveal(),
        base_url=config.twilio.base_url,
    )
    fetcher = await opened.enter_async_context(
        MediaFetcher(
            config.twilio.base_url,
            config.twilio.account_sid,
            config.twilio.auth_token.reveal(),
            max_bytes=config.media.max_bytes,
        )
    )
    return ServiceClients(api, twilio, templates, _make_agent(config, api, http, files, opened), fetcher)


def _make_agent(
    config: Config, api: ElevenLabs, http: aiohttp.ClientSession, files: FileReader, opened: AsyncExitStack
) -> Agent:
    settings = config.elevenlabs
    key = settings.api_key.reveal()
    if settings.transport == "http":
        return GatewayAgent(http, settings.base_url, key, turn_timeout=settings.turn_timeout_seconds)
    agent = TextAgent(
        api,
        http,
        turn_timeout=settings.turn_timeout_seconds,
        settle=settings.settle_seconds,
        base_url=settings.base_url,
        handover_tool=config.handover.tool,
        signed_urls=SignedUrls(http, settings.base_url, key),
        read_file=lambda file: files.read(file.media),
    )
    opened.push_async_callback(agent.close)
    return agent
