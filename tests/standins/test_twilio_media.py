"""The files of messages: the official SDK lists and deletes them, a plain client follows the redirect."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from twilio.base.exceptions import TwilioRestException

from tests.standins.twilio_played import ANA, official, password, playing, run
from wa_relay.standins.twilio import VOICE_NOTE, Attachment, Serving, TwilioStandin


async def sent(standin: TwilioStandin, **serving: Any) -> str:
    """The address of a voice note's file."""
    note = Attachment("audio/ogg", b"OggS " + b"x" * 995, serving=Serving(**serving))
    return (await standin.customer_writes(ANA, "", media=note)).form["MediaUrl0"]


async def get(standin: TwilioStandin, url: str, *, auth: bool = True) -> tuple[int, dict[str, str], bytes]:
    """One GET that follows nothing."""
    headers = {"Authorization": password(standin.account_sid, standin.settings.auth_token)} if auth else {}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(url, allow_redirects=False) as answer:
        return answer.status, dict(answer.headers), await answer.read()


def test_a_file_lies_behind_credentials_and_a_redirect_that_must_not_see_them() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            url = await sent(standin)
            assert (await get(standin, url, auth=False))[0] == 401
            status, headers, _ = await get(standin, url)
            place = headers["Location"]
            assert (status, place.startswith(standin.elsewhere_url)) == (307, True)
            status, headers, body = await get(standin, place, auth=False)
            assert (status, headers["Content-Type"], len(body)) == (200, "audio/ogg", 1000)
            assert not standin.journal.entries("violation")
            await get(standin, place)
            (violation,) = standin.journal.entries("violation")
            assert violation.data["what"] == "credentials sent to another host"

    run(scenario())


def test_the_sdk_lists_and_deletes_files_and_messages() -> None:
    async def scenario() -> None:
        async with playing() as standin, official(standin) as sdk:
            url = await sent(standin)
            sid, medium = url.split("/")[-3], url.split("/")[-1]
            (listed,) = await sdk(lambda client: client.messages(sid).media.list())
            assert (listed.sid, listed.content_type, listed.parent_sid) == (medium, "audio/ogg", sid)
            _, headers, _ = await get(standin, url)
            assert await sdk(lambda client: client.messages(sid).media(medium).delete())
            assert (await get(standin, url))[0] == 404
            assert (await get(standin, headers["Location"], auth=False))[0] == 404
            assert await sdk(lambda client: client.messages(sid).delete())
            with pytest.raises(TwilioRestException) as caught:
                await sdk(lambda client: client.messages(sid).delete())
            assert caught.value.status == 404
            deleted = [(one.data["sid"], one.data["medium"]) for one in standin.journal.entries("deleted")]
            assert deleted == [(sid, medium), (sid, None)]

    run(scenario())


def test_a_file_may_be_missing_or_refused_at_first() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            url = await sent(standin, missing=2, status=503, times=1)
            assert [(await get(standin, url))[0] for _ in range(4)] == [404, 404, 503, 307]

    run(scenario())


def test_redirects_lead_to_a_given_place_through_several_hops_or_in_a_circle() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            url = await sent(standin, redirect_to="http://10.0.0.7/x")
            assert (await get(standin, url))[1]["Location"] == "http://10.0.0.7/x"
            for serving, statuses in (({"hops": 3}, [302, 302, 200]), ({"loop": True}, [302] * 5)):
                place = (await get(standin, await sent(standin, **serving)))[1]["Location"]
                seen: list[int] = []
                while len(seen) < len(statuses):
                    status, headers, _ = await get(standin, place, auth=False)
                    seen.append(status)
                    place = headers.get("Location", "")
                assert seen == statuses

    run(scenario())


async def read(standin: TwilioStandin, most: int = 1 << 20, **serving: Any) -> tuple[str, int]:
    """The content type and the number of bytes that came."""
    place = (await get(standin, await sent(standin, **serving)))[1]["Location"]
    count = 0
    async with aiohttp.ClientSession() as http, http.get(place) as answer:
        async for chunk in answer.content.iter_any():
            count += len(chunk)
            if count >= most:
                break
        return answer.content_type, count


def test_a_file_may_be_of_another_type_too_large_endless_slow_or_broken() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            assert await read(standin, content_type="text/html") == ("text/html", 1000)
            assert await read(standin, size=20_000_000, most=1 << 30) == ("audio/ogg", 20_000_000)
            _, count = await read(standin, endless=True, most=3_000_000)
            assert count >= 3_000_000
            began = asyncio.get_running_loop().time()
            assert await read(standin, size=20, drip=0.01) == ("audio/ogg", 20)
            assert await read(standin, slow=0.1) == ("audio/ogg", 1000)
            assert asyncio.get_running_loop().time() - began > 0.2
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                await read(standin, broken=True)

    run(scenario())


def test_a_download_may_break_only_at_first() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            place = (await get(standin, await sent(standin, broken=True, broken_times=1)))[1]["Location"]
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                await get(standin, place, auth=False)
            assert len((await get(standin, place, auth=False))[2]) == 1000

    run(scenario())


def test_a_plain_voice_note_is_served_as_it_is() -> None:
    async def scenario() -> None:
        async with playing() as standin:
            url = (await standin.customer_writes(ANA, "", media=VOICE_NOTE)).form["MediaUrl0"]
            place = (await get(standin, url))[1]["Location"]
            assert (await get(standin, place, auth=False))[2] == VOICE_NOTE.data

    run(scenario())
