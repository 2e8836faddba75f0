"""The cost of a million messages: webhooks, claims, a customer's history and reports, beside an empty file."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TypeVar
from zoneinfo import ZoneInfo

from bench.product import INBOUND, Product
from bench.report import Row, Settings, at_most, middle
from bench.twilio_form import ACCOUNT, message_sid, phone
from bench.webhooks import WAITS, post
from tests.big_ledger import make
from wa_relay.ledger import agent_input, claims, file, inbox, store, turns
from wa_relay.ledger.engine import Queries
from wa_relay.ledger.indexing import index_more
from wa_relay.ledger.store import Ledger
from wa_relay.model import Inbound
from wa_relay.policy import Rules
from wa_relay.reports import conversation, stats_queries
from wa_relay.reports.spans import Span
from wa_relay.reports.stats_queries import Grouping

T = TypeVar("T")
BOGOTA = ZoneInfo("America/Bogota")
RULES = Rules(timezone=BOGOTA, openings={}, debounce=0.0, burst_limit=0)
INDEXED_AT_ONCE = 10_000
MESSAGES = "select count(*) from conversation_messages"


def growth(settings: Settings) -> list[Row]:
    """A file of 100,000 conversations or as many as asked for, copied for whatever writes into it."""
    big = settings.folder / "big.db"
    make(big, settings.people)
    owner = file.open_for_writing(big, account_sid="", now=time.time()).connection
    owner.execute("update relay set account_sid = ?", (ACCOUNT,))
    messages = int(owner.execute(MESSAGES).fetchone()[0])
    # A daemon would be busy with a million unindexed texts, and not with the webhooks alone.
    owner.begin()
    while index_more(Ledger(owner, RULES), INDEXED_AT_ONCE):
        pass
    owner.commit()
    owner.finish()
    owner.close()
    size = big.stat().st_size / messages
    rows = [Row("growth", f"file of {messages:,} messages", size, "bytes/message")]
    return [*rows, *_starts(settings, big), *_webhooks(settings, big), *_claims(settings, big), *_reading(big)]


def _starts(settings: Settings, big: Path) -> list[Row]:
    clean, killed = [], []
    product = _on_a_copy(settings, big, "start")
    for _ in range(settings.rounds):
        clean.append(product.start())
        product.kill()
        killed.append(product.start())
        product.stop()
    shutil.rmtree(product.folder)
    empty = Product(settings.folder / "start-empty", WAITS)
    empty.seed(1)
    fresh = [_start_and_stop(empty) for _ in range(settings.rounds)]
    beside = f"empty file {median(fresh):.2f}"
    return [
        at_most("growth", "start to first 200", median(clean), "s", 0.8, beside),
        at_most("growth", "start to first 200 after a kill", median(killed), "s", 1.0, "the file is checked beside it"),
    ]


def _start_and_stop(product: Product) -> float:
    seconds = product.start()
    product.stop()
    return seconds


def _webhooks(settings: Settings, big: Path) -> list[Row]:
    count = settings.size(12_000, 4_000)
    stride = settings.people // count
    full: list[dict[str, float]] = []
    empty: list[dict[str, float]] = []
    for _ in range(settings.rounds):
        fresh = Product(settings.folder / "webhooks-empty", WAITS)
        fresh.seed(count)
        empty.append(_posted(fresh, count, 1))
        full.append(_posted(_on_a_copy(settings, big, "webhooks"), count, stride))
    cpu, alone = middle(full, "cpu"), middle(empty, "cpu")
    rate, rate_alone = middle(full, "per_second"), middle(empty, "per_second")
    beside = (
        at_most(
            "growth", "webhook: processor time beside an empty file", cpu / alone, "×", 1.2, f"{alone:.3f} s/1,000"
        ),
        at_most("growth", "webhook: time beside an empty file", rate_alone / rate, "×", 1.2, f"{rate_alone:,.0f}/s"),
    )
    return [
        Row("growth", "webhook: stored and answered", rate, "/s"),
        Row("growth", "webhook: processor time", cpu, "s/1,000"),
        *(replace(row, is_compared=False) for row in beside),
    ]


def _posted(product: Product, count: int, stride: int) -> dict[str, float]:
    before = product.count(INBOUND)
    product.start()
    try:
        cpu = product.process.cpu
        result = post(product.url, count, series=1, stride=stride)
        result["cpu"] = (product.process.cpu - cpu) / count * 1000.0
    finally:
        product.kill()
    assert product.count(INBOUND) - before == result["stored"]
    shutil.rmtree(product.folder)
    return result


def _claims(settings: Settings, big: Path) -> list[Row]:
    """Beside a file that holds nothing but such conversations: a claim reads the thread, however big the file is."""
    few = 2_000
    alone, copy = settings.folder / "claims-few.db", settings.folder / "claims.db"
    make(alone, few)
    shutil.copy(big, copy)
    small, large = _claimed(alone, few), _claimed(copy, settings.people)
    alone.unlink()
    copy.unlink()
    beside = f"beside a file of {few:,} people"
    return [
        *(
            at_most("growth", f"claim of {name} {beside}", large[name] / small[name], "×", 1.2, f"{small[name]:.1f} µs")
            for name in ("turns", "messages")
        ),
        Row(
            "growth",
            f"call and thread of a turn, read for the agent, {beside}",
            large["threads"] / small["threads"],
            "×",
            f"{small['threads']:.1f} µs, not in the writer's thread",
        ),
    ]


def _claimed(database: Path, people: int) -> dict[str, float]:
    """Microseconds of one turn's and one message's claim, and of a thread, just after 64 people wrote.

    The median of 30 times. The people are in random order, so that no two of them lie side by side in either file.
    """
    writers = iter(random.Random(1).sample(range(1, people + 1), 30 * 64))
    db = file.open_for_writing(database, account_sid="", now=time.time()).connection
    ledger = Ledger(db, RULES)
    store.begin_run(ledger, time.time() - 120.0)
    reader = file.open_for_reading(database)
    took: dict[str, list[float]] = {"turns": [], "messages": [], "threads": []}
    for series in range(30):
        db.execute("begin")
        for customer in itertools.islice(writers, 64):
            written = Inbound(sid=message_sid(customer, series + 1), phone=phone(customer), text="Hola")
            inbox.record_inbound(ledger, written, time.time())
        db.execute("commit")
        asked, seconds = _drain(ledger, lambda now: turns.claim_turns(ledger, 32, now).jobs)
        took["turns"].append(seconds / len(asked) * 1e6)
        began = time.process_time()
        for job in asked:
            agent_input.inform(reader, job)
        took["threads"].append((time.process_time() - began) / len(asked) * 1e6)
        db.execute("begin")
        for job in asked:
            turns.finish_turn(ledger, job.turn_id, ["Claro."], None, time.time())
        db.execute("commit")
        sent, seconds = _drain(ledger, lambda now: claims.claim_messages(ledger, 32, now).jobs)
        took["messages"].append(seconds / len(sent) * 1e6)
    reader.close()
    db.close()
    return {name: median(times) for name, times in took.items()}


def _drain(ledger: Ledger, claim: Callable[[float], tuple[T, ...]]) -> tuple[list[T], float]:
    taken: list[T] = []
    began = time.process_time()
    while True:
        ledger.db.execute("begin immediate")
        jobs = claim(time.time() + 1.0)
        ledger.db.execute("commit")
        if not jobs:
            return taken, time.process_time() - began
        taken += jobs


def _reading(big: Path) -> list[Row]:
    db, dice = file.open_for_reading(big), random.Random(1)
    histories = sorted(
        _seconds(lambda: conversation.conversation(db, phone=phone(dice.randrange(1, 20_000)), limit=100))
        for _ in range(200)
    )
    rows = [
        at_most(
            "growth",
            "history of one customer, p99 of 200",
            histories[197] * 1000.0,
            "ms",
            10.0,
            f"median {histories[100] * 1000.0:.2f}",
        )
    ]
    for by in (None, "day", "batch", "group", "agent"):
        runs = [_report(db, by) for _ in range(3)]
        seconds, spent = min(run[0] for run in runs), min(run[1] for run in runs)
        what = f"stats over everything, by {by or 'nothing'}"
        rows.append(at_most("growth", what, seconds, "s", 1.0, f"processor {spent:.2f} s"))
    db.close()
    return rows


def _report(db: Queries, by: Grouping | None) -> tuple[float, float]:
    began, before = time.perf_counter(), time.process_time()
    stats_queries.stats(db, span=Span(), by=by, timezone=BOGOTA)
    return time.perf_counter() - began, time.process_time() - before


def _seconds(of: Callable[[], object]) -> float:
    began = time.perf_counter()
    of()
    return time.perf_counter() - began


def _on_a_copy(settings: Settings, big: Path, name: str) -> Product:
    product = Product(settings.folder / f"growth-{name}", WAITS)
    shutil.copy(big, product.database)
    # Half a gigabyte that is still being written to disk would slow every sync that is measured.
    os.sync()
    return product
