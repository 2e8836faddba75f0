"""The time that a command takes to start, beside a bare one with Typer and Rich."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

from bench.processes import ROOT
from bench.product import Product
from bench.report import Row, Settings, at_most
from bench.twilio_form import phone


def commands(settings: Settings) -> list[Row]:
    """Starts each in turn, so that other load on the machine affects all of them."""
    product = Product(settings.folder / "commands", {})
    product.seed(5)
    relay = ["-m", "wa_relay", "--config", str(product.config)]
    calls = {
        "python alone": ["-c", "pass"],
        "hello --help": ["-m", "bench.reference", "hello", "--help"],
        "hello": ["-m", "bench.reference", "hello"],
        "wa-relay --help": [*relay, "--help"],
        "wa-relay history": [*relay, "history", phone(1)],
        "wa-relay stats": [*relay, "stats"],
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(settings.size(15, 7)):
        for name, arguments in calls.items():
            times[name].append(_seconds(arguments))
    took = {name: median(of) * 1000.0 for name, of in times.items()}
    rows = [
        Row("commands", name, took[name], "ms", is_reference=True) for name in ("python alone", "hello --help", "hello")
    ]
    for name in ("wa-relay --help", "wa-relay history", "wa-relay stats"):
        hello = took["hello --help" if name.endswith("--help") else "hello"]
        rows.append(Row("commands", name, took[name], "ms"))
        rows.append(at_most("commands", f"{name} beside hello", took[name] / hello, "×", 1.5))
    return rows


def _seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
    )
    return time.perf_counter() - began
