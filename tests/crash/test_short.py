"""The crash machine in its short form."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.crash.__main__ import report
from tests.crash.machine import Machine, Plan

KILLS, REAL = 50, 3


# A killed daemon leaves connections behind, which are collected and reported at any later moment.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_fifty_kills_lose_nothing_and_send_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    outcome = asyncio.run(Machine(tmp_path, Plan(KILLS, seed, REAL), print).run())
    report(outcome)
    output = capsys.readouterr().out
    assert not outcome.verdict.broken, f"seed {seed}\n{output}"
    assert outcome.kills >= KILLS
