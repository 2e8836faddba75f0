"""`python -m bench.compare [--rounds N]`: the relay and a Node service in turn, on the same load in the same run.

Each round measures a reference too (bare SQLite commits, and a bare handler that parses a form and checks its
signature). A round in which the reference is more than 1.4 times away from the run's median is left out. Ratios are
taken within a round, from two loads that follow each other.
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
LOADS = ("stored", "whole", "calls", "openings")
ON_SERVER = ("stored", "whole")
"""The loads, and those that the relay takes on PostgreSQL too."""

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


def measure_node(name: str, service: PeerService, agent: str, sizes: Sizes) -> Figures:
    """The figures of one load on the Node service; its processor time includes that of PostgreSQL and Redis."""
    figures: Figures = {}
    if name == "stored":
        for variant, env in (("stored", {}), ("stored_single", {"SINGLE_STMT": "1"})):
            service.start("web", env)
            time.sleep(1.0)
            figures.setdefault("idle", service.resident)
            before = service.cpu
            figures[variant] = load(service.url, sizes.stored, "webhook", 1)["per_second"]
            figures[f"{variant}_cpu"] = (service.cpu - before) / sizes.stored * 1000.0
            assert service.inbound() == sizes.stored
            service.stop()
    elif name == "calls":
        service.start("web")
        figures["calls"] = load(service.url, sizes.calls, "peer_call", 1)["per_second"]
        service.stop()
    else:
        kind, count = ("webhook", sizes.whole) if name == "whole" else ("peer_call", sizes.calls)
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


def measure_relay(name: str, folder: Path, agent: str, sizes: Sizes, cluster: Cluster | None = None) -> Figures:
    """The figures of one load on the relay, on a fresh database: a file, or one of the cluster's."""
    figures: Figures = {}
    settings: Settings = {"elevenlabs": {"base_url": agent, "transport": "http"}}
    if name == "stored":
        settings["reply"] = {"debounce_seconds": 15.0}
    kind, count = ("call", sizes.calls) if name in ("calls", "openings") else ("webhook", sizes.whole)
    people = {"stored": sizes.stored, "whole": sizes.whole}.get(name, 0)
    twilio = Twilio() if name in ("whole", "openings") else None
    if twilio is not None:
        settings["twilio"] = {"base_url": twilio.url}
    product = Product(folder / name, settings, server="" if cluster is None else cluster.create())
    try:
        product.seed(people)
        product.start()
        if name == "stored":
            time.sleep(1.0)
            figures["idle"] = product.process.resident
            before = product.process.cpu
            figures["stored"] = load(product.url, sizes.stored, "webhook", 1)["per_second"]
            figures["stored_cpu"] = (product.process.cpu - before) / sizes.stored * 1000.0
            assert product.count() == sizes.stored
        elif twilio is None:
            Process(["-m", "wa_relay", "--config", str(product.config), "pause"]).wait()
            figures["calls"] = load(product.url, count, kind, 1)["per_second"]
        else:
            before = product.process.cpu
            result = load(product.url, count, kind, 2)
            figures[name] = rate_at_twilio(result["sent_at"], twilio, count)  # type: ignore[arg-type]
            figures[f"{name}_cpu"] = (settled(lambda: product.process.cpu) - before) / count * 1000.0
    finally:
        product.kill()
        shutil.rmtree(product.folder)
        if twilio is not None:
            twilio.process.stop()
    return figures


def one_round(
    folder: Path, service: PeerService, bare: Process, agent: str, sizes: Sizes, cluster: Cluster, *, swap: bool
) -> Round:
    """Each load on both services, one right after the other: the machine's speed changes from minute to minute.

    Which comes first alternates from round to round. The reference is taken right before and after the webhooks that
    the relay stores.
    """

    def handled() -> float:
        return load(bare.url, sizes.stored, "webhook", 1)["per_second"]

    found = Round(commits_per_second(folder), 0.0, _busy(1.0))
    for name in LOADS:
        for side in ("relay", "node") if swap else ("node", "relay"):
            if side == "node":
                found.node |= measure_node(name, service, agent, sizes)
                continue
            before = handled() if name == "stored" else 0.0
            found.relay |= measure_relay(name, folder, agent, sizes)
            if name == "stored":
                found.bare = (before + handled()) / 2.0
        if name in ON_SERVER:
            found.server |= measure_relay(name, folder, agent, sizes, cluster)
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
    """Prints the table: medians and ranges, and those of the rounds' ratios."""
    table = Table(
        title=f"Node service and wa-relay, {len(rounds)} rounds ({left_out} left out)",
        title_justify="left",
    )
    for name in ("same work, same run", "Node service", "wa-relay", "ratio"):
        table.add_column(name, justify="left" if name.startswith("same") else "right")
    for name, title, more_is_better in ROWS:
        node, relay = ([getattr(found, side)[name] for found in rounds] for side in ("node", "relay"))
        table.add_row(title, _range(node), _range(relay), _ratio(relay, node, more_is_better=more_is_better))
        if name in ON_SERVER:
            server = [found.server[name] for found in rounds]
            table.add_row("  wa-relay on PostgreSQL", "", _range(server), _ratio(server, node))
        if name == "stored":
            single = [found.node["stored_single"] for found in rounds]
            table.add_row("  the Node service with one statement", _range(single), "", _ratio(relay, single))
            part = [found.relay["stored"] / found.bare for found in rounds]
            table.add_row("  part of a bare handler", "", _range(part), "")
    console = Console(width=120)
    console.print(table)
    console.print(f"bare handler {_range([found.bare for found in rounds])}/s")
    console.print(f"bare SQLite commits {_range([found.commits for found in rounds])}/s")
    busy = ", ".join(f"{found.busy_before:.0%}" for found in rounds)
    load_average = " ".join(f"{value:.2f}" for value in os.getloadavg())
    console.print(f"others' share of the processors before each round: {busy}; load average at the end {load_average}")


def _ratio(relay: list[float], node: list[float], *, more_is_better: bool = True) -> str:
    """The median and the range of the rounds' ratios; of costs, how much less the relay's is."""
    parts = [ours / theirs if more_is_better else theirs / ours for ours, theirs in zip(relay, node, strict=True)]
    return f"{'' if more_is_better else '1/'}{median(parts):.2f} ({min(parts):.2f}–{max(parts):.2f})"


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
