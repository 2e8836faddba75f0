"""The files that are committed: `git add` takes what a slip of a command leaves behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGEST = 512 * 1024
"""Bytes. The largest file of today, the development requirements with their hashes, has 200,000."""


def committed() -> list[str]:
    """Returns the committed paths; skips the test where they can't be known."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout, or git is not installed")
    listed = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], check=False, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"git does not list the files: {listed.stderr.strip()}")
    return [path for path in listed.stdout.split("\0") if path]


def test_no_committed_file_is_large() -> None:
    large = {path: size for path in committed() if (size := (ROOT / path).lstat().st_size) > LARGEST}
    assert not large


def test_no_committed_file_is_named_like_an_option() -> None:
    """A tool that takes its option for the name of its output makes such a file."""
    assert [path for path in committed() if Path(path).name.startswith("-")] == []
