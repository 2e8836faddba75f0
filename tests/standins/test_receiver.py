"""The receiver of alerts, called by a plain client that signs as the specification says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.standins.elevenlabs_played import run
from wa_relay.standins.receiver import Failure, ReceiverStandin
from wa_relay.standins.receiver.signing import fault_of, key_of, sign

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
ALERT = {"type": "account.held", "timestamp": "2026-11-22T15:00:00Z", "data": {"code": "63051"}}


@asynccontextmanager
async def receiving() -> AsyncIterator[ReceiverStandin]:
    receiver = ReceiverStandin(SECRET)
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()


async def post(url: str, alert: object = ALERT, number: str = "msg_1", off: float = 0.0, secret: str = SECRET) -> int:
    """Posts an alert that is signed here, without the stand-in's own code."""
    body, stamp = json.dumps(alert).encode(), str(int(time.time() + off))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{number}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": number,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,bm9wZQ== v1,{base64.b64encode(mac).decode()}",
    }
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=body, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status


def test_the_signature_is_that_of_the_specifications_example() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == signature
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature,
    }
    assert fault_of(secret, headers, body, 1614265330 + 300) == ""
    assert "5 minutes" in fault_of(secret, headers, body, 1614265330 + 301)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_x", "whsec_" + base64.b64encode(b"k" * 23).decode(), "k" * 32])
def test_a_secret_has_24_to_64_bytes(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64"):
        key_of(secret)


def test_an_alert_is_acknowledged_and_recorded() -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            assert await post(receiver.url) == 204
            (alert,) = await receiver.wait_for(1)
            assert (alert.id, alert.type, alert.data, alert.attempt) == ("msg_1", "account.held", {"code": "63051"}, 1)
            assert not receiver.journal.entries("violation")

    run(scenario())


def test_a_wrongly_signed_request_is_refused_and_a_violation() -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            other = "whsec_" + base64.b64encode(b"o" * 32).decode()
            assert await post(receiver.url, secret=other) == 401
            assert await post(receiver.url, off=-400) == 401
            assert await post(receiver.url, {"type": "x"}) == 401
            assert await post(receiver.url, number="msg_2") == 204
            assert await post(receiver.url, {**ALERT, "data": {}}, number="msg_2") == 401
            async with aiohttp.ClientSession() as http, http.post(receiver.url, json=ALERT) as answer:
                assert answer.status == 401
            words = [str(entry.data["what"]) for entry in receiver.journal.entries("violation")]
            firsts = ["webhook-signature", "webhook-timestamp", "the", "type", "the"]
            assert [word.split()[0] for word in words] == firsts
            assert len(receiver.accepted) == 1

    run(scenario())


def test_it_fails_is_slow_and_goes_away_on_demand() -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            receiver.fail(times=2)
            receiver.fail(Failure(status=302, location="http://127.0.0.1:9/"))
            receiver.fail(Failure(status=204, seconds=0.1))
            receiver.fail(Failure("close"))
            began = time.monotonic()
            assert [await post(receiver.url) for _ in range(4)] == [500, 500, 302, 204]
            assert time.monotonic() - began > 0.09
            with pytest.raises(aiohttp.ClientError):
                await post(receiver.url)
            receiver.fail(Failure("hang"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(post(receiver.url), 0.2)
            assert [one.attempt for one in receiver.alerts] == [1, 2, 3, 4, 5, 6]
            assert [one.answer for one in receiver.alerts] == [500, 500, 302, 204, None, None]
            await receiver.down()
            with pytest.raises(aiohttp.ClientError):
                await post(receiver.url)
            await receiver.up()
            assert await post(receiver.url) == 204

    run(scenario())


def test_a_process_is_driven_by_its_controls() -> None:
    async def scenario() -> None:
        command = (sys.executable, "-m", "wa_relay.standins", "receiver", "--secret", SECRET)
        running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert running.stdout is not None
            url = json.loads(await running.stdout.readline())["url"]
            controls = url.removesuffix("/alerts") + "/_standin/"
            async with aiohttp.ClientSession() as http:
                async with http.post(controls + "fail", json={"status": 503, "times": 1}) as answer:
                    assert answer.status == 200
                assert [await post(url), await post(url)] == [503, 204]
                async with http.get(controls + "alerts") as answer:
                    listed: list[dict[str, Any]] = (await answer.json())["alerts"]
                assert [(one["attempt"], one["answer"]) for one in listed] == [(1, 503), (2, 204)]
                async with http.post(controls + "fail", json={"stauts": 503}) as answer:
                    assert answer.status == 400
        finally:
            running.terminate()
            assert await asyncio.wait_for(running.wait(), 40) == 0

    run(scenario())
