"""The stand-in as a process, driven over HTTP by another one."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.standins.twilio_played import ANA, listening, password, run
from wa_relay.standins.twilio import SANDBOX

ACCOUNT, TOKEN = "AC" + "2" * 32, "b" * 32


COMMAND = (sys.executable, "-m", "wa_relay.standins", "twilio", "--port")


@asynccontextmanager
async def process(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The process and its URL, ended afterwards."""
    running = await asyncio.create_subprocess_exec(*COMMAND, "0", *options, stdout=asyncio.subprocess.PIPE)
    try:
        assert running.stdout is not None
        yield json.loads(await running.stdout.readline())["url"], running
    finally:
        running.terminate()
        await asyncio.wait_for(running.wait(), 40)


async def control(url: str, name: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """One control; a GET without a body."""
    method, address = "GET" if body is None else "POST", f"{url}/_standin/{name}"
    async with aiohttp.ClientSession() as http, http.request(method, address, json=body) as answer:
        return answer.status, await answer.json()


async def send(url: str, **fields: str) -> int:
    """Creates a message; the status of the answer."""
    form = {"To": f"whatsapp:{ANA}", "From": SANDBOX, "Body": "Hola", **fields}
    headers = {"Authorization": password(ACCOUNT, TOKEN)}
    path = f"{url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with aiohttp.ClientSession(headers=headers) as http, http.post(path, data=form) as answer:
        return answer.status


def test_a_process_is_driven_by_its_controls_and_ends_on_sigterm() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            async with process("--account-sid", ACCOUNT, "--auth-token", TOKEN) as (url, running):
                delays = {"sent": 0.01, "delivered": None, "read": None}
                changes = {"webhook_url": listener.url, "delays": delays, "enforce_window": False}
                status, shown = await control(url, "settings", changes)
                assert (status, shown["delays"]["delivered"], shown["auth_token"]) == (200, None, TOKEN)
                assert await send(url) == 201
                _, shown = await control(url, "customer", {"phone": ANA, "body": "¿Qué precio tiene?"})
                assert (shown["status"], listener.heard[0].form["Body"]) == (204, "¿Qué precio tiene?")
                assert listener.heard[0].signed_by(TOKEN)
                await control(url, "fault", {"operation": "create", "fault": {"kind": "F6"}})
                with pytest.raises(aiohttp.ClientError):
                    await send(url)
                await control(url, "fault", {"operation": "create", "fault": {"kind": "F9"}})
                assert await send(url) == 500
                await control(url, "contact", {"phone": ANA, "opted_out": True})
                assert await send(url) == 400
                _, shown = await control(url, "accepted?to=%2B" + ANA[1:])
                assert [one["body"] for one in shown["accepted"]] == ["Hola", "Hola"]
                _, journal = await control(url, "journal?after=0")
                kinds = [one["kind"] for one in journal["entries"]]
                assert {"request", "accepted", "inbound", "webhook", "fault"} <= set(kinds)
                _, rest = await control(url, f"journal?after={len(kinds)}")
                assert all(one["number"] > len(kinds) for one in rest["entries"])
            assert running.returncode == 0

    run(scenario())


def test_customers_files_troubles_and_the_account_are_set_up_by_controls() -> None:
    async def scenario() -> None:
        async with listening() as listener, process("--account-sid", ACCOUNT, "--auth-token", TOKEN) as (url, _):
            changes = {"webhook_url": listener.url, "enforce_window": False, "advanced_opt_out": True}
            _, settings = await control(url, "settings", {**changes, "sender_rates": {SANDBOX: 80.0}, "trial": False})
            assert settings["sender_rates"] == {SANDBOX: 80.0}
            await control(url, "contact", {"phone": ANA, "user_id": "CO.1A2b", "also": ["+573009998877"]})
            note = {"content_type": "audio/ogg", "base64": "T2dnUw==", "serving": {"missing": 1}}
            _, answer = await control(url, "customer", {"phone": ANA, "media": note})
            assert (answer["form"]["MessageType"], answer["form"]["ExternalUserId"]) == ("audio", "whatsapp:CO.1A2b")
            referral = {"headline": "Plan Premium", "source_url": "https://fb.me/x"}
            _, answer = await control(url, "customer", {"phone": ANA, "body": "hola", "referral": referral})
            assert answer["form"]["ReferralHeadline"] == "Plan Premium"
            place = {"location": [4.6, -74.08], "label": "Oficina", "hidden": True}
            _, answer = await control(url, "customer", {"phone": ANA, **place})
            assert (answer["form"]["Label"], answer["form"]["From"]) == ("Oficina", "whatsapp:CO.1A2b")
            await control(url, "trouble", {"subject": SANDBOX, "code": 63051, "how": "response"})
            assert await send(url) == 400
            await control(url, "trouble", {"subject": SANDBOX, "code": None})
            assert await send(url, ValidityPeriod="600") == 201
            _, sent = await control(url, "accepted")
            assert (sent["accepted"][0]["validity"], sent["accepted"][0]["sender"]) == (600, SANDBOX)
            resources = {"account": {"status": "suspended"}, "senders": [{"number": SANDBOX, "status": "OFFLINE"}]}
            assert (await control(url, "register", resources))[0] == 200
            headers = {"Authorization": password(ACCOUNT, TOKEN)}
            async with aiohttp.ClientSession(headers=headers) as http:
                async with http.get(f"{url}/v2/Channels/Senders?Channel=whatsapp") as page:
                    assert (await page.json())["senders"][0]["status"] == "OFFLINE"
                async with http.get(f"{url}/2010-04-01/Accounts/{ACCOUNT}.json") as account:
                    assert (await account.json())["status"] == "suspended"

    run(scenario())


def test_wrong_controls_are_refused_with_a_message() -> None:
    async def scenario() -> None:
        async with process() as (url, _):
            wrong: list[tuple[str, dict[str, Any]]] = [
                ("customer", {"body": "no phone"}),
                ("contact", {"phone": ANA, "blokced": True}),
                ("fault", {"operation": "list", "fault": {"kind": "F6"}}),
                ("redeliver", {"sid": "SM0"}),
            ]
            for name, body in wrong:
                status, shown = await control(url, name, body)
                assert (status, bool(shown["error"])) == (400, True)
            assert (await control(url, "nothing", {}))[0] == 404
            assert (await control(url, "nothing"))[0] == 404

    run(scenario())


def test_a_port_that_is_taken_is_reported_without_a_traceback() -> None:
    async def scenario() -> None:
        async with listening() as listener:
            port = listener.url.rpartition(":")[2].strip("/")
            running = await asyncio.create_subprocess_exec(*COMMAND, port, stderr=asyncio.subprocess.PIPE)
            _, errors = await running.communicate()
            assert running.returncode == 1
            assert b"--port" in errors
            assert b"Traceback" not in errors

    run(scenario())


def test_an_outage_refuses_connections_and_ends_by_itself() -> None:
    async def scenario() -> None:
        async with process() as (url, _):
            await control(url, "down", {"seconds": 0.3})
            refused = False
            while not refused:
                try:
                    await control(url, "journal")
                except aiohttp.ClientConnectorError:
                    refused = True
            while refused:
                try:
                    await control(url, "journal")
                    refused = False
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.02)

    run(scenario())
