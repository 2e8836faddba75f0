"""Confirmations: which commands ask, and refuse before anything is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.whole import run

PHONE = "+573138539155"


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget", PHONE),
        ("retention",),
        ("replay", PHONE, "--agent", "agent_1"),
        ("restore", "copy.db"),
        ("restore", "--restored"),
        ("resolve", "1", "--cancel"),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[2:]) if isinstance(arguments, tuple) else None,
)
def test_without_a_terminal_it_requires_yes_and_makes_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = run(tmp_path, *arguments)
    assert (code, out, "--yes" in err) == (2, "", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [("restore", "--restored", "--yes"), ("retention", "--yes"), ("retention", "--dry-run"), ("restore", "x", "--yes")],
    ids=["restored", "retention", "dry run", "restore"],
)
def test_without_a_database_or_a_backup_it_ends_with_74_and_makes_nothing(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, out, _ = run(tmp_path, *arguments)
    assert (code, out) == (74, "")
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_choice_that_is_not_there_is_named_in_plain_words(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "calls", "--format", "xml")
    assert (code, "'xml' is not one of 'table'" in err, "Value error" in err) == (2, True, False)
