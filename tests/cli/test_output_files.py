"""Files that a command can't read or write: one sentence, and exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.whole import run
from tests.story import Story


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Story(tmp_path / "wa-relay.db").close()
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup", "missing/copy.db"),
        ("stats", "--output", "missing/report.txt"),
        ("opt-out", "import", "missing.csv"),
    ],
    ids=["backup", "stats", "opt-out import"],
)
def test_a_path_that_is_not_there_ends_with_1_and_is_named_without_an_errno(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = run(folder, *arguments)
    assert (code, out) == (1, "")
    assert arguments[-1] in err
    assert "No such file or directory" in err
    assert "Errno" not in err


def test_a_backup_below_a_file_is_refused(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    code, _, err = run(folder, "backup", "file/copy.db")
    assert (code, "Not a directory" in err) == (1, True)


def test_the_list_of_opt_outs_has_to_be_text(folder: Path) -> None:
    (folder / "list.csv").write_bytes(b"\xff\xfe+573001112233")
    code, _, err = run(folder, "opt-out", "import", "list.csv")
    assert (code, "is not UTF-8" in err, "codec" in err) == (1, True, False)
