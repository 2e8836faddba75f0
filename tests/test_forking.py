"""A forked command does what one that a user starts does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import forking
from tests.cli.whole import environment


@pytest.mark.parametrize("arguments", [("--version",), ("nonsense",), ("stats", "--json"), ("config", "check")])
def test_a_forked_command_prints_and_exits_as_a_started_one(arguments: tuple[str, ...], tmp_path: Path) -> None:
    forked, started = (forking.run(arguments, env=environment(), folder=tmp_path, real=real) for real in (False, True))
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.stdout + forked.stderr


def test_a_setting_of_the_interpreter_starts_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('started')", encoding="ascii")
    done = forking.run(("--version",), env=environment(PYTHONPATH=f"{tmp_path}:{forking.ROOT}"), folder=tmp_path)
    assert done.stdout.startswith(b"started")
