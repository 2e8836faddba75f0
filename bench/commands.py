"""The processor time that a command takes, beside a bare one with Typer and Rich (`bench.hello`)."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
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
        "hello --help": ["-m", "bench.hello", "--help"],
        "hello": ["-m", "bench.hello"],
        "wa-relay --help": [*relay, "--help"],
        "wa-relay history": [*relay, "history", phone(1)],
        "wa-relay stats": [*relay, "stats"],
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    bytecode = settings.folder / "bytecode"
    for arguments in calls.values():
        _seconds(arguments, bytecode)
    for _ in range(settings.size(15, 7)):
        for name, arguments in calls.items():
            times[name].append(_seconds(arguments, bytecode))
    took = {name: median(of) * 1000.0 for name, of in times.items()}
    rows = [
        Row("commands", name, took[name], "ms", is_compared=False) for name in ("python alone", "hello --help", "hello")
    ]
    for name in ("wa-relay --help", "wa-relay history", "wa-relay stats"):
        hello = took["hello --help" if name.endswith("--help") else "hello"]
        rows.append(Row("commands", name, took[name], "ms"))
        rows.append(at_most("commands", f"{name} beside hello", took[name] / hello, "×", 1.5))
    return rows


def _seconds(arguments: list[str], bytecode: Path) -> float:
    """The processor time of a process; what else the machine does is not in it.

    Modules come as bytecode, as pip installs them: an environment that forbids writing it had each run compile ours.
    """
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPYCACHEPREFIX": str(bytecode)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before = _spent()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=env)
    return _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
