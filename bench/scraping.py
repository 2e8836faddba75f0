"""A real Prometheus (Debian's package) that scrapes the daemon every second while webhooks are stored."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from bench.processes import Process
from bench.product import INBOUND, Product
from bench.report import Row, Settings, at_least, middle
from bench.webhooks import WAITS, post, stored
from wa_relay.standins.port import free_port

CONFIG = """
global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: wa-relay
    static_configs: [{{targets: ["{target}"]}}]
"""
RULES = Path(__file__).parents[1] / "docs" / "prometheus-rules.yml"
STORED = 'wa_relay_webhooks_total{route="/webhook/twilio/incoming",code="200"}'
WITHIN = 20.0
"""Seconds in which Prometheus must have started, and must know the last webhook."""


def server_options(folder: Path, port: int, target: str, *, every: str) -> tuple[str, ...]:
    """Writes the configuration of a server that scrapes `target` (host and port). Returns its program's options."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=RULES, target=target, every=every), encoding="utf-8")
    return (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )


class Prometheus:
    """A server that scrapes one daemon, with the alert rules of the documentation."""

    def __init__(self, folder: Path, target: str) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = server_options(folder, port, target.removeprefix("http://"), every="1s")
        self.process = Process([*options], program="prometheus")

    def reach(self, query: str, wanted: float) -> None:
        """Waits until a query has a value. Raises AssertionError if it does not get it in time."""
        end = time.monotonic() + WITHIN
        while (seen := self.value(query)) != wanted:
            assert time.monotonic() < end, f"Prometheus has {seen} for {query}, not {wanted}"
            time.sleep(0.1)

    def value(self, query: str) -> float | None:
        """The one value of a query; None before there is one."""
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=5
            ) as answer:
                found = json.load(answer)["data"]["result"]
        except (urllib.error.URLError, ConnectionError):
            return None
        return float(found[0]["value"][1]) if found else None


def scraped(folder: Path, count: int) -> dict[str, float]:
    """A load on a fresh product that Prometheus scrapes; at its end Prometheus knows every webhook."""
    product = Product(folder, WAITS)
    product.seed(count)
    product.start()
    prometheus = Prometheus(folder / "prometheus", product.url)
    try:
        prometheus.reach('up{job="wa-relay"}', 1)
        before = product.process.cpu
        result = post(product.url, count, series=1)
        result["cpu"] = (product.process.cpu - before) / count * 1000.0
        prometheus.reach(STORED, result["stored"])
        prometheus.reach("min_over_time(up[5m])", 1)
        result["scrapes"] = prometheus.value("count_over_time(up[5m])") or 0.0
    finally:
        prometheus.process.stop()
        product.kill()
    rows = product.count(INBOUND)
    assert rows == result["stored"], f"{rows} rows of {result['stored']} that were answered with 200"
    shutil.rmtree(folder)
    return result


def scraping(settings: Settings) -> list[Row]:
    """The rate at which webhooks are stored while Prometheus scrapes, in turn with none."""
    if shutil.which("prometheus") is None:
        print("scraping is left out: Prometheus is not installed (apt-get install prometheus)", file=sys.stderr)
        return []
    count = settings.size(16_000, 8_000)
    alone, watched = [], []
    for number in range(settings.rounds):
        alone.append(stored(settings.folder / f"alone-{number}", count, series=1))
        watched.append(scraped(settings.folder / f"scraped-{number}", count))
    rate, beside = middle(watched, "per_second"), middle(alone, "per_second")
    name = "scraping"
    return [
        at_least(name, "stored webhooks while Prometheus scrapes", rate / beside * 100.0, "%", 90.0, f"{rate:,.0f}/s"),
        Row(name, "processor time", middle(watched, "cpu"), "s/1,000", f"without {middle(alone, 'cpu'):.3f}"),
        Row(name, "scrapes, none failed", middle(watched, "scrapes"), "", "every second", is_compared=False),
    ]
