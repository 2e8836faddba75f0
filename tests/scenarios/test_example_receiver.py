"""The example receiver of docs/alerts.md, between the real daemon and a Slack and a mail server of the test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.e2e.stage import ANA, run, stage, until

EXAMPLE = Path(__file__).parents[2] / "docs" / "alerts_receiver.py"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@asynccontextmanager
async def example(env: Mapping[str, str]) -> AsyncIterator[str]:
    """The example as a process; yields its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "WA_RELAY_ALERTS_SECRET": SECRET, **env},
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60.0)
    try:
        yield line.decode().removeprefix("listens on ").strip()
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def slack(texts: list[str], statuses: list[int]) -> AsyncIterator[str]:
    """A Slack webhook that keeps the texts; it answers with these statuses, then 200."""

    async def take(http: web.BaseRequest) -> web.StreamResponse:
        texts.append(json.loads(await http.read())["text"])
        return web.Response(status=statuses.pop(0) if statuses else 200)

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def mail_server(letters: list[str]) -> AsyncIterator[str]:
    """A mail server that accepts everything and keeps the letters."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                letters.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def test_an_alert_reaches_slack_and_the_mailbox(tmp_path: Path) -> None:
    async def scenario() -> None:
        texts: list[str] = []
        letters: list[str] = []
        async with slack(texts, []) as hook, mail_server(letters) as mail:
            env = {
                "SLACK_WEBHOOK_URL": hook,
                "ALERT_MAIL_TO": "equipo@localhost",
                "ALERT_MAIL_SERVER": mail,
                "WA_RELAY_CONSOLE_URL": "https://relay.test/console",
            }
            async with example(env) as url, stage(tmp_path, {"alerts": {"url": url, "secret": SECRET}}) as s:
                await s.report()
                await s.twilio.customer_writes(ANA, "Asesor")
                await until(lambda: letters)
                sentence = f"Un cliente pide hablar con una persona: {ANA} https://relay.test/console/conversations/1"
                assert texts == [sentence]
                assert "To: equipo@localhost" in letters[0]

    run(scenario())


def test_an_alert_that_slack_refuses_comes_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        texts: list[str] = []
        env = {"WA_RELAY_TIME_DIVISOR": "10"}
        async with (
            slack(texts, [500]) as hook,
            example({"SLACK_WEBHOOK_URL": hook}) as url,
            stage(tmp_path, {"alerts": {"url": url, "secret": SECRET}}, env=env) as s,
        ):
            await s.report()
            await s.twilio.customer_writes(ANA, "Asesor")
            await until(lambda: "alert_sent" in s.relay.log)
            assert len(texts) == 2

    run(scenario())


def test_a_request_that_is_not_signed_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with example({}) as url, aiohttp.ClientSession() as http:
            headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,bm8="}
            for given in ({}, headers):
                async with http.post(url, data=b'{"type": "disk.low", "data": {}}', headers=given) as answer:
                    assert answer.status == 401

    run(scenario())
