"""Fetching files: from our account's address alone, within a limit, and never from an internal address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from wa_relay.channel.media import CheckingResolver, ForbiddenAddress, MediaError, MediaFetcher, is_inside
from wa_relay.channel.sniffing import found_kind

ACCOUNT = "AC" + "0" * 31 + "1"
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages/MM{'a' * 32}/Media/ME{'b' * 32}"
JPEG = b"\xff\xd8\xff\xdb" + bytes(100)
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host:
    """A server on loopback that answers every request in one way, and keeps what was asked."""

    def __init__(self, answering: Answering) -> None:
        self.asked: list[web.Request] = []
        self._answering = answering
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Host:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return await self._answering(request)


def serving(body: bytes = JPEG, content_type: str = "image/jpeg", **headers: str) -> Answering:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Type": content_type, **headers})

    return answer


def leading_to(place: Callable[[], str]) -> Answering:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": place()})

    return answer


def named(**addresses: list[list[str]]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver whose answers to each name come one after the other; the last one stays."""

    async def resolve(host: str, _port: int) -> list[str]:
        answers = addresses[host.replace(".", "_")]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return resolve


async def fetched(fetcher: MediaFetcher, url: str, announced: str | None = "image/jpeg") -> list[bytes]:
    parts: list[bytes] = []

    async def keep(number: int, part: bytes) -> None:
        assert number == len(parts)
        parts.append(part)

    await fetcher.fetch(url, announced, keep)
    return parts


def fetcher_of(base: str, **more: Any) -> MediaFetcher:
    return MediaFetcher(base, ACCOUNT, "token", **{"max_bytes": 1_000_000, **more})


def test_a_name_that_resolves_to_a_public_address_and_then_to_127_0_0_1_is_not_fetched_from() -> None:
    """One look-up gives the address that is checked and connected to; the next one is checked anew."""

    async def scenario() -> None:
        resolver = CheckingResolver(named(media_evil_test=[["8.8.8.8"], ["127.0.0.1"]]), inside_allowed=False)
        assert [found["host"] for found in await resolver.resolve("media.evil.test", 80)] == ["8.8.8.8"]
        with pytest.raises(ForbiddenAddress):
            await resolver.resolve("media.evil.test", 80)

    asyncio.run(scenario())


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["10.0.0.8"]])
def test_a_redirect_to_a_name_with_a_private_address_is_not_followed(answers: list[str]) -> None:
    async def scenario() -> None:
        async with Host(serving()) as inside:
            evil = f"http://media.evil.test:{inside.port}/x"
            async with Host(leading_to(lambda: evil)) as twilio:
                base = f"http://api.twilio.test:{twilio.port}"
                resolve = named(api_twilio_test=[["127.0.0.1"]], media_evil_test=[answers])
                async with fetcher_of(base, resolve=resolve) as fetcher:
                    with pytest.raises(MediaError) as refused:
                        await fetched(fetcher, base + PATH)
                    assert (refused.value.reason, refused.value.permanent) == ("forbidden_address", True)
            assert inside.asked == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.0.0.8", "169.254.169.254", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"]
)
def test_a_redirect_to_a_private_address_is_not_followed(host: str) -> None:
    async def scenario() -> None:
        async with Host(leading_to(lambda: f"http://{host}:1/x")) as twilio:
            base = f"http://api.twilio.test:{twilio.port}"
            async with fetcher_of(base, resolve=named(api_twilio_test=[["127.0.0.1"]])) as fetcher:
                with pytest.raises(MediaError) as refused:
                    await fetched(fetcher, base + PATH)
                assert refused.value.reason == "forbidden_address"

    asyncio.run(scenario())


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://x.co/a", "http://user:word@x.co/a", "http:///a", ""])
def test_a_redirect_to_something_else_than_a_plain_web_address_is_not_followed(place: str) -> None:
    async def scenario() -> None:
        async with Host(leading_to(lambda: place)) as twilio:
            base = f"http://127.0.0.1:{twilio.port}"
            async with fetcher_of(base) as fetcher:
                with pytest.raises(MediaError):
                    await fetched(fetcher, base + PATH)

    asyncio.run(scenario())


def test_credentials_are_shown_to_twilio_and_to_nobody_else() -> None:
    async def scenario() -> None:
        async with Host(serving()) as elsewhere:
            async with Host(leading_to(lambda: f"http://127.0.0.1:{elsewhere.port}/file")) as twilio:
                base = f"http://127.0.0.1:{twilio.port}"
                async with fetcher_of(base) as fetcher:
                    assert await fetched(fetcher, base + PATH) == [JPEG]
                assert twilio.asked[0].headers["Authorization"].startswith("Basic ")
            assert "Authorization" not in elsewhere.asked[0].headers

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        "https://api.twilio.com.evil.co" + PATH,
        "https://evil.co" + PATH,
        "http://api.twilio.com" + PATH,
        "https://api.twilio.com:8443" + PATH,
        "https://x@api.twilio.com" + PATH,
        "https://api.twilio.com" + PATH + "?a=1",
        "https://api.twilio.com" + PATH + "#a",
        "https://api.twilio.com" + PATH + "/../../x",
        "https://api.twilio.com" + PATH.replace(ACCOUNT, "AC" + "9" * 32),
        "https://api.twilio.com" + PATH.replace("/Media/", "/Media/%2e%2e/"),
        "https://api.twilio.com/2010-04-01/Accounts/" + ACCOUNT + ".json",
        "https://[::1" + PATH,
        "",
    ],
)
def test_only_our_accounts_media_path_at_twilio_is_fetched(url: str) -> None:
    async def scenario() -> None:
        async with fetcher_of("https://api.twilio.com") as fetcher:
            assert fetcher.allowed("https://api.twilio.com" + PATH)
            assert not fetcher.allowed(url)
            with pytest.raises(MediaError) as refused:
                await fetched(fetcher, url)
            assert (refused.value.reason, refused.value.permanent) == ("foreign_address", True)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(404, False), (429, False), (500, False), (503, False), (401, True), (403, True), (410, True)],
)
def test_a_refusal_is_final_unless_it_passes_by_itself(status: int, permanent: bool) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "7"})

    async def scenario() -> None:
        async with Host(answer) as twilio:
            base = f"http://127.0.0.1:{twilio.port}"
            async with fetcher_of(base) as fetcher:
                with pytest.raises(MediaError) as refused:
                    await fetched(fetcher, base + PATH)
                assert (refused.value.permanent, refused.value.retry_after) == (permanent, 7.0)

    asyncio.run(scenario())


def test_a_file_comes_in_parts_of_at_most_256_kb() -> None:
    body = JPEG + bytes(600_000)

    async def scenario() -> None:
        async with Host(serving(body)) as twilio:
            base = f"http://127.0.0.1:{twilio.port}"
            async with fetcher_of(base) as fetcher:
                parts = await fetched(fetcher, base + PATH)
        assert b"".join(parts) == body
        assert [len(part) for part in parts] == [262_144, 262_144, len(body) - 524_288]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "served", "announced", "reason"),
    [
        (b"x" * 2_000_000, "image/jpeg", "image/jpeg", "too_large"),
        (b"", "image/jpeg", "image/jpeg", "empty"),
        (JPEG, "text/html", "image/jpeg", "other_kind"),
        (JPEG, "audio/ogg", "image/jpeg", "other_kind"),
        (b"%PDF-1.7 ...", "image/jpeg", "image/jpeg", "other_kind"),
        (b"<!DOCTYPE html><html>", "image/jpeg", "image/jpeg", "other_kind"),
    ],
)
def test_a_file_that_is_not_what_was_announced_is_refused(
    body: bytes, served: str, announced: str, reason: str
) -> None:
    async def scenario() -> None:
        async with Host(serving(body, served)) as twilio:
            base = f"http://127.0.0.1:{twilio.port}"
            async with fetcher_of(base) as fetcher:
                with pytest.raises(MediaError) as refused:
                    await fetched(fetcher, base + PATH, announced)
                assert (refused.value.reason, refused.value.permanent) == (reason, True)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("served", "announced"),
    [
        ("application/octet-stream", "image/jpeg"),
        ("image/png", "image/jpeg"),
        ("image/jpeg", "application/octet-stream"),
    ],
)
def test_octets_count_as_what_was_announced(served: str, announced: str) -> None:
    async def scenario() -> None:
        async with Host(serving(JPEG, served)) as twilio:
            base = f"http://127.0.0.1:{twilio.port}"
            async with fetcher_of(base) as fetcher:
                assert await fetched(fetcher, base + PATH, announced) == [JPEG]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0", "fc00::1", "224.0.0.1"),
        *("localhost", "x.localhost", "intranet", "2130706433", "0177.0.0.1"),
    ],
)
def test_addresses_that_are_not_public_are_known(host: str) -> None:
    assert is_inside(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "mms.twiliocdn.com", "64:ff9b::808:808"])
def test_public_addresses_are_known(host: str) -> None:
    assert not is_inside(host)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image"),
        (b"%PDF-1.4", "pdf"),
        (b"OggS\x00\x02", "audio"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio"),
        (b"#!AMR\n", "audio"),
        (b"PK\x03\x04", "other"),
        (b"\n <html>", "other"),
        (b"\xff\xd8\xff\xe0 no jpeg", None),
        (b"OggS no ogg", None),
        (b"", None),
    ],
)
def test_a_file_is_known_by_a_whole_signature(start: bytes, kind: str | None) -> None:
    assert found_kind(start) == kind
