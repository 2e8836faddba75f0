"""`wa-relay init`: a configuration to begin with, that only its owner can read, and never over a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.whole import run
from wa_relay.config import example_text


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["init"], "config.toml"), (["init", "mine.toml"], "mine.toml"), (["--config", "c.toml", "init"], "c.toml")],
)
def test_it_writes_the_example_for_its_owner_alone(tmp_path: Path, arguments: list[str], name: str) -> None:
    mask = os.umask(0)
    try:
        code, out, err = run(tmp_path, *arguments)
    finally:
        os.umask(mask)
    assert (code, err) == (0, "")
    assert name in out
    assert (tmp_path / name).read_text(encoding="utf-8") == example_text()
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert run(tmp_path, "--config", name, "stats")[0] == 74


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_an_existing_file_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "config.toml", tmp_path / "other.toml"
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to(other)
    else:
        path.mkdir()
    code, out, err = run(tmp_path, "init")
    assert (code, out) == (1, "")
    assert "config.toml" in err
    assert not other.exists()
    if kind == "file":
        assert path.read_text() == "mine"


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "init", "nowhere/config.toml")
    assert (code, out) == (1, "")
    assert "nowhere/config.toml can't be written" in err
