"""`python -m bench.compare [--rounds N]`: the relay and a Node service in turn, on the same load in the same run.

Each round measures a reference first (bare SQLite commits, and a bare handler that parses a form and checks its
signature). A round in which the reference is more than 1.4 times away from the run's median is left out.
`make bench-peer` installs what the Node service needs and runs this.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.peer_service import PeerService
from bench.processes import Process, run_json
from bench.product import PUBLIC, Product
from bench.reference import commits_per_second
from bench.upstreams import Twilio
from bench.webhooks import CONNECTIONS
from tests.engines import Cluster

MOVED = 1.4
"""A round is left out when its reference is this many times faster or slower than the median round's."""

WITHIN = 120.0
ON_SERVER = ("stored", "whole")
"""The figures that are taken on PostgreSQL too."""

Figures = dict[str, float]
Settings = dict[str, dict[str, object]]
ROWS = (
    ("stored", "stored webhooks/s, 32 connections, signed", True),
    ("stored_cpu", "CPU-s per 1,000 stored", False),
    ("whole", "whole messages/s (webhook, agent by http, Twilio)", True),
    ("whole_cpu", "CPU-s per 1,000 whole", False),
    ("calls", "calls/s pushed, stored and queued", True),
    ("openings", "calls/s until the opening is at Twilio", True),
    ("openings_cpu", "CPU-s per 1,000 calls, all that follows", False),
    ("idle", "resident idle, MB", False),
)
"""Figure, its name in the table, and whether more is better."""


@dataclass(slots=True)
class Round:
    """One round: the reference, both services' figures, and the machine's other load."""

    commits: float
    bare: float
    busy_before: float
    node: Figures = field(default_factory=dict)
    relay: Figures = field(default_factory=dict)
    server: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The number of requests of each load."""

    stored: int
    whole: int
    calls: int


def load(url: str, count: int, kind: str, series: int) -> Figures:
    """One load over 32 connections. Raises AssertionError for any answer but a 200 or a 202."""
    job = {
        "url": url,
        "public_url": PUBLIC,
        "kind": kind,
        "first": 1,
        "count": count,
        "series": series,
        "connections": CONNECTIONS,
        "seconds": WITHIN,
        "forge_every": 0,
        "times": True,
    }
    result = run_json("bench.load", job)
    assert not result["wrong_answers"], result["wrong_answers"]
    assert not result["lost"], result["lost"]
    return dict(result)


def rate_at_twilio(sent_at: dict[str, float], twilio: Twilio, count: int) -> float:
    """Messages a second from the first request of a load to the last acceptance at Twilio."""
    end = time.monotonic() + WITHIN
    while len(accepted := twilio.accepted()) < count:
        assert time.monotonic() < end, f"{len(accepted)} of {count} people were written to"
        time.sleep(0.05)
    assert all(len(times) == 1 for times in accepted.values()), "a customer got two messages"
    return count / (max(times[0] for times in accepted.values()) - min(sent_at.values()))


def settled(cpu: Callable[[], float]) -> float:
    """Processor seconds once all work that follows a load is done: under 3 % of a processor for a second."""
    spent = cpu()
    while True:
        time.sleep(1.0)
        before, spent = spent, cpu()
        if spent - before < 0.03:
            return spent


def measure_node(service: PeerService, agent: str, sizes: Sizes) -> Figures:
    """Every figure of the Node service; its processor time includes that of PostgreSQL and Redis."""
    figures: Figures = {}
    for name, env in (("stored", {}), ("stored_single", {"SINGLE_STMT": "1"})):
        service.start("web", env)
        if name == "stored":
            time.sleep(1.0)
            figures["idle"] = service.resident
        before = service.cpu
        figures[name] = load(service.url, sizes.stored, "webhook", 1)["per_second"]
        figures[f"{name}_cpu"] = (service.cpu - before) / sizes.stored * 1000.0
        assert service.inbound() == sizes.stored
        service.stop()
    service.start("web")
    figures["calls"] = load(service.url, sizes.calls, "peer_call", 1)["per_second"]
    service.stop()
    for name, kind, count in (("whole", "webhook", sizes.whole), ("openings", "peer_call", sizes.calls)):
        twilio = Twilio()
        try:
            service.start("all", {"AGENT_URL": f"{agent}/agent", "TWILIO_BASE": twilio.url})
            before = service.cpu
            result = load(service.url, count, kind, 2)
            figures[name] = rate_at_twilio(result["sent_at"], twilio, count)  # type: ignore[arg-type]
            figures[f"{name}_cpu"] = (settled(lambda: service.cpu) - before) / count * 1000.0
        finally:
            service.stop()
            twilio.process.stop()
    return figures


def measure_relay(folder: Path, agent: str, sizes: Sizes, cluster: Cluster | None = None) -> Figures:
    """Every figure of the relay, each on a fresh database; on a server only webhooks and whole messages."""
    figures: Figures = {}
    with_agent: Settings = {"elevenlabs": {"base_url": agent, "transport": "http"}}

    def once(name: str, seed: int, settings: Settings, run: Callable[[Product], None]) -> None:
        if cluster is not None and name not in ON_SERVER:
            return
        product = Product(folder / name, settings, server="" if cluster is None else cluster.create())
        try:
            product.seed(seed)
            product.start()
            run(product)
        finally:
            product.kill()
            shutil.rmtree(product.folder)

    def stored(product: Product) -> None:
        time.sleep(1.0)
        figures["idle"] = product.process.resident
        before = product.process.cpu
        figures["stored"] = load(product.url, sizes.stored, "webhook", 1)["per_second"]
        figures["stored_cpu"] = (product.process.cpu - before) / sizes.stored * 1000.0
        assert product.count() == sizes.stored

    def paused_calls(product: Product) -> None:
        Process(["-m", "wa_relay", "--config", str(product.config), "pause"]).wait()
        figures["calls"] = load(product.url, sizes.calls, "call", 1)["per_second"]

    def through(name: str, kind: str, count: int, twilio: Twilio) -> Callable[[Product], None]:
        def run(product: Product) -> None:
            before = product.process.cpu
            result = load(product.url, count, kind, 2)
            figures[name] = rate_at_twilio(result["sent_at"], twilio, count)  # type: ignore[arg-type]
            figures[f"{name}_cpu"] = (settled(lambda: product.process.cpu) - before) / count * 1000.0

        return run

    once("stored", sizes.stored, {"reply": {"debounce_seconds": 15.0}, **with_agent}, stored)
    once("paused", 0, with_agent, paused_calls)
    for name, kind, count, seed in (
        ("whole", "webhook", sizes.whole, sizes.whole),
        ("openings", "call", sizes.calls, 0),
    ):
        twilio = Twilio()
        try:
            settings: Settings = {**with_agent, "twilio": {"base_url": twilio.url}}
            once(name, seed, settings, through(name, kind, count, twilio))
        finally:
            twilio.process.stop()
    return figures


def one_round(
    folder: Path, service: PeerService, bare: Process, agent: str, sizes: Sizes, cluster: Cluster, *, swap: bool
) -> Round:
    """Reference, then both services; their order alternates from round to round."""
    busy = _busy(1.0)
    handled = load(bare.url, sizes.stored, "webhook", 1)["per_second"]
    found = Round(commits_per_second(folder), handled, busy)
    for service_name in ("relay", "node") if swap else ("node", "relay"):
        if service_name == "node":
            found.node = measure_node(service, agent, sizes)
        else:
            found.relay = measure_relay(folder, agent, sizes)
            found.server = measure_relay(folder, agent, sizes, cluster)
    return found


def _busy(seconds: float) -> float:
    """The share of all processors that was busy while this program did nothing."""

    def ticks() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    whole, idle = ticks()
    time.sleep(seconds)
    whole_after, idle_after = ticks()
    return 1.0 - (idle_after - idle) / max(1, whole_after - whole)


def steady(rounds: list[Round]) -> list[Round]:
    """The rounds whose reference differs from the median by at most `MOVED`."""
    middle = median(found.bare for found in rounds)
    return [found for found in rounds if max(found.bare / middle, middle / found.bare) <= MOVED]


def shown(rounds: list[Round], left_out: int) -> None:
    """Prints the table: medians, ranges, and the relay as a multiple of the Node service."""
    table = Table(
        title=f"Node service and wa-relay, {len(rounds)} rounds ({left_out} left out)",
        title_justify="left",
    )
    for name in ("same work, same run", "Node service", "wa-relay", "ratio"):
        table.add_column(name, justify="left" if name.startswith("same") else "right")
    for name, title, more_is_better in ROWS:
        node, relay = ([getattr(found, side)[name] for found in rounds] for side in ("node", "relay"))
        ratio = median(relay) / median(node)
        shown_ratio = f"{ratio:.2f} ×" if more_is_better else f"{ratio:.2f} × (1/{1 / ratio:.1f})"
        table.add_row(title, _range(node), _range(relay), shown_ratio)
        if name in ON_SERVER:
            server = [found.server[name] for found in rounds]
            table.add_row("  wa-relay on PostgreSQL", "", _range(server), f"{median(server) / median(node):.2f} ×")
        if name == "stored":
            single = [found.node["stored_single"] for found in rounds]
            table.add_row("  the Node service with one statement", _range(single), "", "")
            part = [found.relay["stored"] / found.bare for found in rounds]
            table.add_row("  part of a bare handler", "", _range(part), "")
    console = Console(width=120)
    console.print(table)
    console.print(f"bare handler {_range([found.bare for found in rounds])}/s")
    console.print(f"bare SQLite commits {_range([found.commits for found in rounds])}/s")
    busy = ", ".join(f"{found.busy_before:.0%}" for found in rounds)
    load_average = " ".join(f"{value:.2f}" for value in os.getloadavg())
    console.print(f"others' share of the processors before each round: {busy}; load average at the end {load_average}")


def _range(values: list[float]) -> str:
    def one(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    return f"{one(median(values))} ({one(min(values))}–{one(max(values))})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="a fifth of the load, to try the comparison itself")
    chosen = parser.parse_args()
    sizes = Sizes(2_000, 800, 1_000) if chosen.quick else Sizes(12_000, 5_000, 4_000)
    with tempfile.TemporaryDirectory(prefix="wa-relay-compare-") as name:
        folder = Path(name)
        service = PeerService(folder)
        bare, agent = Process(["-m", "bench.reference", "handler", PUBLIC]), Process(["-m", "bench.answering_agent"])
        bare.url, agent.url = bare.first_line(), agent.first_line()
        cluster = Cluster(durable=True)
        try:
            rounds = [
                one_round(folder, service, bare, agent.url, sizes, cluster, swap=bool(number % 2))
                for number in range(chosen.rounds)
            ]
        finally:
            bare.stop()
            agent.stop()
            cluster.stop()
            service.close()
    kept = steady(rounds)
    if not kept:
        raise SystemExit(
            "the reference was not steady in any round: repeat the run while the machine does nothing else"
        )
    shown(kept, len(rounds) - len(kept))


if __name__ == "__main__":
    main()
