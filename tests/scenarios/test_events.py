"""The stream of events: nothing missed, nothing twice, however many listen or fall behind."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.stage import ANA, LUIS, TOKEN, Stage, payload, run, stage, until
from tests.stopwatch import Stopwatch

LATER_THAN_ANY = "9" * 12


@dataclass(frozen=True)
class Happened:
    """One event as a client receives it."""

    id: int
    event: str
    data: dict[str, Any]


class Client:
    """Reads a stream by the rules of the specification, and keeps what it has received."""

    def __init__(self) -> None:
        self.events: list[Happened] = []
        self.last_id = ""
        self.comments = 0
        self.connected = asyncio.Event()

    @property
    def kinds(self) -> list[tuple[str, Any]]:
        """Each event with its status, handler or call."""
        keys = ("status", "handler", "elevenlabs_conversation_id")
        return [(one.event, next(one.data[key] for key in keys if key in one.data)) for one in self.events]

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        """Reads until the stream ends."""
        fields: dict[str, str] = {}
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                self._dispatch(fields)
                fields = {}

    def _dispatch(self, fields: dict[str, str]) -> None:
        self.last_id = fields.get("id", self.last_id)
        self.connected.set()
        if "data" in fields:
            self.events.append(Happened(int(fields["id"]), fields["event"], json.loads(fields["data"])))


@asynccontextmanager
async def listening(s: Stage, after: str | None = None) -> AsyncIterator[Client]:
    """A client that listens, from `after` or from now on."""
    headers = {"X-Service-Token": TOKEN, **({} if after is None else {"Last-Event-ID": after})}
    client = Client()
    async with s.http.get(f"{s.relay.url}/api/events", headers=headers, timeout=aiohttp.ClientTimeout()) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        reading = asyncio.create_task(client.read(answer))
        await client.connected.wait()
        try:
            yield client
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def has_call(client: Client, key: str) -> bool:
    return ("call", key) in client.kinds


async def talked(s: Stage, phone: str = ANA, key: str = "conv_1") -> None:
    """A call, its opening, a question and an answer."""
    before = len(s.bodies(phone))
    await s.report(payload(key, phone))
    await s.twilio.customer_writes(phone, "¿Precio?")
    await s.sent(before + 2, phone)


def test_a_listener_sees_a_whole_conversation_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s, listening(s) as client:
            await talked(s)
            await until(lambda: client.kinds.count(("status", "read")) == 2)
            assert client.kinds[:3] == [("call", "conv_1"), ("message", "queued"), ("status", "sending")]
            assert ("message", "received") in client.kinds
            ids = [one.id for one in client.events]
            assert ids == sorted(set(ids))
            for one in client.events:
                assert (one.data["phone_number"], one.data["conversation_id"]) == (ANA, "conv_local_1")
            thread = {message["id"] for message in (await s.conversation())["messages"]}
            assert {one.data["message_id"] for one in client.events if one.event == "message"} == thread

    run(scenario())


def test_a_handover_is_an_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report()
            async with listening(s) as client:
                await s.twilio.customer_writes(ANA, "Asesor")
                await until(lambda: ("handler", "human") in client.kinds)
                (handed,) = [one for one in client.events if one.event == "handler"]
                assert handed.data == {"phone_number": ANA, "conversation_id": "conv_local_1", "handler": "human"}

    run(scenario())


def test_a_client_that_was_away_gets_exactly_what_it_missed_also_over_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s, listening(s) as all_along:
            start = all_along.last_id
            await talked(s)
            await until(lambda: all_along.kinds.count(("status", "read")) == 2)
            async with listening(s, start) as again:
                await until(lambda: len(again.events) == len(all_along.events))
                assert again.events == all_along.events
            middle = all_along.events[4]
            await s.relay.kill()
            await s.relay.start()
            await s.report(payload("conv_2", LUIS))
            async with listening(s, str(middle.id)) as after:
                await until(lambda: ("call", "conv_2") in after.kinds)
                missed = [one for one in after.events if one.data["phone_number"] == ANA]
                assert missed == all_along.events[5:]

    run(scenario())


def test_a_client_that_has_seen_no_event_yet_continues_where_it_connected(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            async with listening(s) as first:
                assert first.events == []
            await s.report()
            async with listening(s, first.last_id) as second:
                await until(lambda: second.kinds[:1] == [("call", "conv_9601k8pjchj6fnvamdmbsvdq5ptv")])

    run(scenario())


def test_without_an_id_or_with_an_unknown_one_the_stream_begins_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            await s.report(payload("conv_1"))
            await s.sent(1)
            for number, after in enumerate((None, "", "abc", "-1", LATER_THAN_ANY, "9" * 40), 2):
                async with listening(s, after) as client:
                    await s.report(payload(f"conv_{number}", LUIS))
                    await until(functools.partial(has_call, client, f"conv_{number}"))
                    assert ("call", "conv_1") not in client.kinds

    run(scenario())


def test_the_stream_needs_the_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s:
            for token in (None, "wrong"):
                assert (await s.call("GET", "/api/events", token=token)).status == 401
            assert (await s.call("HEAD", "/api/events")).status == 200

    run(scenario())


def test_a_listener_that_does_not_read_is_cut_off_and_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"opening": {"burst_limit": 0}}) as s:
            deaf = socket.create_connection(("127.0.0.1", s.relay.port))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = f"GET /api/events HTTP/1.1\r\nHost: relay\r\nX-Service-Token: {TOKEN}\r\n\r\n"
            deaf.sendall(request.encode())
            async with listening(s) as client:
                for number in range(40):
                    await asyncio.gather(
                        *(
                            s.report(
                                payload(f"conv_{number}_{one}", f"+5730011{number:02}{one:03}", status="voicemail")
                            )
                            for one in range(50)
                        )
                    )
                await until(lambda: sum(one.event == "call" for one in client.events) == 2000, 90.0)
                await until(lambda: "listener_cut_off" in s.relay.log, 60.0)
            deaf.close()

    run(scenario(), 300.0)


def test_a_stop_ends_the_streams_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as s, listening(s):
            watch = Stopwatch()
            assert await s.relay.stop() == 0
            assert watch.seconds < 5.0

    run(scenario())


def test_the_stream_of_a_console_session_ends_within_a_second_of_the_session(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, {"console": {"enabled": True}}) as s:
            added = await s.relay.command("console", "user", "add", "ana", stdin=b"una clave muy larga\n")
            assert added[0] == 0, added
            form = {"user": "ana", "password": "una clave muy larga"}
            login = f"{s.relay.url}/console/login"
            async with s.http.post(login, data=form, allow_redirects=False) as answer:
                assert answer.status == 303
                cookie = answer.cookies["wa_relay_session"].value
            headers = {"Cookie": f"wa_relay_session={cookie}"}
            url, patience = f"{s.relay.url}/api/events", aiohttp.ClientTimeout()
            async with s.http.get(url, headers=headers, timeout=patience) as stream:
                assert stream.status == 200
                client = Client()
                reading = asyncio.create_task(client.read(stream))
                await client.connected.wait()
                await s.report()
                await until(lambda: client.events)
                assert (await s.relay.command("console", "user", "remove", "ana"))[0] == 0
                watch = Stopwatch()
                await asyncio.wait_for(reading, 30.0)
                assert watch.seconds < 1.0
            async with s.http.get(url, headers=headers) as again:
                assert again.status == 401

    run(scenario())
