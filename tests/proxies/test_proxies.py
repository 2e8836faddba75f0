"""The daemon behind the real nginx and Caddy, with the configurations of the documentation."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.doctor.healthy import examined, faults_of, healthy, hear_post_call
from tests.e2e.stage import OVERRIDES, TOKEN, Stage, run
from tests.stopwatch import Stopwatch
from wa_relay.standins.port import free_port

DOCS = Path(__file__).parents[2] / "docs"
CUT_OFF_WITHIN = 25.0
"""Seconds: both configurations say ten; Caddy looks again after that."""


def nginx(port: int, relay: int, folder: Path) -> tuple[str, ...]:
    """The command line of nginx with the documentation's server block, without TLS, and with the console's paths."""
    site = (DOCS / "nginx.conf").read_text(encoding="utf-8")
    site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:3001", f"127.0.0.1:{relay}")
    site = re.sub(r" *ssl_certificate.*\n", "", site)
    site = site.replace("location ~ ^/(webhook/|health$) {", "location ~ ^/(webhook/|health$|api/|console) {")
    places = "".join(
        f"{name}_temp_path {folder / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(f"daemon off;\npid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{site}}}\n")
    return ("nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config))


def caddy(port: int, relay: int, folder: Path) -> tuple[str, ...]:
    """The command line of Caddy with the documentation's file, without TLS, and with the console's paths."""
    site = (DOCS / "Caddyfile").read_text(encoding="utf-8")
    site = site.replace("{\n", "{\n\tadmin off\n", 1)
    site = site.replace("\nrelay.example.com {", f"\nhttp://127.0.0.1:{port} {{")
    site = site.replace("127.0.0.1:3001", f"127.0.0.1:{relay}")
    site = site.replace("@relay path /webhook/* /health", "@relay path /webhook/* /health /console /console/* /api/*")
    config = folder / "Caddyfile"
    config.write_text(site)
    return ("caddy", "run", "--adapter", "caddyfile", "--config", str(config))


PROXIES: dict[str, Callable[[int, int, Path], tuple[str, ...]]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (apt-get install {name})")
    return name


@asynccontextmanager
async def behind(name: str, folder: Path) -> AsyncIterator[tuple[Stage, int]]:
    """A healthy set-up whose public address is the proxy's. Yields it with the proxy's port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    inside = folder / "proxy"
    inside.mkdir()
    async with healthy(folder, {"server": {"public_url": url}}, start=False) as s:
        s.twilio.configure(webhook_url=f"{url}/webhook/twilio/incoming{OVERRIDES}")
        process = await asyncio.create_subprocess_exec(
            *PROXIES[name](port, s.relay.port, inside),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"HOME": str(inside), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        try:
            await s.relay.start()
            await _listens(port)
            await hear_post_call(s)
            yield s, port
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _listens(port: int) -> None:
    end = time.monotonic() + 15
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < end, "the proxy does not listen"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            await writer.wait_closed()
            return


def test_a_signed_webhook_arrives_as_it_was_sent(proxy: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(proxy, tmp_path) as (s, _):
            found = await examined(s)
            assert faults_of(found) == {}
            assert "unchanged" in found["public URL"].message

    run(scenario())


def test_a_customers_message_and_its_reply_pass(proxy: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(proxy, tmp_path) as (s, _):
            assert (await s.report()).status in (200, 202)
            await s.sent(1)
            s.twilio.open_window("+573138539155")
            delivery = await s.twilio.customer_writes(phone="+573138539155", body="¿Cuánto cuesta? + ñandú ☎")
            assert delivery.status == 200
            await s.sent(2)

    run(scenario())


def test_events_are_not_held_back(proxy: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind(proxy, tmp_path) as (s, port), aiohttp.ClientSession() as http:
            headers = {"X-Service-Token": TOKEN}
            async with http.get(f"http://127.0.0.1:{port}/api/events", headers=headers) as stream:
                assert stream.status == 200
                watch = Stopwatch()
                await s.report()
                async with asyncio.timeout(30):
                    async for line in stream.content:
                        if line.startswith(b"event: "):
                            break
                assert watch.seconds < 5.0

    run(scenario())


def test_a_client_that_stops_sending_in_the_head_or_the_body_is_cut_off(proxy: str, tmp_path: Path) -> None:
    head = b"POST /webhook/twilio/status HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    body = head + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\nA="

    async def scenario() -> None:
        async with behind(proxy, tmp_path) as (_, port):
            watch = Stopwatch()
            await asyncio.gather(*(asyncio.to_thread(_wait_for_the_end, port, sent) for sent in (head, body)))
            assert watch.seconds < CUT_OFF_WITHIN

    run(scenario())


def _wait_for_the_end(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=2 * CUT_OFF_WITHIN) as connection:
        connection.sendall(sent)
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
