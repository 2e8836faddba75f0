"""The generator, a separate process: signed webhooks over keep-alive connections, each of another customer.

A job comes on standard input, the result goes to standard output, both JSON. Without `rate` every
connection posts its next webhook as soon as the last one was answered; with it they go out by the clock.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from bench.call_report import call_request, peer_call_request
from bench.twilio_form import request

PATH = "/webhook/twilio/incoming"


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, answered: Callable[[Connection, int], None], lost: Callable[[], None]) -> None:
        self._answered, self._lost = answered, lost
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.number, self.begun = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is not a subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._lost()

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = buffer.lower().find(b"content-length:", 0, head)
        length = int(buffer[at + 15 : buffer.index(b"\r", at)]) if at >= 0 else 0
        if len(buffer) < head + 4 + length:
            return
        self._buffer = b""
        self._answered(self, int(buffer[9:12]))

    def post(self, number: int, raw: bytes) -> None:
        """Sends one request."""
        assert self.transport is not None
        self.number, self.begun = number, time.perf_counter()
        self.transport.write(raw)


class Load:
    """One load: its requests, their answers, and how long each took."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        public, every = job["public_url"], job["forge_every"]
        self._people = [job["first"] + number * job.get("stride", 1) for number in range(job["count"])]
        self._forged = {number for number in range(job["count"]) if every and number % every == every - 1}
        self._raw = [self._request(public, number, customer) for number, customer in enumerate(self._people)]
        self._next = 0
        self._waiting: deque[int] = deque()
        self._free: list[Connection] = []
        self._over: asyncio.Event = asyncio.Event()
        self.statuses: Counter[int] = Counter()
        self.wrong = self.done = 0
        self.latencies: list[float] = []
        self.sent_at: dict[int, float] = {}
        self._end = 0.0
        self.lost = 0

    def _request(self, public: str, number: int, customer: int) -> bytes:
        match self._job.get("kind", "webhook"):
            case "call":
                return call_request(customer, self._job["series"])
            case "peer_call":
                return peer_call_request(customer, self._job["series"])
            case _:
                return request(public, PATH, customer, self._job["series"], forged=number in self._forged)

    async def run(self) -> dict[str, Any]:
        job, where = self._job, urlsplit(self._job["url"])
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: Connection(self._answered, self._broken), where.hostname, where.port))
            for _ in range(job["connections"])
        ]
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        self._end = began + job["seconds"]
        if job.get("rate"):
            self._free = [protocol for _, protocol in connections]
            await self._by_the_clock(job["rate"])
        else:
            for _, protocol in connections:
                self._send_next(protocol)
        await asyncio.wait_for(self._over.wait(), job["seconds"] + 60.0)
        seconds = time.perf_counter() - began
        for transport, _ in connections:
            transport.abort()
        return self._result(seconds)

    async def _by_the_clock(self, rate: float) -> None:
        began = time.perf_counter()
        for number in range(len(self._raw)):
            pause = began + number / rate - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            if time.perf_counter() > self._end:
                break
            self._next = number + 1
            if self._free:
                self._post(self._free.pop(), number)
            else:
                self._waiting.append(number)
        self._end = 0.0
        self._finished()

    def _post(self, protocol: Connection, number: int) -> None:
        self.sent_at[number] = time.time()
        protocol.post(number, self._raw[number])

    def _send_next(self, protocol: Connection) -> None:
        if self._next < len(self._raw) and time.perf_counter() < self._end:
            number = self._next
            self._next += 1
            self._post(protocol, number)
        else:
            self._finished()

    def _answered(self, protocol: Connection, status: int) -> None:
        self.latencies.append(time.perf_counter() - protocol.begun)
        self.statuses[status] += 1
        self.done += 1
        if status not in ((403,) if protocol.number in self._forged else (200, 202)):
            self.wrong += 1
        if not self._job.get("rate"):
            self._send_next(protocol)
        elif self._waiting:
            self._post(protocol, self._waiting.popleft())
        else:
            self._free.append(protocol)
            self._finished()

    def _finished(self) -> None:
        over = time.perf_counter() >= self._end or self._next >= len(self._raw)
        if over and self.done == self._next and not self._waiting:
            self._over.set()

    def _broken(self) -> None:
        if not self._over.is_set():
            self.lost += 1

    def _result(self, seconds: float) -> dict[str, Any]:
        ordered = sorted(self.latencies)

        def part(of: float) -> float:
            return ordered[min(len(ordered) - 1, int(of * len(ordered)))] * 1000.0

        people = self._people
        return {
            "sent": self._next,
            "stored": self.statuses[200] + self.statuses[202],
            "forged": self.statuses[403],
            "wrong_answers": self.wrong,
            "lost": self.lost,
            "seconds": seconds,
            "per_second": (self.statuses[200] + self.statuses[202]) / seconds,
            "p50_ms": part(0.5),
            "p99_ms": part(0.99),
            "max_ms": ordered[-1] * 1000.0,
            "sent_at": {people[number]: at for number, at in self.sent_at.items()} if self._job.get("times") else {},
        }


def main() -> None:
    job = json.load(sys.stdin)
    result = uvloop.run(Load(job).run())
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
