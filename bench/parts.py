"""`python -m bench.parts [--group N]`: the processor time of parts of a message, each alone in this process.

The ledger's operations of whole messages and of pushed calls, `--group` of them to a commit; and the request that a
message makes, by `http.fetch` and by `http.Poster`. Less depends on what else the machine does than in a run of the
daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.call_report import call_request
from bench.processes import Process
from bench.product import Product
from bench.twilio_form import ACCOUNT, form
from wa_relay.channel.inbound import parse_inbound
from wa_relay.config import load
from wa_relay.config.policy_rules import rules_of
from wa_relay.http import Poster, PunctualConnector, fetch
from wa_relay.ledger import calls, claims, inbox, send_results, turns
from wa_relay.ledger.group_commit import GroupCommit, Job
from wa_relay.ledger.store import Ledger, begin_run
from wa_relay.model import Accepted, Call
from wa_relay.sources import jsonbody, push

COUNT, REQUESTS, CONNECTIONS = 3_000, 200, 32
BODY = b'{"message": "Hola", "mode": "text"}'
HEADERS = {"xi-api-key": "key", "Content-Type": "application/json", "Accept": "application/json"}
Spent = defaultdict[str, float]


class Operations:
    """Runs operations in groups that share a commit, as the ledger's thread does, and adds up their time."""

    def __init__(self, ledger: Ledger, group: int) -> None:
        self._ledger, self._group = ledger, group
        self._group_commit = GroupCommit(ledger, lambda _: None, lambda: False, time.monotonic)
        # Nobody waits for what an operation brings.
        self._future: asyncio.Future[Any] = asyncio.new_event_loop().create_future()
        self.spent: Spent = defaultdict(float)

    def groups(self) -> Iterator[range]:
        """The customers of each group."""
        for first in range(1, COUNT + 1, self._group):
            yield range(first, min(first + self._group, COUNT + 1))

    def run(self, operation: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Runs one operation with each of the arguments, and commits."""
        group = [Job(operation, arguments, self._future) for arguments in jobs]
        began = time.thread_time()
        outcomes = self._group_commit.run(group)
        self.spent[operation.__name__] += time.thread_time() - began
        self._ledger.db.rest(len(jobs))
        assert not [outcome.error for outcome in outcomes if outcome.error]
        return [outcome.result for outcome in outcomes]

    def send_what_is_due(self) -> None:
        """Claims the messages of a group, and stores that Twilio accepted them."""
        (claimed,) = self.run(claims.claim_messages, [(self._group, time.time())])
        accepted = [(job.outgoing.message_id, Accepted(f"SM{job.outgoing.message_id:032x}")) for job in claimed.jobs]
        self.run(send_results.finish_send, [(*each, time.time()) for each in accepted])


def whole_messages(operations: Operations) -> None:
    """A customer's message, the turn, its answer, and the reply's way to Twilio."""
    for people in operations.groups():
        now = time.time()
        written = [parse_inbound(form(customer, 1)) for customer in people]
        operations.run(inbox.record_inbound, [(message, now) for message in written])
        (claimed,) = operations.run(turns.claim_turns, [(len(people), time.time())])
        parts = ["Claro, el plan incluye la instalación."]
        operations.run(turns.take_answer, [(job.turn_id, parts, None, now) for job in claimed.jobs])
        operations.send_what_is_due()


def pushed_calls(operations: Operations) -> None:
    """A call of a new customer, and its opening's way to Twilio."""
    for people in operations.groups():
        now = time.time()
        operations.run(calls.record_call, [(_report(customer, now), now) for customer in people])
        operations.send_what_is_due()


def _report(customer: int, now: float) -> Call:
    body = call_request(customer, 1).partition(b"\r\n\r\n")[2]
    report = push.parse(jsonbody.parse_object(body), now, body.decode())
    assert isinstance(report, Call)
    return report


def _on_ledger(folder: Path, people: int, group: int, load_it: Callable[[Operations], None]) -> Spent:
    product = Product(folder / load_it.__name__, {"elevenlabs": {"transport": "http"}})
    product.seed(people)
    rules = rules_of(load(product.config, {}, cwd=folder))
    now = time.time()
    ledger = Ledger(product.place.open_for_writing(account_sid=ACCOUNT, now=now).connection, rules, fence=now - 60.0)
    begin_run(ledger, now)
    operations = Operations(ledger, group)
    load_it(operations)
    ledger.db.close()
    return operations.spent


async def _requests(url: str) -> Spent:
    spent: Spent = defaultdict(float)
    async with aiohttp.ClientSession(connector=PunctualConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()) as http:
        poster = Poster(http, url, HEADERS)

        async def by_fetch() -> None:
            await fetch(http, "POST", f"{url}/message", limit=1 << 20, within=30.0, data=BODY, headers=HEADERS)

        async def by_poster() -> None:
            await poster.post("/message", BODY, limit=1 << 20, within=30.0)

        async def repeat(request: Callable[[], Awaitable[None]], times: int) -> None:
            for _ in range(times):
                await request()

        for name, request in (("fetch", by_fetch), ("Poster", by_poster)):
            await repeat(request, CONNECTIONS)
            began = time.thread_time()
            await asyncio.gather(*(repeat(request, REQUESTS) for _ in range(CONNECTIONS)))
            spent[name] = time.thread_time() - began
    return spent


def _show(what: str, spent: Spent, count: int) -> None:
    parts = ", ".join(f"{name} {seconds / count * 1e6:.0f}" for name, seconds in spent.items())
    print(f"{what}: {sum(spent.values()) / count * 1e6:.0f} us ({parts})", flush=True)


def main() -> None:
    """Prints microseconds of processor time for each message, call and request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", type=int, default=8, help="operations to a commit")
    group: int = parser.parse_args().group
    with tempfile.TemporaryDirectory(prefix="wa-relay-parts-") as name:
        _show("a whole message on the ledger", _on_ledger(Path(name), COUNT, group, whole_messages), COUNT)
        _show("a pushed call on the ledger", _on_ledger(Path(name), 0, group, pushed_calls), COUNT)
    agent = Process(["-m", "bench.answering_agent"])
    try:
        _show("a request", uvloop.run(_requests(agent.first_line())), REQUESTS * CONNECTIONS)
    finally:
        agent.stop()


if __name__ == "__main__":
    main()
